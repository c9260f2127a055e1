"""Held-out check of the pure law: fitted without the largest n, what does it say there?"""

from dataclasses import dataclass

import numpy as np

from ntk_atlas.scaling_laws.intervals import finite_mean, t_interval
from ntk_atlas.scaling_laws.power_law import fit_power_law, log_errors


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
    half = surprise.high - surprise.mean
    with np.errstate(over="ignore"):  # two wild draws may give an interval up to infinity
        predicted, low, high, measured = np.exp([centre, centre - half, centre + half, finite_mean(measured)])
    return HeldOutCheck(predicted=float(predicted), low=float(low), high=float(high), measured=float(measured))
