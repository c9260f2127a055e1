"""Intervals: Student's over draws, bootstrap-t over networks.

A draw has its own data permutation and its own initial weights, and its seeds are nested in it. The mean over a
draw's seeds is one independent number a draw, whatever the ratio of seed to draw variance and whatever the
correlation between sizes within the draw; under normal noise the t interval of those numbers is exact. A
percentile bootstrap of so few numbers is not used: with four of them it covers about 80 % instead of 95 %.

Bootstrap-t intervals are of variances of outputs over networks, and of ratios of two variances. Resamples say how far
estimates lie from the truth in units of their own standard errors (Efron & Tibshirani 1993, section 12.5).

A function f_i of D numbers (samples times outputs) is seen in N networks. Its variance averaged over the D numbers is
a mean over networks, T = Σ_i ‖f_i − f̄‖² / ((N − 1) D), so networks are what is resampled: the D numbers of one network
share its f₀ and say nothing about the spread of an average over them. ‖f_i − f̄‖² is skewed (χ²₁ at worst), so a
percentile interval of T is too short; the interval is a bootstrap-t of log T, with the delta-method standard error in
every resample.
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


MIN_NETWORKS = 8
"""With fewer networks a ratio of variances has no interval."""


def bootstrap_t(
    values: np.ndarray, errors: np.ndarray, confidence: float, *, without_error: float
) -> tuple[np.ndarray, np.ndarray]:
    """How far the ends of an interval lie from the estimate: −t_{1−α/2} and −t_{α/2} standard errors.

    Args:
        values: the estimate of the sample, then that of each resample, `(B + 1, ...)`.
        errors: their standard errors.
        confidence: coverage 1 − α that the interval promises.
        without_error: the t of a resample whose error is 0 or not known; NaN leaves such resamples out, and values are
            then of one dimension.

    Returns:
        Both distances from the value, with their signs.
    """
    difference = values[1:] - values[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(difference == 0.0, 0.0, difference / errors[1:])
    t = t[np.isfinite(t)] if np.isnan(without_error) else np.where(np.isfinite(t), t, without_error)
    lower, upper = np.quantile(t, (0.5 - confidence / 2, 0.5 + confidence / 2), axis=0)
    return -upper * errors[0], -lower * errors[0]


def resampling_weights(n_networks: int, n_bootstrap: int, stream: np.random.Generator) -> np.ndarray:
    """How often each network is in each resample, `(B, N)`; the same resamples serve all ratios of a cell."""
    return stream.multinomial(n_networks, np.full(n_networks, 1.0 / n_networks), size=n_bootstrap).astype(np.float64)


def variance_ratio(above: np.ndarray, below: np.ndarray | float, weights: np.ndarray, *, confidence: float) -> Interval:
    """Ratio of the variance over networks of `above` to that of `below`, with a bootstrap-t interval of its log.

    Numerator and denominator are resampled together, so what they share cancels.

    Args:
        above: outputs of N networks, `(N, D)`.
        below: outputs of the same networks, `(N, D)`, or a known variance averaged over the D numbers.
        weights: `resampling_weights` of N networks.
        confidence: coverage that the interval promises.

    Returns:
        The ratio. Both ends are NaN for fewer than `MIN_NETWORKS` networks, or where a variance is not positive.
    """
    n, spreads, factor, known = len(above), [_Spread(above)], 1.0, True
    if isinstance(below, np.ndarray):
        spreads.append(_Spread(below))  # over the same networks: n/(n − 1) cancels
    elif known := below > 0.0:
        factor = n / (max(n - 1, 1) * below)
    logs, error = _log_ratio(spreads, np.ones((1, n)))
    nothing, n_values = np.array(np.nan), np.array(n)
    if n < 2 or not known or not np.isfinite(logs[0]):
        return Interval(nothing, nothing, nothing, n_values)
    ratio = np.exp(logs[0]) * factor
    if n < MIN_NETWORKS:
        return Interval(ratio, nothing, nothing, n_values)
    # Resamples of copies of one network have no error.
    of_resamples = _log_ratio(spreads, weights)
    values, errors = (np.concatenate(parts) for parts in zip((logs, error), of_resamples, strict=True))
    ends = bootstrap_t(values, errors, confidence, without_error=np.nan)
    with np.errstate(over="ignore"):  # an infinite end is a true answer where few networks make the variance
        low, high = ratio * np.exp(ends)
    return Interval(ratio, low, high, n_values)


class _Spread:
    """Squared distances of networks from the mean of any resample, from one Gram matrix."""

    def __init__(self, outputs: np.ndarray):
        centred = outputs - outputs.mean(axis=0)
        self.gram = centred @ centred.T / outputs.shape[1]

    def distances(self, weights: np.ndarray) -> np.ndarray:
        """‖f_i − f̄*‖²/D with the mean of each resample, `(B, N)`."""
        mean_products = weights @ self.gram / self.gram.shape[0]
        norms = (mean_products * weights).sum(axis=1, keepdims=True) / self.gram.shape[0]
        distances: np.ndarray = np.maximum(np.diag(self.gram) - 2.0 * mean_products + norms, 0.0)
        return distances


def _log_ratio(spreads: list[_Spread], weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log of the variance (over that of the second) in each resample, and its standard error, `(B,)` each."""
    n = weights.shape[1]
    log_ratio, influence = np.zeros(len(weights)), np.zeros(weights.shape)
    for sign, spread in zip((1.0, -1.0), spreads, strict=False):
        distances = spread.distances(weights)
        mean = (weights * distances).sum(axis=1, keepdims=True) / n
        with np.errstate(divide="ignore", invalid="ignore"):
            log_ratio += sign * np.log(mean[:, 0])
            influence += sign * (distances / mean - 1.0)
    return log_ratio, np.sqrt((weights * influence**2).sum(axis=1) / (n * max(n - 1, 1)))
