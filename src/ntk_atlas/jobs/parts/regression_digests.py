"""The digests of finished regressions with the empirical kernels of a row, and which there are."""

from dataclasses import dataclass, field

from ntk_atlas.config.predictors import EPOCHS, PRETRAINED
from ntk_atlas.jobs.parts.finished import GROUPING
from ntk_atlas.jobs.parts.slice import Slice, Unit, units

_OF_EMPIRICAL = ("regression.predictors", "regression.epoch_n_train")
_ALWAYS_KEPT = ("regression.keep_predictions",)
"""Whatever it says, predictions with the initial kernels are kept."""


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
        Digests over everything that the numbers of each depend on. Kernels of single checkpoints are one unit together;
        which other predictors there are changes no digest.
    """
    grid, predictors = part.grid, part.regression.predictors

    def digest(kind: str, *parts: object, without: tuple[str, ...] = ()) -> str:
        return part.digest(kind, *parts, data_digest, source, without=(*GROUPING, *_OF_EMPIRICAL, *without))

    initial = range(grid.draws if "ntk_init" in predictors else 0)
    epochs = units(part.regression.epoch_sizes(grid.n_train), grid.draws) if EPOCHS in predictors else ()
    pretrained, names = units(pretrained_sizes(part), grid.draws), trained_predictors(part)
    cells = units(grid.n_train, grid.draws) if names else ()
    return RegressionDigests(
        initial={draw: digest("initial", grid.n_train, draw, without=_ALWAYS_KEPT) for draw in initial},
        trained={unit: digest("trained", names, trained[unit]) for unit in cells},
        pretrained={unit: digest("pretrained", regressed_sizes(part, unit), trained[unit]) for unit in pretrained},
        epochs={unit: digest("epochs", trained[unit]) for unit in epochs},
    )
