"""What a map says, in sentences: each by a small rule, with its number and interval, from the regimes alone."""

from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr

from ntk_atlas.config.thresholds import RegimeThresholds
from ntk_atlas.regimes.distances import ERROR_RATIO
from ntk_atlas.regimes.frontiers import FrontierStatus
from ntk_atlas.regimes.regime import Regime

MOST = 7
"""Sentences of a map."""
_OF_FRONTIER = {
    "distance_infinite_ntk": ("the infinite NTK", "−0.5"),
    "distance_own_ntk": ("each network's own NTK", "−1"),
}
"""Kernel of a frontier, and the exponent of its distance in the width in theory."""


def sentences(found: xr.Dataset, frontiers: xr.Dataset, thresholds: RegimeThresholds, n_draws: int) -> list[str]:
    """The finding first, then where it ends, what breaks, who is better, and what is undecided and why.

    Args:
        found: from `regimes.regime.regimes`.
        frontiers: from `regimes.frontiers.frontier` in the width, against the infinite NTK, or against each network's
            own where there is no infinite one; empty where there is neither.
        thresholds: of the regimes.
        n_draws: draws behind each interval.

    Returns:
        At most `MOST` sentences.
    """
    said: list[str] = []
    for rule in _RULES:
        said += rule(found, frontiers, thresholds, n_draws)
    return said[:MOST]


def counts(found: xr.Dataset) -> dict[Regime, int]:
    """Number of cells by regime, those without networks left out, the most frequent first."""
    flags, number = np.unique(found["regime"].values, return_counts=True)
    by_regime = {Regime(int(flag)): int(n) for flag, n in zip(flags, number, strict=True) if flag >= 0}
    return dict(sorted(by_regime.items(), key=lambda item: (-item[1], item[0])))


def _shares(found: xr.Dataset, _: xr.Dataset, thresholds: RegimeThresholds, __: int) -> Iterator[str]:
    """The finding: in how many cells theory holds, and what else there is."""
    number = counts(found)
    total, holds = sum(number.values()), sum(n for regime, n in number.items() if regime.holds)
    infinite = number.get(Regime.INFINITE_NTK, 0)
    others = [f"{regime.words} in {n}" for regime, n in number.items() if not regime.holds]
    within = f"networks are within {thresholds.distance.value:.2g} of the kernel's own error"
    already = f", in {infinite} of them already with the infinite NTK" if "distance_infinite_ntk" in found else ""
    rest = f"; {', '.join(others)}" if others else ""
    yield f"NTK theory holds in {holds} of {total} cells ({within}){already}{rest}."


def _frontiers(_: xr.Dataset, frontiers: xr.Dataset, __: RegimeThresholds, ___: int) -> Iterator[str]:
    """From which width on a kernel predicts networks, at the shallowest and the deepest networks with a frontier."""
    if "status" not in frontiers:  # networks are compared with their linearization alone
        return
    kernel, slope = _OF_FRONTIER[frontiers.attrs["distance"]]
    said = [place for place in _places(frontiers) if _has_frontier(frontiers.isel(place))]
    for place in dict.fromkeys(tuple(said[i].items()) for i in (0, -1) if said):
        one = frontiers.isel(dict(place))
        beyond = " (beyond the grid)" if int(one["status"]) == FrontierStatus.EXTRAPOLATED else ""
        yield (
            f"At {_where(one)} {kernel} holds from width {_three(one, 'frontier', '.0f')} on{beyond}; the distance "
            f"falls as width^{_three(one, 'exponent', '.2f')}, in theory {slope}."
        )
    if not said and frontiers["status"].size:
        flags, number = np.unique(frontiers["status"].values, return_counts=True)
        reason = FrontierStatus(int(flags[number.argmax()])).words
        yield f"No width from which {kernel} holds can be given: {reason}."


