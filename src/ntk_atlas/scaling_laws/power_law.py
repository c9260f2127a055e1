"""The pure law, err = A n^−α: a straight line of log error on log n, and what it says of a size held out."""

from dataclasses import dataclass

import numpy as np

from ntk_atlas.statistics.student import finite_mean, t_interval

MIN_SIZES = 3
"""Fewest sizes that a line with a residual needs."""


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """Least-squares lines of a stack of learning curves; every array has the leading shape of the curves."""

    exponent: np.ndarray
    """α; NaN where fewer than three sizes are usable."""
    log_amplitude: np.ndarray
    """log A, the natural logarithm of the law at n = 1."""
    n_used: np.ndarray
    """Sizes with a finite, positive error, which are the ones that were fitted."""

    def log_error(self, n_train: np.ndarray | float) -> np.ndarray:
        """Returns the laws' log errors at `n_train`; several sizes make a last axis."""
        log_n = np.log(n_train)
        amplitudes: np.ndarray = np.multiply.outer(self.log_amplitude, np.ones_like(log_n))
        decays: np.ndarray = np.multiply.outer(self.exponent, log_n)
        log_law: np.ndarray = amplitudes - decays
        return log_law


def usable(errors: np.ndarray) -> np.ndarray:
    """Returns which errors have a logarithm: finite and above zero."""
    finite: np.ndarray = np.isfinite(errors)
    return finite & (np.where(finite, errors, 0.0) > 0.0)


def log_errors(errors: np.ndarray) -> np.ndarray:
    """Returns log errors, NaN where an error is missing, not finite or not above zero."""
    mask = usable(errors)
    return np.where(mask, np.log(np.where(mask, errors, 1.0)), np.nan)


def on_common_sizes(errors_a: np.ndarray, errors_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two predictors' errors, NaN wherever one of the two has no finite positive error.

    Args:
        errors_a: `(n_draws, n_seeds, n_sizes)`.
        errors_b: the same draws and sizes; a predictor without seeds, `(n_draws, 1, n_sizes)`, stands beside each seed
            of the other.

    Returns:
        Both, as they were if nothing is missing from either; else broadcast to the same seeds.
    """
    there = usable(errors_a), usable(errors_b)
    if there[0].all() and there[1].all():
        return errors_a, errors_b
    both = there[0] & there[1]
    return np.where(both, errors_a, np.nan), np.where(both, errors_b, np.nan)


def fit_power_law(n_train: np.ndarray, errors: np.ndarray) -> PowerLaw:
    """Fits log err = log A − α log n by least squares, one fit a learning curve.

    Args:
        n_train: training sizes `(n_sizes,)`, positive.
        errors: `(..., n_sizes)`; errors that are not finite or not above zero are left out.

    Returns:
        Exponents and log amplitudes of shape `(...)`.
    """
    y = log_errors(np.asarray(errors, dtype=np.float64))
    mask = np.isfinite(y)
    y = np.where(mask, y, 0.0)
    x = np.where(mask, np.log(np.asarray(n_train, dtype=np.float64)), 0.0)
    n_used = mask.sum(-1)
    count = np.maximum(n_used, 1)
    x_mean, y_mean = x.sum(-1) / count, y.sum(-1) / count
    x_centred = np.where(mask, x - x_mean[..., None], 0.0)
    spread = (x_centred**2).sum(-1)
    enough = n_used >= MIN_SIZES
    slope = (x_centred * (y - y_mean[..., None])).sum(-1) / np.where(enough, spread, 1.0)
    return PowerLaw(
        exponent=np.where(enough, -slope, np.nan),
        log_amplitude=np.where(enough, y_mean - slope * x_mean, np.nan),
        n_used=n_used,
    )


@dataclass(frozen=True)
class HeldOutCheck:
    """Predicted and measured geometric mean error at the largest n; NaN where there is no answer."""

    predicted: float
    low: float
    high: float
    measured: float


def check_held_out(n_train: np.ndarray, errors: np.ndarray, *, confidence: float) -> HeldOutCheck:
    """Fits the pure law of every member below the largest n and compares its prediction there.

    The interval is predicted · exp(± t s/√D) with s the spread over draws of log measured − log predicted, so it
    allows for the noise of the fit, for that of the measurement, and for what the two share through the draw.
    Under the pure law and normal log noise the measured mean lies inside with probability `confidence`.

    Args:
        n_train: sizes in ascending order, `(n_sizes,)`.
        errors: `(n_draws, n_seeds, n_sizes)`.
        confidence: promised coverage.

    Returns:
        The check, over the members that have an error at the largest n and at three sizes below it.
    """
    law = fit_power_law(n_train[:-1], errors[..., :-1])
    predicted = law.log_error(n_train[-1])
    measured = log_errors(errors[..., -1])
    both = np.isfinite(predicted) & np.isfinite(measured)
    predicted = finite_mean(np.where(both, predicted, np.nan))
    measured = finite_mean(np.where(both, measured, np.nan))
    surprise = t_interval(measured - predicted, confidence)
    centre = finite_mean(predicted)
    half = surprise.high - surprise.value
    with np.errstate(over="ignore"):  # two wild draws may give an interval up to infinity
        predicted, low, high, measured = np.exp([centre, centre - half, centre + half, finite_mean(measured)])
    return HeldOutCheck(predicted=float(predicted), low=float(low), high=float(high), measured=float(measured))
