"""Finished units: the digest of each, over all that its numbers depend on and nothing else, and what there is of them.

A unit is the same whatever other units there are: the lists of units (n_train, draws, seeds) and their grouping are
left out, and so is what judges a training after it has ended.
"""

from collections.abc import Iterator, Mapping, Sequence

from ntk_atlas.arrays import Grid, LabelledArrays, UnitStore, unit_digest
from ntk_atlas.jobs.parts.slice import Slice, Unit, canonical_text, units

GROUPING = ("grid.n_train", "grid.draws", "grid.seeds", "training.seeds_per_unit")
_JUDGED_LATER = ("training.target_mse", "training.max_seconds")
_SUMMED_LATER = tuple(f"dispersion.{key}" for key in ("n_networks", "n_exact", "n_bootstrap", "confidence"))


def training_digests(part: Slice, data_digest: str, source: str) -> dict[Unit, str]:
    """The digest of each training of a row at one init scale.

    Args:
        part: of `train_networks`.
        data_digest: digest of the data's contents.
        source: digest of the code that trains.

    Returns:
        A digest per unit.
    """
    without = (*GROUPING, *_JUDGED_LATER)
    return {
        unit: part.digest("train", unit.n_train, unit.draw, data_digest, source, without=without)
        for unit in units(part.grid.n_train, part.grid.draws)
    }


def linearized_digests(part: Slice, trained: dict[Unit, str], source: str) -> dict[Unit, str]:
    """The digest of each linearized training; the digest of the training says all else that it depends on.

    Args:
        part: of `linearize_networks`, at one init scale.
        trained: digest of each training.
        source: digest of the code that computes.

    Returns:
        A digest per unit.
    """
    on_test = bool(part.regression.predictors)
    return {
        unit: unit_digest("linearized", trained[unit], on_test, source)
        for unit in units(part.grid.n_train, part.grid.draws)
    }


def initial_kernel_digests(part: Slice, source: str) -> dict[float, str]:
    """The digest of the untrained networks at each init scale.

    Args:
        part: of `sample_initial_kernels`.
        source: digest of the code that samples.

    Returns:
        A digest per init scale.
    """
    return {
        scale: of_scale.digest("initial kernels", source, without=_SUMMED_LATER)
        for scale, of_scale in part.per_init_scale().items()
    }


def scale_name(init_scale: float) -> str:
    """Name of the unit of an init scale."""
    return f"init_scale-{canonical_text(float(init_scale))}"


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
