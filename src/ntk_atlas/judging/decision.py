"""From comparisons with thresholds to a verdict: supported, not supported, or inconclusive, and what would decide it.

A claim is a list of comparisons, all of which it says to hold. It is *supported* if the whole interval of each lies
in its region: an intersection–union test (Berger 1982), which needs no correction for their number. It is *not
supported* if at least one interval lies wholly outside; there the number of comparisons counts, so those p values are
corrected by Holm's method. Whatever is between is *inconclusive*. A comparison may be needed for support and yet not
decide against the claim (`Comparison.decides`): a rate that an extrapolation rests on.

With D replicates instead of n the errors of an estimate are √(n/D) times as large, and Student's quantile has more
degrees of freedom. What draws have in common does not shrink with D: only a larger data set has draws that share less.
With x times the data, and x times the draws, both variances are 1/x of what they are.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ntk_atlas.statistics.estimates import Estimate
from ntk_atlas.study.claim_needs import too_few_text

MOST_REPLICATES, MOST_DATA = 1000, 100.0
"""Beyond these a study is not of the kind that is judged here."""


@dataclass(frozen=True)
class Needed:
    """What would decide a comparison, if its value stood.

    Attributes:
        replicates: the fewest that would; infinite if more than `MOST_REPLICATES`, or than any number, would be needed.
        data: how many times as large a data set would; 1 where replicates will do, infinite beyond `MOST_DATA`.
        value: the value that would have to stand, in the quantity's own units.
        tried: the largest number of replicates that was tried.
    """

    replicates: float
    data: float
    value: float
    tried: int

    @property
    def effort(self) -> tuple[float, float]:
        """What is easier has less."""
        return self.data, self.replicates

    def text(self, replicates: str) -> str:
        """The same as a clause; `replicates` is what they are."""
        if math.isfinite(self.replicates):
            return f"{self.replicates:.0f} {replicates} would decide it if the value stayed {self.value:.3g}"
        if math.isfinite(self.data):
            larger = f"a data set {self.data:.2g} times as large, with as many times the {replicates}, would"
            return f"no number of {replicates} would decide it, {larger} if the value stayed {self.value:.3g}"
        return f"{self.value:.3g} is so near the threshold that {self.tried:,} {replicates} would not decide it"


def needed(estimate: Estimate, clears: Callable[[Estimate], bool]) -> Needed:
    """The fewest replicates with which an estimate would clear its threshold; else how much more data.

    Args:
        estimate: the present estimate, which does not.
        clears: whether an estimate does.

    Returns:
        What is needed.
    """
    value, n = estimate.interval(0.5)[0], max(estimate.n, 2)
    most = max(MOST_REPLICATES, 10 * n)
    if clears(with_replicates(estimate, most)):
        low, high = n, most
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if clears(with_replicates(estimate, middle)) else (middle, high)
        return Needed(float(high), 1.0, value, most)
    if estimate.common == 0.0 or not clears(_with_data(estimate, MOST_DATA)):
        return Needed(math.inf, math.inf, value, most)
    smaller, larger = 1.0, MOST_DATA
    while larger / smaller > 1.01:
        between = math.sqrt(smaller * larger)
        smaller, larger = (smaller, between) if clears(_with_data(estimate, between)) else (between, larger)
    return Needed(math.inf, larger, value, most)


def with_replicates(estimate: Estimate, n: float) -> Estimate:
    """The estimate that n replicates would give if value and spread stood."""
    share = (n - 1.0) / max(estimate.n - 1.0, 1.0)
    factor = math.sqrt(estimate.n / n)
    return replace(
        estimate,
        error_low=factor * estimate.error_low,
        error_high=factor * estimate.error_high,
        n=round(n),
        freedom=share * estimate.freedom,
    )


def _with_data(estimate: Estimate, factor: float) -> Estimate:
    larger = with_replicates(estimate, factor * estimate.n)
    return replace(larger, common=estimate.common / factor)


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

    @property
    def complement(self) -> "Region":
        """Everywhere else."""
        if self.outside or (math.isfinite(self.lower) and math.isfinite(self.upper)):
            return replace(self, outside=not self.outside)
        return Region(self.upper, math.inf) if math.isinf(self.lower) else Region(-math.inf, self.lower)

    def p_holds(self, estimate: Estimate) -> float:
        """The p value of "the truth is not in the region"."""
        return self._p_beyond(estimate) if self.outside else self._p_between(estimate)

    def p_fails(self, estimate: Estimate) -> float:
        """The p value of "the truth is in the region": an equivalence test where the region is `outside`."""
        return self._p_between(estimate) if self.outside else self._p_beyond(estimate)

    def clearance(self, estimate: Estimate, confidence: float) -> float:
        """How far within the region the whole interval lies, in half-widths: at 0 `p_holds` is (1 − confidence)/2."""
        sides = (
            [estimate.clearance(self.lower, confidence, above=not self.outside)] if math.isfinite(self.lower) else []
        )
        if math.isfinite(self.upper):
            sides.append(estimate.clearance(self.upper, confidence, above=self.outside))
        return max(sides) if self.outside else min(sides)

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
        decides: whether the claim falls with it; one that does not decide can keep the verdict open, no more.
        open: why it is left out whatever its interval says, in words; empty if it is judged.
        replicates: what its replicates are, in words; empty for those of the experiment's networks where it is
            `trained`, and for networks where it is not.
    """

    label: str
    estimate: Estimate
    region: Region
    trained: bool = False
    decides: bool = True
    open: str = ""
    replicates: str = ""


