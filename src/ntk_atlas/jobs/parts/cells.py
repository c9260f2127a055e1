"""Cells of the grid and their names; a name and a cell turn into each other without loss.

A *row* is one (depth, width) at one or more init scales: one training job. Its *units* are (init_scale, n_train, draw)
and a block of seeds that train stacked. Names carry the canonical text of the validated value, so that `1`, `1.0` and
`1.00` are one cell.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ntk_atlas.config.grid import GridSettings


def canonical_text(value: int | float) -> str:
    """The shortest text that reads back as `value`: `64`, `2.0`, `1e-05`."""
    return repr(int(value)) if isinstance(value, int) else repr(float(value))


@dataclass(frozen=True, order=True)
class Row:
    """One architecture at one or more initializations: depth (hidden layers), width, init scales (σ_w²)."""

    depth: int
    width: int
    init_scale: tuple[float, ...]

    @property
    def name(self) -> str:
        """Name in paths, e.g. `depth-3_width-64_init_scale-2.0`, or `…_init_scale-1.0,2.0` of several."""
        scales = ",".join(canonical_text(float(scale)) for scale in self.init_scale)
        return f"depth-{self.depth}_width-{self.width}_init_scale-{scales}"

    def per_init_scale(self) -> tuple["Row", ...]:
        """The row cut into rows of one init scale each: what finished units are filed under."""
        return tuple(Row(self.depth, self.width, (scale,)) for scale in self.init_scale)

    @classmethod
    def parse(cls, name: str) -> "Row":
        """The row that has this name.

        Raises:
            ValueError: if no row has it.
        """
        match = re.fullmatch(r"depth-(\d+)_width-(\d+)_init_scale-([0-9.e+-]+(?:,[0-9.e+-]+)*)", name)
        if match is None:
            raise ValueError(f"{name!r} is not the name of a row (depth-D_width-W_init_scale-S, or S,S,… for several)")
        return cls(int(match[1]), int(match[2]), tuple(float(scale) for scale in match[3].split(",")))


@dataclass(frozen=True, order=True)
class Unit:
    """One cell of a row in one draw: what a block of seeds trains on."""

    n_train: int
    draw: int

    @property
    def name(self) -> str:
        """Name in paths, e.g. `n_train-64_draw-0`."""
        return f"n_train-{self.n_train}_draw-{self.draw}"


def rows(grid: GridSettings, init_scales_per_job: int = 1) -> tuple[Row, ...]:
    """All rows of a grid, in ascending order; init scales in consecutive groups of `init_scales_per_job`."""
    scales = grid.init_scale
    groups = [scales[start : start + init_scales_per_job] for start in range(0, len(scales), init_scales_per_job)]
    return tuple(Row(d, w, group) for d in grid.depth for w in grid.width for group in groups)


def units(n_train: Sequence[int], draws: int) -> tuple[Unit, ...]:
    """All units of a row at one init scale, small ones first."""
    return tuple(Unit(n, draw) for n in n_train for draw in range(draws))


def seed_blocks(seeds: int, block: int) -> tuple[tuple[int, ...], ...]:
    """Seeds 0 … seeds − 1 in fixed blocks: the blocks do not change when seeds are added."""
    return tuple(tuple(range(start, min(start + block, seeds))) for start in range(0, seeds, block))
