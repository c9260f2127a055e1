"""Student's t, and intervals over draws: the draw is the unit of replication, so each draw brings one number.

A draw has its own data permutation and its own initial weights, and its seeds are nested in it. The mean over a
draw's seeds is one independent number a draw, whatever the ratio of seed to draw variance and whatever the
correlation between sizes within the draw; under normal noise the t interval of those numbers is exact. A
percentile bootstrap of so few numbers is not used: with four of them it covers about 80 % instead of 95 %.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np


@dataclass(frozen=True, eq=False)
class Interval:
    """An estimate with its two-sided interval, arrays of one shape.

    Attributes:
        value: the estimate.
        low: lower end; NaN where there are too few replicates for an interval.
        high: upper end.
        n_values: replicates that each rests on.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_values: np.ndarray

    @property
    def reason(self) -> str:
        """Why there is no t interval over draws, in words; empty if there is one everywhere."""
        fewest = int(np.min(self.n_values, initial=2))
        return "" if fewest >= 2 else f"no interval: {fewest} usable draw(s), at least 2 are needed"

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Self:
        """The interval of an increasing function of the estimate."""
        return replace(self, value=function(self.value), low=function(self.low), high=function(self.high))


def finite_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Returns the mean of the finite values along `axis`, NaN where there are none."""
    finite = np.isfinite(values)
    count = finite.sum(axis)
    total = np.where(finite, values, 0.0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def t_quantile(probability: float, freedom: np.ndarray | float) -> np.ndarray:
    """Returns the quantile of Student's t; of the normal law where the degrees of freedom are infinite."""
    from scipy.special import ndtri, stdtrit

    normal = np.isinf(freedom)
    quantile: np.ndarray = np.where(normal, ndtri(probability), stdtrit(np.where(normal, 1.0, freedom), probability))
    return quantile


def t_critical(n_values: np.ndarray | int, confidence: float) -> np.ndarray:
    """Returns the two-sided t quantile with n_values − 1 degrees of freedom, NaN for fewer than two values."""
    freedom = np.asarray(n_values, dtype=np.float64) - 1.0
    return np.where(freedom >= 1.0, t_quantile(0.5 + 0.5 * confidence, np.maximum(freedom, 1.0)), np.nan)


def t_interval(values: np.ndarray, confidence: float, *, axis: int = -1) -> Interval:
    """Student interval of the mean, mean ± t_{D−1} s/√D, over the D finite values along `axis`.

    Args:
        values: one number a draw along `axis`; the other axes are separate problems.
        confidence: promised coverage, in (0, 1).
        axis: the draws.

    Returns:
        Mean and interval; values that are not finite are left out.

    Raises:
        ValueError: if `confidence` is not between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}; it is a coverage between 0 and 1, such as 0.95")
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    count = finite.sum(axis)
    mean = finite_mean(values, axis)
    deviation = np.where(finite, values - np.expand_dims(mean, axis), 0.0)
    variance = (deviation**2).sum(axis) / np.maximum(count - 1, 1)
    half = t_critical(count, confidence) * np.sqrt(variance / np.maximum(count, 1))
    return Interval(value=mean, low=mean - half, high=mean + half, n_values=count)
