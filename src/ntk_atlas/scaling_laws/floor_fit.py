"""The law with irreducible error for one predictor: fit, intervals, and whether the data identify it at all."""

from dataclasses import dataclass

import numpy as np

from ntk_atlas.config.scaling import ScalingSettings
from ntk_atlas.scaling_laws.floor_intervals import exponent_interval, floor_interval, zero_floor_t
from ntk_atlas.scaling_laws.floor_law import MIN_SIZES, FloorLaw, aicc, centred_log_sizes, draw_exponents, fit_floor_law
from ntk_atlas.scaling_laws.intervals import finite_mean, t_critical
from ntk_atlas.scaling_laws.power_law import fit_power_law, log_errors

_NO_INTERVAL = (np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class FloorFit:
    """The law with irreducible error of the mean curve; intervals are over draws."""

    irreducible_error: float
    irreducible_interval: tuple[float, float]
    exponent: float
    exponent_interval: tuple[float, float]
    aicc_difference: float
    draw_exponents: np.ndarray
    reason: str
    """Why the law is not identifiable; empty if it is."""


def balanced_curves(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns one mean log-error curve a draw and which sizes it has, so that all draws have the same sizes.

    A size is kept if every draw that has any error has one there; within a draw, only seeds with all the kept
    sizes enter, because a mean over other seeds at every size would bend the curve.

    Args:
        errors: `(n_draws, n_seeds, n_sizes)`.

    Returns:
        Curves `(n_draws, n_kept)`, NaN for draws without a complete seed; the mask `(n_sizes,)` of kept sizes.
    """
    y = log_errors(errors)
    measured = np.isfinite(y).any(1)
    kept = measured[measured.any(-1)].all(0) & measured.any()
    y = y[..., kept]
    complete = np.isfinite(y).all(-1, keepdims=True)
    return finite_mean(np.where(complete, y, np.nan), axis=1), kept


def fit_with_floor(n_train: np.ndarray, errors: np.ndarray, *, settings: ScalingSettings) -> FloorFit:
    """Fits err = E + A n^−α to the mean log-error curve over draws, with intervals over draws.

    It counts as identifiable if there are five sizes, the search converged to E > 0 and to an exponent within the
    bounds, the draws exclude E = 0 and bound E and the exponent, the latter within a factor of
    `settings.floor_width_max`, and the measured errors do not fall below E's interval. The intervals are given
    even where it does not: their coverage holds over all studies, and not over those only that were selected
    for a significant E.

    Args:
        n_train: sizes in ascending order, `(n_sizes,)`.
        errors: `(n_draws, n_seeds, n_sizes)`.
        settings: confidence and bounds.

    Returns:
        The fit; numbers that do not exist are NaN and `reason` says why.
    """
    curves, kept = balanced_curves(errors)
    whole = np.isfinite(curves).all(-1)
    if kept.sum() < MIN_SIZES or not whole.any():
        return _nothing(len(curves), f"{int(kept.sum())} sizes that all draws have, at least {MIN_SIZES} needed")
    sizes, x = n_train[kept], centred_log_sizes(n_train[kept])
    mean = curves[whole].mean(0)
    if float(np.ptp(mean)) < 1e-12:
        return _nothing(len(curves), "the error does not change with n, so E and A cannot be told apart")
    if not fit_power_law(sizes, np.exp(mean)).exponent > 0.0:
        return _nothing(len(curves), "the error does not fall with n")
    law = fit_floor_law(sizes, mean)
    estimate, floor = float(law.exponent), float(law.irreducible_error)
    interval, irreducible = _NO_INTERVAL, _NO_INTERVAL
    if whole.sum() >= 2 and law.converged and estimate <= settings.floor_exponent_max:
        confidence = settings.confidence
        bends = bool(zero_floor_t(x, curves[whole]) > t_critical(int(whole.sum()), confidence))
        interval = exponent_interval(
            x, curves[whole], estimate=estimate, largest=settings.floor_exponent_max, confidence=confidence
        )
        tiny = float(np.exp(mean.min() - 12.0))
        irreducible = floor_interval(x, curves[whole], estimate=max(floor, tiny), confidence=confidence)
        irreducible = (irreducible[0] if bends else 0.0, irreducible[1])
    return FloorFit(
        irreducible_error=floor,
        irreducible_interval=irreducible,
        exponent=estimate,
        exponent_interval=interval,
        aicc_difference=_aicc_difference(sizes, mean, law),
        draw_exponents=draw_exponents(law, x, curves),
        reason=_fault_of_estimate(law, n_draws=int(whole.sum()), settings=settings)
        or _fault_of_intervals(interval, irreducible, smallest=float(np.exp(mean.min())), settings=settings),
    )


def _nothing(n_draws: int, reason: str) -> FloorFit:
    return FloorFit(
        irreducible_error=np.nan,
        irreducible_interval=_NO_INTERVAL,
        exponent=np.nan,
        exponent_interval=_NO_INTERVAL,
        aicc_difference=np.nan,
        draw_exponents=np.full(n_draws, np.nan),
        reason=reason,
    )


def _fault_of_estimate(law: FloorLaw, *, n_draws: int, settings: ScalingSettings) -> str:
    if not law.converged:
        return "the search did not converge"
    if law.irreducible_error <= 0.0:
        return "the best fit has E = 0"
    if law.exponent > settings.floor_exponent_max:
        return f"the exponent is beyond floor_exponent_max = {settings.floor_exponent_max:g}"
    if n_draws < 2:
        return "one draw gives no interval"
    return ""


def _fault_of_intervals(
    exponent: tuple[float, float], irreducible: tuple[float, float], *, smallest: float, settings: ScalingSettings
) -> str:
    """E may lie above the smallest error by noise where the curve is flat, but not its whole interval."""
    if irreducible[0] <= 0.0:
        return "the draws do not exclude E = 0"
    if not np.isfinite(irreducible[1]):
        return "the draws do not bound E"
    if irreducible[0] >= smallest:
        return "the error falls below E, even below the low end of its interval"
    low, high = exponent
    if low <= 0.0 or not np.isfinite(high):
        return "the draws do not bound the exponent"
    if high > settings.floor_width_max * low:
        return f"the exponent's interval spans more than a factor of {settings.floor_width_max:g}"
    return ""


def _aicc_difference(sizes: np.ndarray, mean: np.ndarray, law: FloorLaw) -> float:
    """AICc of the pure law minus AICc of the law with floor: above zero favours the floor."""
    pure = fit_power_law(sizes, np.exp(mean))
    line = pure.log_amplitude - pure.exponent * np.log(sizes)
    pure_residual = np.mean((mean - line) ** 2)
    return float(aicc(pure_residual, len(mean), 2) - aicc(law.mean_squared_residual, len(mean), 3))
