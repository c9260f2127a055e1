"""Cells of the grid and their names; a name and a cell turn into each other without loss.

A *row* is one (depth, width, init_scale): one training job. Its *units* are (n_train, draw) and a block of seeds
that train stacked. Names carry the canonical text of the validated value, so that `1`, `1.0` and `1.00` are one
cell.
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
    """One architecture at one initialization: depth (hidden layers), width, init_scale (σ_w²)."""

    depth: int
    width: int
    init_scale: float

    @property
    def name(self) -> str:
        """Name in paths, e.g. `depth-3_width-64_init_scale-2.0`."""
        scale = canonical_text(float(self.init_scale))
        return f"depth-{self.depth}_width-{self.width}_init_scale-{scale}"

    @classmethod
    def parse(cls, name: str) -> "Row":
        """The row that has this name.

        Raises:
            ValueError: if no row has it.
        """
        match = re.fullmatch(r"depth-(\d+)_width-(\d+)_init_scale-(\S+)", name)
        if match is None:
            raise ValueError(f"{name!r} is not the name of a row (depth-D_width-W_init_scale-S)")
        return cls(int(match[1]), int(match[2]), float(match[3]))


@dataclass(frozen=True, order=True)
class Unit:
    """One cell of a row in one draw: what a block of seeds trains on."""

    n_train: int
    draw: int

    @property
    def name(self) -> str:
        """Name in paths, e.g. `n_train-64_draw-0`."""
        return f"n_train-{self.n_train}_draw-{self.draw}"


def rows(grid: GridSettings) -> tuple[Row, ...]:
    """All rows of a grid, in ascending order."""
    return tuple(Row(d, w, s) for d in grid.depth for w in grid.width for s in grid.init_scale)


def units(n_train: Sequence[int], draws: int) -> tuple[Unit, ...]:
    """All units of a row, small ones first."""
    return tuple(Unit(n, draw) for n in n_train for draw in range(draws))


def seed_blocks(seeds: int, block: int) -> tuple[tuple[int, ...], ...]:
    """Seeds 0 … seeds − 1 in fixed blocks: the blocks do not change when seeds are added."""
    return tuple(tuple(range(start, min(start + block, seeds))) for start in range(0, seeds, block))
