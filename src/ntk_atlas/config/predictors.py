"""Everything that predicts beside the networks: names, the kind of job that makes each, and how figures call it.

This is the only list of them: the config's check, the jobs, the cube and the figures all read it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

PredictorKind = Literal["linearized", "empirical", "infinite", "rival"]
"""`linearized`: the networks themselves, linear in their weights; `empirical`: a finite network's NTK; `infinite`: a
kernel of infinite width; `rival`: a kernel that knows nothing of networks, with a length scale."""


@dataclass(frozen=True)
class PredictorFamily:
    """Predictors that share a kind: one name, or names with a number in them.

    Attributes:
        pattern: regular expression of the whole name.
        kind: which job makes it.
        label: its name in figures and tables, `{}` standing for the number.
    """

    pattern: str
    kind: PredictorKind
    label: str

    def number(self, name: str) -> str | None:
        """The number in a name (empty if there is none to be); None if the name is not of the family."""
        found = re.fullmatch(self.pattern, name)
        return None if found is None else "".join(found.groups())


PREDICTORS = (
    PredictorFamily("linearized", "linearized", "linearized network"),
    PredictorFamily("ntk_init", "empirical", "empirical NTK, initial"),
    PredictorFamily("ntk_final", "empirical", "empirical NTK, final"),
    PredictorFamily(r"ntk_epoch_([1-9]\d*)", "empirical", "empirical NTK, epoch {}"),
    PredictorFamily("infinite_ntk", "infinite", "infinite NTK"),
    PredictorFamily("nngp", "infinite", "NNGP"),
    PredictorFamily("ntk_with_bias", "infinite", "NTK, with bias"),
    PredictorFamily("ntk_without_bias", "infinite", "NTK, no bias"),
    PredictorFamily("standard_with_bias", "infinite", "standard, with bias"),
    PredictorFamily("standard_without_bias", "infinite", "standard, no bias"),
    PredictorFamily("c1_with_bias", "infinite", "c = 1, with bias"),
    PredictorFamily("c1_without_bias", "infinite", "c = 1, no bias"),
    PredictorFamily("last_layer_with_bias", "infinite", "last layer, with bias"),
    PredictorFamily("last_layer_without_bias", "infinite", "last layer, no bias"),
    PredictorFamily("laplace", "rival", "Laplace"),
    PredictorFamily("matern_3_2", "rival", "Matérn 3/2"),
    PredictorFamily("matern_5_2", "rival", "Matérn 5/2"),
    PredictorFamily("rbf", "rival", "RBF"),
    PredictorFamily("rational_quadratic", "rival", "rational quadratic"),
    PredictorFamily("arc_cosine_0", "rival", "arc-cosine 0"),
    PredictorFamily("arc_cosine_1", "rival", "arc-cosine 1"),
    PredictorFamily("arc_cosine_2", "rival", "arc-cosine 2"),
    PredictorFamily("polynomial", "rival", "polynomial"),
    PredictorFamily("linear", "rival", "linear"),
)
"""All predictors but the network."""

PREDICTOR_PATTERN = rf"^({'|'.join(family.pattern.replace('(', '(?:') for family in PREDICTORS)})$"
"""Regular expression of every name that a config may give."""


def predictor_family(name: str) -> PredictorFamily:
    """The family of a predictor.

    Raises:
        KeyError: if there is none of that name.
    """
    for family in PREDICTORS:
        if family.number(name) is not None:
            return family
    raise KeyError(f"there is no predictor {name!r}: known are {', '.join(family.pattern for family in PREDICTORS)}")


def predictors_of(kind: PredictorKind, names: Iterable[str]) -> tuple[str, ...]:
    """The names of one kind, sorted: their order in a config changes nothing."""
    return tuple(sorted(name for name in names if predictor_family(name).kind == kind))


def known_predictors(kind: PredictorKind) -> tuple[str, ...]:
    """All names of a kind that have no number in them, in the order of the list."""
    return tuple(f.pattern for f in PREDICTORS if f.kind == kind and "(" not in f.pattern)


def predictor_label(name: str) -> str:
    """The name of a predictor, or of the network, as figures and tables write it."""
    if name == "network":
        return "network"
    family = predictor_family(name)
    return family.label.format(family.number(name))
