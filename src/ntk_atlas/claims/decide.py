"""From comparisons with thresholds to a verdict: supported, not supported, or inconclusive.

A claim is a list of comparisons, all of which it says to hold. It is *supported* if the whole interval of each lies
in its region: an intersection–union test (Berger 1982), which needs no correction for their number. It is *not
supported* if at least one interval lies wholly outside; there the number of comparisons counts, so those p values are
corrected by Holm's method. Whatever is between is *inconclusive*.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ntk_atlas.claims.estimates import Estimate

Word = Literal["supported", "not supported", "inconclusive", "not run", "not applicable"]


class NotJudgedError(Exception):
    """A claim that there is nothing to judge by, or that does not apply; its text is the reason."""

    def __init__(self, word: Literal["not run", "not applicable", "inconclusive"], reason: str) -> None:
        super().__init__(reason)
        self.word: Word = word


@dataclass(frozen=True)
class Region:
    """Where a claim says that a number lies: between two bounds, or (`outside`) beyond one or the other."""

    lower: float = -math.inf
    upper: float = math.inf
    outside: bool = False

    def __str__(self) -> str:
        if self.outside:
            return f"outside {self.lower:.3g} … {self.upper:.3g}"
        if math.isinf(self.upper):
            return f"> {self.lower:.3g}"
        return f"< {self.upper:.3g}" if math.isinf(self.lower) else f"{self.lower:.3g} … {self.upper:.3g}"

    def p_holds(self, estimate: Estimate) -> float:
        """The p value of "the truth is not in the region"."""
        return self._p_beyond(estimate) if self.outside else self._p_between(estimate)

    def p_fails(self, estimate: Estimate) -> float:
        """The p value of "the truth is in the region": an equivalence test where the region is `outside`."""
        return self._p_between(estimate) if self.outside else self._p_beyond(estimate)

    def _p_between(self, estimate: Estimate) -> float:
        bounds = [estimate.p_above(self.lower)] if math.isfinite(self.lower) else []
        bounds += [estimate.p_below(self.upper)] if math.isfinite(self.upper) else []
        return max(bounds)

    def _p_beyond(self, estimate: Estimate) -> float:
        bounds = [estimate.p_below(self.lower)] if math.isfinite(self.lower) else []
        bounds += [estimate.p_above(self.upper)] if math.isfinite(self.upper) else []
        return min(bounds)


@dataclass(frozen=True)
class Comparison:
    """One thing that a claim says: this number lies in that region.

    Attributes:
        label: what the number is and in which cell.
        estimate: the number.
        region: where the claim says it lies.
        trained: whether it rests on trained networks, whose replicates are few.
    """

    label: str
    estimate: Estimate
    region: Region
    trained: bool = False


@dataclass(frozen=True)
class Decision:
    """A verdict with the comparison that it turns on: the one furthest from holding.

    Attributes:
        word: the verdict.
        reason: one sentence.
        comparison: that comparison; None if none could be made.
        value: its value.
        low: low end of its interval, at Holm's level where the value is outside the region.
        high: high end.
    """

    word: Word
    reason: str
    comparison: Comparison | None
    value: float
    low: float
    high: float


def decide(
    comparisons: Sequence[Comparison], *, confidence: float, least_replicates: int, remark: str = ""
) -> Decision:
    """The verdict on a claim.

    Args:
        comparisons: everything that the claim says to hold.
        confidence: coverage of the two-sided intervals; each p value is compared with (1 − confidence)/2.
        least_replicates: below so many replicates, comparisons of trained networks leave the claim open.
        remark: what else the reader should know; it ends the reason.

    Returns:
        The decision.

    Raises:
        ValueError: if there are no comparisons.
    """
    if not comparisons:
        raise ValueError("a claim without comparisons cannot be judged")
    level = 0.5 * (1.0 - confidence)
    known = [comparison for comparison in comparisons if comparison.estimate.known]
    if not known:
        n = max(comparison.estimate.n for comparison in comparisons)
        reason = f"no interval: {comparisons[0].label} rests on {n} usable replicate(s), at least 2 are needed"
        return Decision("inconclusive", _sentence(reason, remark), None, math.nan, math.nan, math.nan)
    holds = np.array([comparison.region.p_holds(comparison.estimate) for comparison in known])
    fails = np.array([comparison.region.p_fails(comparison.estimate) for comparison in known])
    failing = holm(fails, level, n_tests=len(comparisons))
    worst = max(range(len(known)), key=lambda i: (holds[i], -fails[i]))
    outside = fails[worst] < 0.5
    coverage = 1.0 - 2.0 * level / len(comparisons) if outside else confidence
    few = [c for c in comparisons if c.trained and c.estimate.n < least_replicates]
    shown = _shown(known[worst], coverage)
    count = f"{int((holds <= level).sum())} of {len(comparisons)} comparisons hold"
    if few:
        fewest = min(few, key=lambda c: c.estimate.n)
        word: Word = "inconclusive"
        reason = f"{fewest.label} rests on {fewest.estimate.n} replicate(s), {least_replicates} are needed; {shown}"
    elif failing.any():
        word, reason = "not supported", f"{count}, {int(failing.sum())} fail; furthest off: {shown}"
    elif len(known) == len(comparisons) and (holds <= level).all():
        word, reason = "supported", f"{count}; the closest to its threshold: {shown}"
    else:
        missing = [c.label for c in comparisons if not c.estimate.known]
        word, reason = "inconclusive", f"{count}; open: {shown}" + (f"; no value: {missing[0]}" if missing else "")
    return Decision(word, _sentence(reason, remark), known[worst], *known[worst].estimate.interval(coverage))


def holm(p_values: Sequence[float] | np.ndarray, level: float, *, n_tests: int | None = None) -> np.ndarray:
    """Which hypotheses Holm's step-down method rejects at a family-wise level (Holm, Scand. J. Stat. 6, 1979).

    The k-th smallest p value is rejected while all smaller ones are and p_(k) ≤ level/(m − k + 1).

    Args:
        p_values: one a hypothesis.
        level: family-wise level.
        n_tests: m if more hypotheses belong to the family than have a p value.

    Returns:
        Booleans in the order of `p_values`.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = (n_tests or len(p)) - np.arange(len(p))
    passed = np.logical_and.accumulate(p[order] <= level / steps)
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order] = passed
    return rejected


def _shown(comparison: Comparison, coverage: float) -> str:
    value, low, high = comparison.estimate.interval(coverage)
    return f"{comparison.label} is {value:.3g} [{low:.3g}, {high:.3g}], claimed {comparison.region}"


def _sentence(reason: str, remark: str) -> str:
    return reason + (f"; {remark}" if remark else "")
