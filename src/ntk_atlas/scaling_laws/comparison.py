"""Differences of exponents between two predictors, paired by draw."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ntk_atlas.scaling_laws.intervals import t_interval

if TYPE_CHECKING:
    from ntk_atlas.scaling_laws.fit import ScalingFit


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
    fit_a: "ScalingFit",
    fit_b: "ScalingFit",
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
        difference=float(interval.mean),
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
