"""The digests of finished units: each over all that its numbers depend on, and nothing else.

A unit is the same whatever other units there are: the lists of units (n_train, draws, seeds) and their grouping are
left out, and so is what judges a training after it has ended.
"""

from ntk_atlas.arrays import unit_digest
from ntk_atlas.jobs.parts.cells import Unit, canonical_text, units
from ntk_atlas.jobs.parts.slice import Slice

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
