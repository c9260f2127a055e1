"""How many replicates, or how large a data set, would decide what is open: the interval that they would have.

With D replicates instead of n the errors of an estimate are √(n/D) times as large, and Student's quantile has more
degrees of freedom. What draws have in common does not shrink with D: only a larger data set has draws that share less.
With x times the data, and x times the draws, both variances are 1/x of what they are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from ntk_atlas.statistics.estimates import Estimate

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
    low, high = 1.0, MOST_DATA
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if clears(_with_data(estimate, middle)) else (middle, high)
    return Needed(math.inf, high, value, most)


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