def _breaks(found: xr.Dataset, _: xr.Dataset, thresholds: RegimeThresholds, __: int) -> Iterator[str]:
    """What breaks first where the infinite NTK does not hold, or each network's own where there is no infinite one."""
    if "distance_own_ntk" not in found:
        return
    infinite = "distance_infinite_ntk" in found
    of = [regime for regime in Regime if regime is Regime.INFINITE_NTK or (regime.holds and not infinite)]
    broken = ~found["regime"].isin([int(regime) for regime in of]) & (found["regime"] >= 0)
    total = int(broken.sum())
    if not total:
        return
    random = int((broken & (found["distance_own_ntk_high"] < thresholds.distance.value)).sum())
    moved = found.get("distance_linearized_low", found["distance_own_ntk_low"]) > thresholds.distance.value
    n_moved = int((broken & moved).sum())
    if not infinite:
        yield f"Where the own NTK does not hold, networks leave their linearization in {n_moved} of {total} cells."
        return
    yield (
        f"Where the infinite NTK does not hold, the kernel at initialization is what is off in {random} of {total} "
        f"cells (each network is its own NTK), and networks leave their linearization in {n_moved}."
    )


def _winners(found: xr.Dataset, _: xr.Dataset, __: RegimeThresholds, ___: int) -> Iterator[str]:
    """Where networks beat the kernel they started from, and where they lose to it."""
    for regime, word, pick in (
        (Regime.FEATURES_BETTER, "beat", "argmin"),
        (Regime.FEATURES_WORSE, "lose to", "argmax"),
    ):
        there = found["regime"] == int(regime)
        if not bool(there.any()) or ERROR_RATIO not in found:
            continue
        best = found.isel(getattr(found[ERROR_RATIO].where(there), pick)(...))
        yield (
            f"Networks {word} their own kernel in {_cells(int(there.sum()))}, most at {_where(best)}: "
            f"{_three(best, ERROR_RATIO, '.2f')} of its mean squared error."
        )


def _undecided(found: xr.Dataset, _: xr.Dataset, thresholds: RegimeThresholds, n_draws: int) -> Iterator[str]:
    """What is undecided, and what would decide it."""
    number = counts(found)
    left = sum(n for regime, n in number.items() if regime in (Regime.UNDECIDED, Regime.FEATURES_UNDECIDED))
    unfinished = number.get(Regime.NOT_TRAINED, 0) + number.get(Regime.FEATURES_UNFINISHED, 0)
    if left:
        yield f"Undecided with {n_draws} draw{'s' * (n_draws != 1)}: {_cells(left)}; raise grid.draws."
    if unfinished:
        yield f"Above training.target_mse at the end: {_cells(unfinished)}; raise training.max_epochs."
    if wrong := round((1.0 - thresholds.confidence) * sum(number.values())):
        yield f"Labels are per cell: up to {wrong} of them may be wrong by chance."


_RULES: tuple[Callable[[xr.Dataset, xr.Dataset, RegimeThresholds, int], Iterator[str]], ...] = (
    _shares, _frontiers, _breaks, _winners, _undecided,
)  # fmt: skip


def _cells(number: int) -> str:
    return f"{number} cell{'s' * (number != 1)}"


def _places(frontiers: xr.Dataset) -> list[dict[str, int]]:
    """Places of a frontier, by init scale and n_train, depths next to each other; the largest n_train last."""
    status = frontiers["status"]
    return [dict(zip(map(str, status.dims), place, strict=True)) for place in np.ndindex(*status.shape)]


def _has_frontier(one: xr.Dataset) -> bool:
    return int(one["status"]) in (FrontierStatus.FOUND, FrontierStatus.EXTRAPOLATED)


def _where(one: xr.Dataset) -> str:
    names = {"depth": "depth {:.0f}", "width": "width {:.0f}", "init_scale": "σ_w² = {:.4g}", "n_train": "n = {:.0f}"}
    return ", ".join(
        text.format(float(one[dim])) for dim, text in names.items() if dim in one.coords and not one[dim].dims
    )


def _three(one: xr.Dataset, name: str, how: str) -> str:
    value, low, high = (format(float(one[f"{name}{end}"]), how) for end in ("", "_low", "_high"))
    return f"{value} [{low}, {high}]"
