"""Everything that predicts beside the networks: names, the kind of job that makes each, and how figures call it.

This is the only list of them: the config's check, the jobs, the cube and the figures all read it. Of rivals it has
what lies in `kernels/rivals`.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from ntk_atlas.kernels.rivals import RIVALS

if TYPE_CHECKING:
    from ntk_atlas.config.study import ExperimentSettings

PredictorKind = Literal["linearized", "empirical", "infinite", "rival"]
"""`linearized`: the networks themselves, linear in their weights; `empirical`: a finite network's NTK; `infinite`: a
kernel of infinite width; `rival`: a kernel that knows nothing of networks, with a length scale."""


@dataclass(frozen=True)
class PredictorFamily:
    """Predictors that share a kind: one name, or names with a number in them.

    Attributes:
        pattern: regular expression of the whole name.
        kind: which job makes it.
        label: its name in figures and tables, `{}` standing for the number; a built-in rival has its own.
    """

    pattern: str
    kind: PredictorKind
    label: str = ""

    def number(self, name: str) -> str | None:
        """The number in a name (empty if there is none to be); None if the name is not of the family."""
        found = re.fullmatch(self.pattern, name)
        return None if found is None else "".join(found.groups())

    def words(self, name: str) -> str:
        """The label with the number in a name of the family."""
        return self.label.format(self.number(name)) if self.label else RIVALS.get(name).label


PREDICTORS = (
    PredictorFamily("linearized", "linearized", "linearized network"),
    PredictorFamily("ntk_init", "empirical", "empirical NTK, initial"),
    PredictorFamily("ntk_final", "empirical", "empirical NTK, final"),
    PredictorFamily(r"ntk_epoch_([1-9]\d*)", "empirical", "empirical NTK, epoch {}"),
    PredictorFamily("ntk_epochs", "empirical", "empirical NTK, by epoch"),
    PredictorFamily(r"ntk_pretrained_([1-9]\d*)", "empirical", "empirical NTK, trained on {}"),
    PredictorFamily("infinite_ntk", "infinite", "infinite NTK"),
    PredictorFamily("nngp", "infinite", "NNGP"),
    PredictorFamily("stand_in_ntk", "infinite", "infinite NTK, fully connected"),
    PredictorFamily("ntk_with_bias", "infinite", "NTK, with bias"),
    PredictorFamily("ntk_without_bias", "infinite", "NTK, no bias"),
    PredictorFamily("standard_with_bias", "infinite", "standard, with bias"),
    PredictorFamily("standard_without_bias", "infinite", "standard, no bias"),
    PredictorFamily("c1_with_bias", "infinite", "c = 1, with bias"),
    PredictorFamily("c1_without_bias", "infinite", "c = 1, no bias"),
    PredictorFamily("last_layer_with_bias", "infinite", "last layer, with bias"),
    PredictorFamily("last_layer_without_bias", "infinite", "last layer, no bias"),
    *(PredictorFamily(name, "rival") for name in RIVALS.names()),
)
"""All predictors but the network and kernels of the user's."""

EPOCHS = "ntk_epochs"
"""The kernels of all checkpoints, along the dimension `epoch`; no learning curve of its own."""
PRETRAINED = "ntk_pretrained_"
"""Before the number m of samples that a kernel was trained on, whatever it is regressed on."""
STAND_IN = "stand_in_ntk"
"""The NTK of fully connected networks beside convolutional ones."""
AROUND = "_around_network"
"""After the name of a kernel that predicts what the network leaves over, where both centers are asked for."""
USER_KERNEL = "user_"
"""Before the name of a kernel from a file of the user's, `my_kernel.py:k`: `user_my_kernel_k`."""
DISTANCES = ("distance_linearized", "distance_own_ntk", "distance_infinite_ntk")
"""Distances of networks, as functions, from what NTK theory predicts: from their linearization, from regression with
their own initial NTK, and from regression with the infinite NTK."""

_USER_KERNELS = PredictorFamily(rf"{USER_KERNEL}(\w+)", "rival", "{}")
_USER_PATTERN = r".*[^/\\]\.py:[A-Za-z_][A-Za-z0-9_]*"
_NAMED = "|".join(family.pattern.replace("(", "(?:") for family in PREDICTORS)
PREDICTOR_PATTERN = rf"^({_NAMED}|{_USER_PATTERN})$"
"""Regular expression of every name that a config may give."""


