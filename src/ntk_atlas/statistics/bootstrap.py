r"""Bootstrap-t intervals; of variances of outputs over networks, and of ratios of two variances.

Resamples say how far estimates lie from the truth in units of their own standard errors (Efron & Tibshirani 1993,
section 12.5).

A function f_i of D numbers (samples times outputs) is seen in N networks. Its variance averaged over the D numbers is
a mean over networks, T = Σ_i ‖f_i − f̄‖² / ((N − 1) D), so networks are what is resampled: the D numbers of one network
share its f₀ and say nothing about the spread of an average over them. ‖f_i − f̄‖² is skewed (χ²₁ at worst), so a
percentile interval of T is too short; the interval is a bootstrap-t of log T, with the delta-method standard error in
every resample.
"""

import numpy as np

from ntk_atlas.statistics.student import Interval

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