@dataclass(frozen=True)
class Decision:
    """A verdict with the comparison that it turns on: the one furthest from holding.

    Attributes:
        word: the verdict.
        reason: one sentence.
        comparison: that comparison; None if none could be made.
        value: its value.
        low: low end of its interval for new data, at Holm's level where the value is outside the region.
        high: high end.
        low_this_data: low end of its interval for this data set, at the same level.
        high_this_data: high end.
        nearness: how far from another word, in half-widths: see `nearness_of`.
    """

    word: Word
    reason: str
    comparison: Comparison | None
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    low_this_data: float = math.nan
    high_this_data: float = math.nan
    nearness: float = math.nan


def decide(
    comparisons: Sequence[Comparison],
    *,
    confidence: float,
    least_replicates: int,
    remark: str = "",
    replicates: str = "draws",
) -> Decision:
    """The verdict on a claim.

    Args:
        comparisons: everything that the claim says to hold.
        confidence: coverage of the two-sided intervals; each p value is compared with (1 − confidence)/2.
        least_replicates: comparisons of trained networks with fewer replicates are left out: they neither support the
            claim nor speak against it.
        remark: what else the reader should know; it ends the reason.
        replicates: what replicates of trained networks are, in words (see `Comparison.replicates`).

    Returns:
        The decision. Where it is open, the reason says what would decide it.

    Raises:
        ValueError: if there are no comparisons.
    """
    if not comparisons:
        raise ValueError("a claim without comparisons cannot be judged")
    level = 0.5 * (1.0 - confidence)
    enough = [c for c in comparisons if c.estimate.known and not (c.trained and c.estimate.n < least_replicates)]
    usable = [c for c in enough if not c.open]
    left_out = [_left_out(c, least_replicates) for c in comparisons if c not in usable]
    shown = usable or [c for c in comparisons if c.estimate.known]
    if not shown:
        return Decision("inconclusive", _sentence(left_out[0], remark), None)
    holds = np.array([c.region.p_holds(c.estimate) for c in shown])
    deciding = np.array([c.decides for c in shown])
    fails = np.where(deciding, [c.region.p_fails(c.estimate) for c in shown], 1.0)
    n_tests, failing = sum(c.decides for c in comparisons), np.zeros(len(shown), dtype=bool)
    if usable:
        failing[deciding] = holm(fails[deciding], level, n_tests=n_tests)
    still_open = np.flatnonzero(holds > level)
    every = np.arange(len(shown))
    candidates = next(p for p in (np.flatnonzero(failing), still_open, np.flatnonzero(deciding), every) if p.size)
    # Of those that fail, the surest: Holm's first step rejects it, so that its interval shown lies outside.
    worst = max(candidates, key=lambda i: (-fails[i], holds[i]) if failing.any() else (holds[i], -fails[i]))
    corrected = 1.0 - 2.0 * level / max(n_tests, 1)
    coverage = corrected if fails[worst] < 0.5 else confidence
    text, n_holding = _shown(shown[worst], coverage), int((holds <= level).sum()) if usable else 0
    count = f"{n_holding} of {len(comparisons)} comparisons hold"
    word: Word = "inconclusive"
    if failing.any():
        word, reason = "not supported", f"{count}, {int(failing.sum())} fail; furthest off: {text}"
    elif n_holding == len(comparisons):
        word, reason = "supported", f"{count}; the closest to its threshold: {text}"
    elif not usable:
        reason = f"{count}; {left_out[0]}; measured, not judged: {text}"
    elif n_holding == len(usable):
        reason = f"{count}; {left_out[0]}; of the others the closest to its threshold: {text}"
    else:
        cure = _cure(usable, bool(left_out), confidence, corrected, replicates)
        reason = "; ".join(part for part in (count, f"open: {text}", *left_out[:1], cure) if part)
    estimate = shown[worst].estimate
    return Decision(
        word,
        _sentence(reason, remark),
        shown[worst],
        *estimate.interval(coverage),
        *estimate.interval(coverage, new_data=False)[1:],
        nearness_of(word, usable, bool(left_out), confidence, corrected),
    )