def is_user_kernel(predictor: str) -> bool:
    """Whether a predictor of the config is a kernel from a file of the user's, `my_kernel.py:k`."""
    return re.fullmatch(_USER_PATTERN, predictor) is not None


def predictor_name(predictor: str) -> str:
    """The name of a predictor of the config in cubes and files: its own, or `user_my_kernel_k` for `my_kernel.py:k`."""
    if not is_user_kernel(predictor):
        return predictor
    file, _, function = predictor.rpartition(":")
    stem = re.sub(r"[^A-Za-z0-9_]", "_", PurePath(file).stem)
    return f"{USER_KERNEL}{stem}_{function}"


def predictor_names(predictors: Iterable[str]) -> tuple[str, ...]:
    """The names of the predictors of a config, in their order."""
    return tuple(predictor_name(predictor) for predictor in predictors)


def user_kernels(predictors: Iterable[str]) -> dict[str, str]:
    """Which of the predictors of a config are the user's: `my_kernel.py:k` by name."""
    return {predictor_name(predictor): predictor for predictor in predictors if is_user_kernel(predictor)}


def predictor_family(name: str) -> PredictorFamily:
    """The family of a predictor.

    Raises:
        KeyError: if there is none of that name.
    """
    name = predictor_name(name)
    for family in (*PREDICTORS, _USER_KERNELS):
        if family.number(name) is not None:
            return family
    raise KeyError(f"there is no predictor {name!r}: known are {', '.join(family.pattern for family in PREDICTORS)}")


def predictors_of(kind: PredictorKind, names: Iterable[str]) -> tuple[str, ...]:
    """The names of one kind, sorted: their order in a config changes nothing."""
    names = predictor_names(names)
    return tuple(sorted(name for name in names if predictor_family(name).kind == kind))


def known_predictors(kind: PredictorKind) -> tuple[str, ...]:
    """All names of a kind that have no number in them, in the order of the list."""
    return tuple(f.pattern for f in PREDICTORS if f.kind == kind and "(" not in f.pattern)


def distance_predictors(experiment: "ExperimentSettings") -> dict[str, str]:
    """The distances of networks from theory that an experiment has, each with the predictor whose error is its unit.

    With the initial output f₀ left in the network (`initial_output: keep`), its own kernel predicts around f₀, and
    distances from the infinite NTK take what f₀ leaves of itself from the own kernel around f₀ and around zero.

    Args:
        experiment: settings.

    Returns:
        Names of `DISTANCES`; those whose predictor is lacking are not there.
    """
    regression, kept = experiment.regression, experiment.training.initial_output == "keep"
    own = "ntk_init" + (AROUND if kept and regression.predictor_center == "both" else "")
    around = not kept or regression.predictor_center != "zero"
    names = set(regression.predictors)
    found = {"distance_linearized": "linearized"} if "linearized" in names else {}
    if "ntk_init" in names and around:
        found["distance_own_ntk"] = own
    if "infinite_ntk" in names and (not kept or (own != "ntk_init" and "ntk_init" in names)):
        found["distance_infinite_ntk"] = "infinite_ntk"
    return found


def curve_names(predictors: Iterable[str], there: Collection[str]) -> list[str]:
    """Names of the predictors that have a learning curve, in the configured order.

    Args:
        predictors: as configured.
        there: names of all predictions: some kernels predict around the network too.

    Returns:
        The names; the kernels of all checkpoints are no curve.
    """
    chosen = [name for name in predictor_names(predictors) if name != EPOCHS]
    return [each for name in chosen for each in (name, name + AROUND) if each == name or each in there]


def stand_ins(predictors: Iterable[str]) -> tuple[str, ...]:
    """The kernels that see rows of numbers, not images: stand-ins beside a network that does."""
    return tuple(n for n in predictor_names(predictors) if n == STAND_IN or predictor_family(n).kind == "rival")


def predictor_label(name: str, stand_ins: Collection[str] = ()) -> str:
    """The name of a predictor, or of the network, as figures and tables write it.

    Args:
        name: the predictor.
        stand_ins: names of kernels that are to be called stand-ins.

    Returns:
        The name in words.
    """
    if name == "network":
        return "network"
    if name.endswith(AROUND):
        return f"{predictor_label(name.removesuffix(AROUND), stand_ins)}, around network"
    family = predictor_family(name)
    return family.words(name) + (" (stand-in)" if name in stand_ins else "")
