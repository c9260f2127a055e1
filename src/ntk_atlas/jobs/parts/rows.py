"""The labels on which a row is joined, and its finished units."""

from collections.abc import Iterator, Mapping, Sequence

from ntk_atlas.arrays import Grid, LabelledArrays, UnitStore
from ntk_atlas.jobs.parts.cells import Unit
from ntk_atlas.jobs.parts.slice import Slice


def row_grid(spec: Slice) -> Grid:
    """The labels on which what there is of a row is joined; checkpoints are those that any unit has."""
    grid = spec.grid
    labels = {"init_scale": grid.init_scale, "n_train": grid.n_train, "draw": range(grid.draws)}
    return labels | {"seed": range(grid.seeds), "epoch": None}


def finished_units(
    spec: Slice, store: UnitStore, digests: Mapping[Unit, str], names: Sequence[str] = ()
) -> Iterator[LabelledArrays]:
    """What there is of each unit, at its place on the grid.

    Args:
        spec: the row, at one init scale.
        store: the finished units.
        digests: digest of each unit.
        names: of the arrays; all by default.

    Yields:
        Arrays of the seeds that are finished.
    """
    for unit, digest in digests.items():
        found = store.load(unit.name, digest, range(spec.grid.seeds), names, partial=True)
        yield found.at(n_train=unit.n_train, draw=unit.draw)
