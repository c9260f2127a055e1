"""Scaling law of one predictor's learning curves, in one record, and differences of two exponents, paired by draw."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ntk_atlas.config.analyses import ScalingSettings
from ntk_atlas.scaling_laws.laws import MIN_SIZES, FloorFit, check_held_out, fit_power_law, fit_with_floor, usable
from ntk_atlas.statistics.intervals import Interval, finite_mean, t_interval


@dataclass(frozen=True, eq=False)
class ScalingFit:
    """Pure law err = A n^−α, law with irreducible error err = E + A n^−α, and the held-out check.

    Numbers that the data do not give are NaN, and `note` says why. Ends of intervals are at `confidence`.
    """

    exponent: float
    """α of the pure law: mean over draws of the mean over seeds."""
    exponent_low: float
    exponent_high: float
    log_amplitude: float
    """log A of the pure law (natural logarithm)."""
    log_amplitude_low: float
    log_amplitude_high: float
    irreducible_error: float
    """E of the law with irreducible error, in the error's own units; 0 where the best fit is the pure law."""
    irreducible_error_low: float
    irreducible_error_high: float
    floor_exponent: float
    """α of the law with irreducible error."""
    floor_exponent_low: float
    """0 where the draws do not bound it from below."""
    floor_exponent_high: float
    """Infinite where the draws do not bound it from above."""
    aicc_difference: float
    """AICc(pure) − AICc(with E): above zero favours the irreducible error; NaN below six sizes."""
    floor_identifiable: bool
    note: str
    """What is not identifiable or was left out, in words; empty if nothing."""
    n_points: int
    """(draw, seed, size) cells that the pure law used."""
    n_left_out: int
    """Cells within the fit range that it did not use: no finite positive error, or fewer than three sizes."""
    holdout_n_train: int
    """Largest n in the fit range, -1 if there is none; the held-out law is fitted without it."""
    holdout_predicted: float
    holdout_low: float
    holdout_high: float
    holdout_measured: float
    draw_exponents: np.ndarray
    """Pure-law exponent of each draw `(n_draws,)`, NaN where the draw has none."""
    draw_floor_exponents: np.ndarray
    """Exponent of the law with E of each draw, linearized at the common fit `(n_draws,)`."""
    n_train_fitted: tuple[int, ...]
    """Sizes in the fit range at which anything was measured."""
    log_law: Interval
    """Log error of the pure law at each of them `(n_sizes,)`: mean over draws, and the interval that is the band."""
    n_train_min: int
    """The fit range rule that was set beforehand."""
    confidence: float

    @property
    def holdout_inside(self) -> bool | None:
        """Whether the measured error at the largest n lies in the predicted interval; None without one."""
        if not np.isfinite([self.holdout_low, self.holdout_high, self.holdout_measured]).all():
            return None
        return bool(self.holdout_low <= self.holdout_measured <= self.holdout_high)


def fit_scaling_law(n_train: np.ndarray, errors: np.ndarray, *, settings: ScalingSettings) -> ScalingFit:
    """Fits both laws to one predictor's errors, with intervals over draws.

    The pure law is fitted to each member's log errors, its exponents are averaged over the seeds of a draw, and
    the interval is a t over draws: exact under normal log noise, whatever the ratio of seed to draw variance and
    the correlation between sizes.

    Args:
        n_train: training sizes `(n_sizes,)`, positive and distinct, in any order.
        errors: test errors `(n_draws, n_seeds, n_sizes)`; NaN where not measured; deterministic kernels have
            n_seeds = 1.
        settings: fit range, confidence, bounds of the law with irreducible error.

    Returns:
        The fit. Nothing that is wrong with the errors' values raises.

    Raises:
        ValueError: if the shapes do not fit or sizes are not positive and distinct.
    """
    n_train, errors = _checked(n_train, errors)
    in_range = n_train >= settings.n_train_min
    errors = errors[..., in_range]
    measured = usable(errors).any((0, 1))
    sizes, curves = n_train[in_range][measured], errors[..., measured]
    law = fit_power_law(sizes, curves)
    draws = finite_mean(law.exponent)
    exponent = t_interval(draws, settings.confidence)
    amplitude = t_interval(finite_mean(law.log_amplitude), settings.confidence)
    log_law = t_interval(finite_mean(law.log_error(sizes), axis=1), settings.confidence, axis=0)
    n_points = int(law.n_used[law.n_used >= MIN_SIZES].sum())
    floor = fit_with_floor(sizes, curves, settings=settings)
    held_out = check_held_out(sizes, curves, confidence=settings.confidence) if sizes.size else None
    return ScalingFit(
        exponent=float(exponent.value),
        exponent_low=float(exponent.low),
        exponent_high=float(exponent.high),
        log_amplitude=float(amplitude.value),
        log_amplitude_low=float(amplitude.low),
        log_amplitude_high=float(amplitude.high),
        irreducible_error=floor.irreducible_error,
        irreducible_error_low=float(floor.irreducible_interval[0]),
        irreducible_error_high=float(floor.irreducible_interval[1]),
        floor_exponent=floor.exponent,
        floor_exponent_low=float(floor.exponent_interval[0]),
        floor_exponent_high=float(floor.exponent_interval[1]),
        aicc_difference=floor.aicc_difference,
        floor_identifiable=not floor.reason,
        note=_note(errors, sizes, exponent, floor, n_points=n_points),
        n_points=n_points,
        n_left_out=errors.size - n_points,
        holdout_n_train=int(sizes[-1]) if sizes.size else -1,
        holdout_predicted=held_out.predicted if held_out else np.nan,
        holdout_low=held_out.low if held_out else np.nan,
        holdout_high=held_out.high if held_out else np.nan,
        holdout_measured=held_out.measured if held_out else np.nan,
        draw_exponents=draws,
        draw_floor_exponents=floor.draw_exponents,
        n_train_fitted=tuple(int(n) for n in sizes),
        log_law=log_law,
        n_train_min=settings.n_train_min,
        confidence=settings.confidence,
    )


