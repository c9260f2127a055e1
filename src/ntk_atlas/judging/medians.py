"""The median network of a cell, with the exact interval of order statistics.

Drifts are skewed: a network that jumps moves tenfold, and with few replicates Student's interval of their logarithms
then lies wholly below the mean in a third of all studies. The median needs no law: of n independent replicates the
number below it is binomial, so that

    P(x₍ₖ₎ > median) = P(Bin(n, ½) ≤ k − 1),

and the interval between the k-th smallest and the k-th largest has its coverage whatever the distribution (David &
Nagaraja, Order Statistics, 2003, section 7.1). Six replicates are the fewest with an interval at 95 %, from the
smallest to the largest; nine leave one out at each end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.special import bdtr

from ntk_atlas.judging.estimates import Estimate
from ntk_atlas.judging.networks import cell_estimate

_SMALLEST = 1e-8
"""Logarithms are taken of no less."""


@dataclass(frozen=True)
class MedianEstimate(Estimate):
    """A median of replicates; `value` is that of the sample, errors are the standard errors of the mean.

    Attributes:
        sample: the replicates, on the scale of `value`. If `n` is another number (how many replicates would decide?)
            they stand for n replicates at the same quantiles. What draws share widens them by √(1 + common/error²).
    """

    sample: tuple[float, ...] = ()

    def interval(self, confidence: float, *, new_data: bool = True) -> tuple[float, float, float]:
        """See `Estimate.interval`; an end is infinite where there are too few replicates for one."""
        if not self.known:
            return math.nan, math.nan, math.nan
        ends = (self.value, *self._ends(confidence, new_data=new_data))
        return tuple(_exp(end) for end in ends) if self.logarithmic else ends

    def p_above(self, bound: float) -> float:
        """One-sided p value of "the median is at or below `bound`": P(Bin(n, ½) ≤ replicates at or below it)."""
        return self._sign_test(self._values() <= self._scaled(bound))

    def p_below(self, bound: float) -> float:
        """One-sided p value of "the median is at or above `bound`"."""
        return self._sign_test(self._values() >= self._scaled(bound))

    def clearance(self, bound: float, confidence: float, *, above: bool) -> float:
        """See `Estimate.clearance`; −1 where there are too few replicates for an end."""
        if not self.known:
            return math.nan
        end = self._ends(confidence)[0 if above else 1]
        if math.isinf(end):
            return -1.0
        distance, half = (end - self._scaled(bound)) * (1.0 if above else -1.0), abs(end - self.value)
        return distance / half if half > 0.0 and math.isfinite(distance) else math.copysign(math.inf, distance)

    def _ends(self, confidence: float, *, new_data: bool = True) -> tuple[float, float]:
        values = np.sort(self._values(new_data=new_data))
        left_out = int(np.count_nonzero(bdtr(np.arange(len(values)), len(values), 0.5) <= 0.5 * (1.0 - confidence)))
        if not left_out:
            return -math.inf, math.inf
        return float(values[left_out - 1]), float(values[-left_out])

    def _values(self, *, new_data: bool = True) -> np.ndarray:
        values = np.asarray(self.sample)
        if self.n != len(values):
            values = np.quantile(values, (np.arange(self.n) + 0.5) / self.n, method="hazen")
        error = 0.5 * (self.error_low + self.error_high)
        if not new_data or self.common == 0.0 or error == 0.0:
            return values
        return self.value + (values - self.value) * math.sqrt(1.0 + self.common / error**2)

    def _sign_test(self, against: np.ndarray) -> float:
        return float(bdtr(np.count_nonzero(against), self.n, 0.5)) if self.known else math.nan


def median_of(
    values: Sequence[float] | np.ndarray, *, logarithmic: bool = False, common: float = 0.0
) -> MedianEstimate:
    """The median of independent replicates.

    Args:
        values: one number per replicate; what is not finite is left out.
        logarithmic: bounds and interval ends are compared as logarithms; for positive measures.
        common: variance that all replicates share.

    Returns:
        The estimate; without an error from fewer than two values.
    """
    usable = np.asarray(values, dtype=np.float64).ravel()
    usable = usable[np.isfinite(usable)]
    usable = np.log(np.maximum(usable, _SMALLEST)) if logarithmic else usable
    n = len(usable)
    value = float(np.median(usable)) if n else math.nan
    error = float(usable.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return MedianEstimate(value, error, error, n, math.inf, logarithmic, common, tuple(usable.tolist()))


def cell_median(values: xr.DataArray, *, logarithmic: bool = False) -> MedianEstimate:
    """The median over the replicates of a cell (draw, seed): a draw's is that of its seeds.

    With one draw, seeds are the replicates, and the interval is over networks only.
    """
    array = values.transpose("draw", "seed").values.astype(np.float64)
    if len(array) == 1:
        return median_of(array[0], logarithmic=logarithmic)
    finite = np.isfinite(array).any(1)
    medians = np.full(len(array), np.nan)
    medians[finite] = np.nanmedian(array[finite], axis=1)
    common = cell_estimate(values, logarithmic=logarithmic).common
    return median_of(medians, logarithmic=logarithmic, common=common)


def ratio_median(values: xr.DataArray, reference: xr.DataArray) -> MedianEstimate:
    """Median of values/reference, paired: the same draw and seed start from the same random numbers."""
    return cell_median(values.clip(min=_SMALLEST) / reference.clip(min=_SMALLEST), logarithmic=True)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700.0 else math.inf
