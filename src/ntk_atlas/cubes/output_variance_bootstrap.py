r"""Variance of outputs over networks, ratios of such variances, and their bootstrap intervals.

A function f_i of D numbers (samples times outputs) is seen in N networks. Its variance averaged over the D numbers is
a mean over networks, T = Σ_i ‖f_i − f̄‖² / ((N − 1) D), so networks are what is resampled: the D numbers of one network
share its f₀ and say nothing about the spread of an average over them. ‖f_i − f̄‖² is skewed (χ²₁ at worst), so a
percentile interval of T is too short; the interval is a bootstrap-t of log T, with the delta-method standard error in
every resample (Efron & Tibshirani 1993, section 12.5).
"""

from dataclasses import dataclass

import numpy as np

MIN_NETWORKS = 8
"""With fewer networks there is no interval."""


@dataclass(frozen=True)
class VarianceRatio:
    """Ratio of two variances, each averaged over D numbers, with its interval; NaN where there is none."""

    ratio: float
    low: float
    high: float


def resampling_weights(n_networks: int, n_bootstrap: int, stream: np.random.Generator) -> np.ndarray:
    """How often each network is in each resample, `(B, N)`; the same resamples serve all ratios of a cell."""
    return stream.multinomial(n_networks, np.full(n_networks, 1.0 / n_networks), size=n_bootstrap).astype(np.float64)


def variance_ratio(
    above: np.ndarray, below: np.ndarray | float, weights: np.ndarray, *, confidence: float
) -> VarianceRatio:
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
    n = len(above)
    spreads = [_Spread(above)] if np.isscalar(below) else [_Spread(above), _Spread(below)]
    # Of two variances over the same networks, n/(n − 1) and the share of the known one cancel or are 1.
    factor = n / (max(n - 1, 1) * float(below)) if np.isscalar(below) and below > 0.0 else 1.0
    known = not np.isscalar(below) or below > 0.0
    logs, error = _log_ratio(spreads, np.ones((1, n)))
    if n < 2 or not known or not np.isfinite(logs[0]):
        return VarianceRatio(np.nan, np.nan, np.nan)
    ratio = float(np.exp(logs[0])) * factor
    if n < MIN_NETWORKS:
        return VarianceRatio(ratio, np.nan, np.nan)
    resampled, errors = _log_ratio(spreads, weights)
    difference = resampled - logs[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        studentized = np.where(difference == 0.0, 0.0, difference / errors)
    studentized = studentized[np.isfinite(studentized)]  # not those of a resample of copies of one network
    tail = 0.5 * (1.0 - confidence)
    lower, upper = np.quantile(studentized, (tail, 1.0 - tail))
    with np.errstate(over="ignore"):  # an infinite end is a true answer where few networks make the variance
        low, high = ratio * np.exp(-np.array([upper, lower]) * error[0])
    return VarianceRatio(ratio, float(low), float(high))


class _Spread:
    """Squared distances of networks from the mean of any resample, from one Gram matrix."""

    def __init__(self, outputs: np.ndarray):
        centred = outputs - outputs.mean(axis=0)
        self.gram = centred @ centred.T / outputs.shape[1]

    def distances(self, weights: np.ndarray) -> np.ndarray:
        """‖f_i − f̄*‖²/D with the mean of each resample, `(B, N)`."""
        mean_products = weights @ self.gram / self.gram.shape[0]
        norms = (mean_products * weights).sum(axis=1, keepdims=True) / self.gram.shape[0]
        return np.maximum(np.diag(self.gram) - 2.0 * mean_products + norms, 0.0)


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