def _checked(n_train: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns sizes in ascending order and errors in the same.

    Raises:
        ValueError: if the shapes do not fit together or sizes are not positive and distinct.
    """
    n_train, errors = np.asarray(n_train), np.asarray(errors, dtype=np.float64)
    if errors.ndim != 3 or n_train.shape != errors.shape[-1:]:
        raise ValueError(
            f"errors of shape {errors.shape} and n_train of shape {n_train.shape} do not fit together; "
            "give errors as (n_draws, n_seeds, n_sizes) and n_train as (n_sizes,)"
        )
    if (n_train <= 0).any() or len(np.unique(n_train)) < len(n_train):
        raise ValueError(f"n_train must be positive and distinct, got {n_train.tolist()}")
    order = np.argsort(n_train)
    return n_train[order], errors[..., order]


def _note(errors: np.ndarray, sizes: np.ndarray, exponent: Interval, floor: FloorFit, *, n_points: int) -> str:
    remarks = []
    if n_points == 0:
        remarks.append(f"exponent not identifiable: fewer than {MIN_SIZES} sizes with a finite positive error")
    elif exponent.reason:
        remarks.append(f"exponent: {exponent.reason}")
    elif exponent.n_values < len(errors):
        remarks.append(f"{len(errors) - int(exponent.n_values)} of {len(errors)} draws have no usable curve")
    zeros = int((errors == 0.0).sum())
    if zeros:
        remarks.append(f"{zeros} errors are 0 and left out, which flattens the law")
    missing = errors.size - n_points - zeros
    if n_points and missing > 0:
        remarks.append(f"{missing} further cells left out (missing, diverged, negative or too few sizes)")
    if floor.reason:
        remarks.append(f"irreducible error not identifiable: {floor.reason}")
    if n_points and sizes.size <= MIN_SIZES:
        remarks.append(f"no held-out check: {sizes.size} sizes, at least {MIN_SIZES + 1} needed")
    return "; ".join(remarks)


@dataclass(frozen=True, eq=False)
class ExponentDifference:
    """Exponent of predictor a minus that of predictor b; numbers only, no verdict."""

    difference: float
    low: float
    high: float
    confidence: float
    n_pairs: int
    """Draws in which both predictors have an exponent."""
    draw_differences: np.ndarray
    """`(n_draws,)`, NaN where one of the two is missing."""
    law: str
    """`power` (err = A n^−α) or `floor` (err = E + A n^−α)."""
    note: str
    """Why the difference is not identifiable, or what limits it; empty if nothing."""


def compare_exponents(
    fit_a: ScalingFit,
    fit_b: ScalingFit,
    *,
    confidence: float,
    law: Literal["power", "floor"] = "power",
) -> ExponentDifference:
    """Difference of exponents α_a − α_b with a t interval over draws, paired: the same draw is the same data.

    Args:
        fit_a: one predictor.
        fit_b: another one, fitted on the same draws.
        confidence: promised coverage.
        law: whose exponents. Those of `floor` are linearized and NaN unless both fits identify it; their
            interval holds only as well as the linearization.

    Returns:
        Difference and interval; NaN with a note where it is not identifiable.

    Raises:
        ValueError: if the numbers of draws differ or `law` is unknown.
    """
    if law not in ("power", "floor"):
        raise ValueError(f"law is {law!r}; choose 'power' or 'floor'")
    a, b = (fit.draw_exponents if law == "power" else fit.draw_floor_exponents for fit in (fit_a, fit_b))
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} draws against {len(b)}: exponents are paired by draw, give both the same draws")
    remarks = []
    differences = a - b
    if law == "floor" and not (fit_a.floor_identifiable and fit_b.floor_identifiable):
        remarks.append("irreducible error not identifiable in both fits")
        differences = np.full_like(differences, np.nan)
    interval = t_interval(differences, confidence)
    if interval.n_values < 2:
        remarks.append(f"difference: {interval.reason}")
    elif interval.n_values < len(differences):
        remarks.append(f"{int(interval.n_values)} of {len(differences)} draws have both exponents")
    if fit_a.n_train_fitted != fit_b.n_train_fitted:
        remarks.append(f"fitted on different sizes ({_sizes(fit_a.n_train_fitted)} and {_sizes(fit_b.n_train_fitted)})")
    return ExponentDifference(
        difference=float(interval.value),
        low=float(interval.low),
        high=float(interval.high),
        confidence=confidence,
        n_pairs=int(interval.n_values),
        draw_differences=differences,
        law=law,
        note="; ".join(remarks),
    )


def _sizes(n_train: tuple[int, ...]) -> str:
    return f"{n_train[0]}–{n_train[-1]}, {len(n_train)} sizes" if n_train else "none"