def nearness_of(
    word: Word, comparisons: Sequence[Comparison], incomplete: bool, confidence: float, corrected: float
) -> float:
    """How far a verdict is from another word: distance of the deciding interval's end from its threshold.

    In half-widths of that interval. A claim is supported where the smallest clearance H of an interval within its
    region is not below 0, and not supported where the largest clearance F of an interval outside of its region is not
    (at the level of Holm's first step). So the distance is H of *supported*, F of *not supported*, and of
    *inconclusive* the smaller of −H and −F.

    Args:
        word: the verdict.
        comparisons: those that have enough replicates.
        incomplete: whether the claim has others, without which it cannot be supported.
        confidence: coverage of the intervals that support.
        corrected: coverage of the intervals that reject.

    Returns:
        The distance; NaN where no comparison has enough replicates.
    """
    if not comparisons:
        return math.nan
    within = -math.inf if incomplete else min(c.region.clearance(c.estimate, confidence) for c in comparisons)
    beyond = [c.region.complement.clearance(c.estimate, corrected) for c in comparisons if c.decides]
    outside = max(beyond, default=-math.inf)
    distances = {"supported": within, "not supported": outside}
    return distances.get(word, min(-within, -outside))


def _cure(usable: Sequence[Comparison], incomplete: bool, confidence: float, corrected: float, replicates: str) -> str:
    """What would decide an open verdict if the values stood: the fewest more replicates, or data, that reach a word.

    Values outside of their regions can reject the claim, the easiest to show of them; else all must come to hold.
    """
    off = [c for c in usable if c.region.p_fails(c.estimate) < 0.5]
    deciding = [c for c in off if c.decides]
    waiting = [c for c in usable if c.region.clearance(c.estimate, confidence) < 0.0]
    if not deciding and (off or incomplete or not waiting):
        return ""  # more of the same replicates would leave it open
    names = [c.replicates or (replicates if c.trained else "networks") for c in deciding or waiting]
    if deciding:
        found = [_needed(c.estimate, c.region.complement, corrected) for c in deciding]
        easiest = min(range(len(found)), key=lambda i: found[i].effort)
        return found[easiest].text(names[easiest])
    hardest: dict[str, Needed] = {}
    for name, comparison in zip(names, waiting, strict=True):
        asked = _needed(comparison.estimate, comparison.region, confidence)
        hardest[name] = max(hardest.get(name, asked), asked, key=lambda n: n.effort)
    return ", and ".join(found.text(name) for name, found in hardest.items())


def _needed(estimate: Estimate, region: Region, confidence: float) -> Needed:
    return needed(estimate, lambda other: region.clearance(other, confidence) >= 0.0)


def decide_any(
    comparisons: Sequence[Comparison],
    *,
    confidence: float,
    least_replicates: int,
    remark: str = "",
    replicates: str = "draws",
) -> Decision:
    """The verdict on a claim that holds if *at least one* of its comparisons does.

    It is that on its opposite, "all of the numbers lie outside of their regions", turned around: the claim is not
    supported if every interval lies wholly outside of its region (inside the margin: equivalence), and supported if at
    least one lies in it after Holm's correction.

    Args:
        comparisons: what the claim says, of which one must hold.
        confidence: see `decide`.
        least_replicates: see `decide`.
        remark: see `decide`.
        replicates: see `decide`.

    Returns:
        The decision.
    """
    opposite = [replace(c, region=c.region.complement) for c in comparisons]
    found = decide(
        opposite, confidence=confidence, least_replicates=least_replicates, remark=remark, replicates=replicates
    )
    turned: dict[Word, Word] = {"supported": "not supported", "not supported": "supported"}
    reason = found.reason.replace("comparisons hold", "comparisons lie within the margin")
    reason = reason.replace(", claimed ", ", within the margin if ").replace(" fail;", " beyond it;", 1)
    comparison = found.comparison
    if comparison is not None:
        comparison = replace(comparison, region=comparison.region.complement)
    return replace(found, word=turned.get(found.word, found.word), reason=reason, comparison=comparison)


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
    ends = f"[{low:.3g}, {high:.3g}]"
    if comparison.estimate.common > 0.0:
        _, low, high = comparison.estimate.interval(coverage, new_data=False)
        ends += f" for new data, [{low:.3g}, {high:.3g}] for this data set"
    return f"{comparison.label} is {value:.3g} {ends}, claimed {comparison.region}"


def _left_out(comparison: Comparison, least_replicates: int) -> str:
    if comparison.open:
        return f"{comparison.label}: {comparison.open}"
    fewest = least_replicates if comparison.trained else 2
    return f"{comparison.label} {too_few_text(comparison.estimate.n, fewest)}"


def _sentence(reason: str, remark: str) -> str:
    return reason + (f"; {remark}" if remark else "")


@dataclass(frozen=True)
class Measurement:
    """Everything that a claim says to hold, or of which it says that something does, in the cells of one experiment.

    Attributes:
        comparisons: estimates with their regions.
        variables: variables of the files that they were computed from.
        remark: what else the reader should know.
        any_of: whether the claim holds if one of the comparisons does; else all of them must.
    """

    comparisons: Sequence[Comparison]
    variables: Sequence[str]
    remark: str = ""
    any_of: bool = False


def remarks(*parts: str) -> str:
    """The parts that say something, joined."""
    return "; ".join(part for part in parts if part)
