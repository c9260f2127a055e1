"""The digests of finished units: each over all that its numbers depend on, and nothing else.

A unit is the same whatever other units there are: the lists of units (n_train, draws, seeds) and their grouping are
left out, and so is what judges a training after it has ended.
"""

from dataclasses import dataclass, field

from ntk_atlas.arrays import unit_digest
from ntk_atlas.config.predictors import EPOCHS, PRETRAINED
from ntk_atlas.jobs.parts.cells import Unit, canonical_text, units
from ntk_atlas.jobs.parts.slice import Slice

_GROUPING = ("grid.n_train", "grid.draws", "grid.seeds", "training.seeds_per_unit")
_JUDGED_LATER = ("training.target_mse", "training.max_seconds")
_OF_EMPIRICAL = ("regression.predictors", "regression.epoch_n_train")
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
    without = (*_GROUPING, *_JUDGED_LATER)
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


@dataclass(frozen=True)
class RegressionDigests:
    """Digests of a row's regressions; kinds of kernels that are not asked for have none.

    Attributes:
        initial: with the initial kernels, by draw.
        trained: with kernels trained on the same samples, by unit.
        pretrained: with kernels trained on m samples, by unit (m, draw).
        epochs: with the kernels of all checkpoints, by unit.
    """

    initial: dict[int, str] = field(default_factory=dict)
    trained: dict[Unit, str] = field(default_factory=dict)
    pretrained: dict[Unit, str] = field(default_factory=dict)
    epochs: dict[Unit, str] = field(default_factory=dict)


def pretrained_sizes(part: Slice) -> tuple[int, ...]:
    """The m of all kernels trained on m samples that are asked for, ascending."""
    names = part.regression.predictors
    return tuple(sorted(int(name.removeprefix(PRETRAINED)) for name in names if name.startswith(PRETRAINED)))


def trained_predictors(part: Slice) -> tuple[str, ...]:
    """The kernels trained on the samples that they are regressed on, single checkpoints only."""
    others = ("ntk_init", EPOCHS)
    return tuple(n for n in part.regression.predictors if n not in others and not n.startswith(PRETRAINED))


def regressed_sizes(part: Slice, pretrained: Unit) -> tuple[int, ...]:
    """The n_train on which kernels trained on the m samples of `pretrained` are regressed: every n ≥ m."""
    return tuple(n for n in part.grid.n_train if n >= pretrained.n_train)


def regression_digests(part: Slice, data_digest: str, source: str, trained: dict[Unit, str]) -> RegressionDigests:
    """The digests of all regressions with the empirical kernels of a row, at one init scale.

    Args:
        part: of `regress_empirical`.
        data_digest: digest of the data's contents.
        source: digest of the code that regresses.
        trained: digest of each unit's training.

    Returns:
        Digests over everything that the numbers of each depend on; which other predictors there are changes none.
    """
    grid, predictors = part.grid, part.regression.predictors

    def digest(kind: str, *parts: object) -> str:
        return part.digest(kind, *parts, data_digest, source, without=(*_GROUPING, *_OF_EMPIRICAL))

    initial = range(grid.draws if "ntk_init" in predictors else 0)
    epochs = units(part.regression.epoch_sizes(grid.n_train), grid.draws) if EPOCHS in predictors else ()
    pretrained, names = units(pretrained_sizes(part), grid.draws), trained_predictors(part)
    cells = units(grid.n_train, grid.draws) if names else ()
    return RegressionDigests(
        initial={draw: digest("initial", grid.n_train, draw) for draw in initial},
        trained={unit: digest("trained", names, trained[unit]) for unit in cells},
        pretrained={unit: digest("pretrained", regressed_sizes(part, unit), trained[unit]) for unit in pretrained},
        epochs={unit: digest("epochs", trained[unit]) for unit in epochs},
    )


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
