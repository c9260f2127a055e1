"""The regime of each cell: which part of NTK theory describes its networks, or why none does."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import xarray as xr

from ntk_atlas.config.predictors import DISTANCES
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.thresholds import RegimeThresholds
from ntk_atlas.jobs.parts.results import lacking_for_regimes
from ntk_atlas.regimes.distances import ERROR_RATIO, ratio_interval, shares, squared_distances


class Regime(IntEnum):
    """What holds in a cell; `words` is what figures and sentences call it."""

    MISSING = -1
    INFINITE_NTK = 0
    OWN_NTK = 1
    OWN_NTK_AT_LEAST = 2
    FINITE_TIME = 3
    FEATURES_BETTER = 4
    FEATURES_NO_DIFFERENT = 5
    FEATURES_WORSE = 6
    FEATURES_UNDECIDED = 7
    FEATURES_UNFINISHED = 8
    NOT_TRAINED = 9
    DIVERGED = 10
    UNDECIDED = 11

    @property
    def words(self) -> str:
        """The regime in words."""
        return _WORDS[self]

    @property
    def holds(self) -> bool:
        """Whether regression with an NTK predicts the network."""
        return self in (Regime.INFINITE_NTK, Regime.OWN_NTK, Regime.OWN_NTK_AT_LEAST)

    @property
    def learns(self) -> bool:
        """Whether the network has left its linearization."""
        return Regime.FEATURES_BETTER <= self <= Regime.FEATURES_UNFINISHED


class FirstBreak(IntEnum):
    """Which link of theory breaks first in a cell, from the kernel at initialization to the error at the end."""

    MISSING = -1
    NOTHING = 0
    KERNEL_RANDOM = 1
    KERNEL_MOVES = 2
    NOT_TRAINED = 3
    ERROR = 4
    DIVERGED = 5
    UNDECIDED = 6

    @property
    def words(self) -> str:
        """The link in words."""
        return _LINKS[self]


_LINKS = {
    FirstBreak.MISSING: "no networks",
    FirstBreak.NOTHING: "nothing breaks",
    FirstBreak.KERNEL_RANDOM: "the kernel at initialization is random",
    FirstBreak.KERNEL_MOVES: "the kernel moves in training",
    FirstBreak.NOT_TRAINED: "networks are not trained to the end",
    FirstBreak.ERROR: "the error is another one",
    FirstBreak.DIVERGED: "networks diverge",
    FirstBreak.UNDECIDED: "undecided",
}

_WORDS = {
    Regime.MISSING: "no networks",
    Regime.INFINITE_NTK: "infinite NTK holds",
    Regime.OWN_NTK: "own NTK holds, infinite NTK does not",
    Regime.OWN_NTK_AT_LEAST: "own NTK holds, infinite NTK undecided",
    Regime.FINITE_TIME: "linear all along, stopped early",
    Regime.FEATURES_BETTER: "features learned, better than its kernel",
    Regime.FEATURES_NO_DIFFERENT: "features learned, no different from its kernel",
    Regime.FEATURES_WORSE: "features learned, worse than its kernel",
    Regime.FEATURES_UNDECIDED: "features learned, error undecided",
    Regime.FEATURES_UNFINISHED: "features learned, training unfinished",
    Regime.NOT_TRAINED: "not trained",
    Regime.DIVERGED: "diverged",
    Regime.UNDECIDED: "undecided",
}


_ENDS = {"value": "", "low": "_low", "high": "_high"}


def regimes(cube: xr.Dataset, settings: ExperimentSettings, thresholds: RegimeThresholds) -> xr.Dataset:
    """The regime of every cell of an experiment, with the numbers that it rests on.

    The first that applies, with intervals over draws for new data of this kind, τ = `distance`, ρ = `error_ratio`:

    1. *diverged*: more than a stated share of the networks;
    2. more than a stated share above the training error asked: *linear all along, stopped early* if the distance to
       the linearization is below τ, *features learned, training unfinished* if it is above, else *not trained*;
    3. *infinite NTK holds*: the distance to regression with it is below τ;
    4. *own NTK holds*: the distance to regression with the network's own initial NTK is below τ; the infinite one does
       not hold if its distance is above, and is undecided else;
    5. *linear all along, stopped early*: the distance to the linearization is below τ, that to the own NTK above;
    6. *features learned*: the distance to the linearization is above τ (to the own NTK where none was linearized);
       *better*, *no different* or *worse* as the network's mean squared error over its kernel's lies below 1/ρ,
       within 1/ρ … ρ or above ρ;
    7. *undecided*.

    Args:
        cube: the cube.
        settings: of the experiment.
        thresholds: of the regimes.

    Returns:
        `regime` and `breaks_first` (flags), of each distance and of `error_ratio` the value and its ends `*_low`,
        `*_high`, and the shares `diverged` and `unfinished`; over depth, width, init_scale and n_train.

    Raises:
        ValueError: if the experiment has none of the predictors; the text says which keys add them.
    """
    squares = squared_distances(cube, settings)
    if not set(DISTANCES) & set(squares.data_vars):
        older = "the cube has no distances of networks from predictors: an older version wrote it; run its study again"
        raise ValueError(f"no regime can be told: {lacking_for_regimes(settings) or older}")
    found = shares(cube)
    asked = {"confidence": thresholds.confidence, "uneven": thresholds.uneven.value}
    for name in (*DISTANCES, ERROR_RATIO):
        if name in squares:
            ends = ratio_interval(squares, name, root=name != ERROR_RATIO, **asked)
            found = found.assign({f"{name}{end}": ends[key] for key, end in _ENDS.items()})
    found["regime"] = decide(found, thresholds)
    found["breaks_first"] = first_break(found, thresholds)
    return found


@dataclass(frozen=True, eq=False)
class _Cells:
    """The numbers of cells beside bounds: `below` and `above` mean the whole interval."""

    found: xr.Dataset
    thresholds: RegimeThresholds

    def below(self, name: str, bound: float | None = None) -> xr.DataArray:
        """Where a number is below a bound, τ if none is given; nowhere, if the number is lacking."""
        bound = self.thresholds.distance.value if bound is None else bound
        return self.found[f"{name}_high"] < bound if name in self.found else self.nowhere

    def above(self, name: str, bound: float | None = None) -> xr.DataArray:
        """Where a number is above a bound."""
        bound = self.thresholds.distance.value if bound is None else bound
        return self.found[f"{name}_low"] > bound if name in self.found else self.nowhere

    @property
    def nowhere(self) -> xr.DataArray:
        """False everywhere."""
        return xr.zeros_like(self.found["diverged"], dtype=bool)

    @property
    def diverged(self) -> xr.DataArray:
        """Where more than the stated share diverged."""
        return self.found["diverged"] > self.thresholds.most_diverged.value

    @property
    def unfinished(self) -> xr.DataArray:
        """Where more than the stated share ended above the training error asked."""
        return self.found["unfinished"] > self.thresholds.most_unfinished.value

    @property
    def left(self) -> xr.DataArray:
        """Where networks have left their linearization (their own NTK, where none was linearized)."""
        linearized, own, _ = DISTANCES
        return self.above(linearized if linearized in self.found else own)

    def first_of(self, rules: Sequence[tuple[xr.DataArray, IntEnum]], name: str) -> xr.DataArray:
        """Of each cell the flag of the first rule that holds; the last rule has the flag where none does."""
        like = self.found["diverged"]
        places = [holds.broadcast_like(like).transpose(*like.dims).values for holds, _ in rules[:-1]]
        flags = np.select(places, [int(flag) for _, flag in rules[:-1]], int(rules[-1][1])).astype(np.int8)
        return like.copy(data=flags).rename(name)


def decide(found: xr.Dataset, thresholds: RegimeThresholds) -> xr.DataArray:
    """The regime of each cell from its numbers: `Regime` values, by the rules of `regimes`.

    Args:
        found: distances and `error_ratio` with their ends `*_low` and `*_high`, those that there are, and the shares
            `diverged` and `unfinished`.
        thresholds: of the regimes.
    """
    cells, rho = _Cells(found, thresholds), thresholds.error_ratio.value
    linearized, own, infinite = DISTANCES
    better, worse = cells.below(ERROR_RATIO, 1.0 / rho), cells.above(ERROR_RATIO, rho)
    alike = cells.above(ERROR_RATIO, 1.0 / rho) & cells.below(ERROR_RATIO, rho)
    rules = (
        (found["diverged"].isnull(), Regime.MISSING),
        (cells.diverged, Regime.DIVERGED),
        (cells.unfinished & cells.below(linearized), Regime.FINITE_TIME),
        (cells.unfinished & cells.left, Regime.FEATURES_UNFINISHED),
        (cells.unfinished, Regime.NOT_TRAINED),
        (cells.below(infinite), Regime.INFINITE_NTK),
        (cells.below(own) & cells.above(infinite), Regime.OWN_NTK),
        (cells.below(own), Regime.OWN_NTK_AT_LEAST),
        (cells.below(linearized) & cells.above(own), Regime.FINITE_TIME),
        (cells.left & better, Regime.FEATURES_BETTER),
        (cells.left & alike, Regime.FEATURES_NO_DIFFERENT),
        (cells.left & worse, Regime.FEATURES_WORSE),
        (cells.left, Regime.FEATURES_UNDECIDED),
        (cells.nowhere, Regime.UNDECIDED),
    )
    return cells.first_of(rules, "regime")


def first_break(found: xr.Dataset, thresholds: RegimeThresholds) -> xr.DataArray:
    """Which link of theory breaks first in each cell: `FirstBreak` values.

    The links from the infinite NTK to a network are g∞ → g₀ (the kernel at initialization is random), g₀ → ℓ
    (training ended early) and ℓ → f (the kernel moves). A link breaks where its distance is above τ while what lies
    before it is below. A moving kernel counts before an early end, since more training does not bring it back; where no
    distance is decided, an error beyond ρ of the kernel's, either way, still shows that theory is off.

    Args:
        found: as for `decide`.
        thresholds: of the regimes.
    """
    cells, rho = _Cells(found, thresholds), thresholds.error_ratio.value
    linearized, own, infinite = DISTANCES
    rules = (
        (found["diverged"].isnull(), FirstBreak.MISSING),
        (cells.diverged, FirstBreak.DIVERGED),
        (~cells.unfinished & cells.below(infinite if infinite in found else own), FirstBreak.NOTHING),
        (~cells.unfinished & cells.below(own) & cells.above(infinite), FirstBreak.KERNEL_RANDOM),
        (~cells.unfinished & cells.below(own), FirstBreak.UNDECIDED),
        (cells.left & (cells.above(linearized) | ~cells.unfinished), FirstBreak.KERNEL_MOVES),
        (cells.unfinished | (cells.below(linearized) & cells.above(own)), FirstBreak.NOT_TRAINED),
        (cells.below(ERROR_RATIO, 1.0 / rho) | cells.above(ERROR_RATIO, rho), FirstBreak.ERROR),
        (cells.nowhere, FirstBreak.UNDECIDED),
    )
    return cells.first_of(rules, "breaks_first")
