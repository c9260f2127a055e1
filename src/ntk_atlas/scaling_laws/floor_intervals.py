"""Intervals of the law with irreducible error, by inverting a t test over draws.

A value α₀ (or E₀) belongs to the interval if draws do not contradict it: fit the mean curve with that value held,
take the direction c in which the curve moves with the held parameter and that the free ones cannot follow, and
test with a t over draws whether the draws' residuals have mean zero along c. Replication over draws makes this
valid under any correlation between sizes, and inverting the test rather than linearizing at the estimate keeps
the coverage where the profile is flat: there the interval becomes unbounded instead of wrong. (Score intervals,
e.g. Bates and Watts, Nonlinear Regression Analysis, ch. 6, with the variance taken between draws.)
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from ntk_atlas.scaling_laws.floor_solver import DEPTH_OF_ZERO, Coordinate, Held, at_zero, curve, jacobian, solve
from ntk_atlas.scaling_laws.intervals import t_critical

EXPONENT: Final = 1
"""The coordinate of θ that is log α."""
FLOOR: Final = 2
"""The coordinate of θ that is log E."""
Statistic = Callable[[np.ndarray], np.ndarray]
_ROUNDING = 1e-13
_GRID = 41
_REFINEMENTS = 8
_TOLERANCE = 1e-5


def score_t(x: np.ndarray, curves: np.ndarray, *, fixed: Coordinate, value: np.ndarray) -> np.ndarray:
    """Student statistic over draws of the hypothesis that θ[fixed] is `value`.

    Args:
        x: centred log sizes `(n_sizes,)`.
        curves: log errors, one curve a draw, `(..., n_draws, n_sizes)`; leading axes broadcast with `value`.
        fixed: `EXPONENT` or `FLOOR`.
        value: log α₀ or log E₀ `(...)`; log E₀ far below all errors tests E = 0.

    Returns:
        Statistics `(...)`, t with n_draws − 1 degrees of freedom under the hypothesis.
    """
    leading = np.broadcast_shapes(curves.shape[:-2], np.shape(value))
    curves = np.broadcast_to(curves, (*leading, *curves.shape[-2:])).reshape(-1, *curves.shape[-2:])
    held = np.broadcast_to(value, leading).reshape(-1)
    theta, _, _ = solve(x, curves.mean(-2), Held(fixed, held))
    J = jacobian(theta, x)
    J = J / np.maximum(np.linalg.norm(J, axis=-2, keepdims=True), 1e-300)
    if fixed == EXPONENT:  # at E = 0 the floor cannot give way to a curve that is steeper than α₀ allows
        J[at_zero(theta, curves.mean(-2)), :, FLOOR] = 0.0
    direction = _orthogonal_part(J[..., fixed], np.delete(J, fixed, axis=-1))
    scores = np.einsum("kds,ks->kd", curves - curve(theta, x)[:, None], direction)
    n_draws = scores.shape[-1]
    error = scores.std(-1, ddof=1) / np.sqrt(n_draws)
    t: np.ndarray = scores.mean(-1) / (error + _ROUNDING)
    return t.reshape(leading)


def _orthogonal_part(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Unit vectors along what `vectors` `(k, s)` have outside the span of `others` `(k, s, 2)`."""
    first = _unit(others[..., 0])
    second = _unit(others[..., 1] - (others[..., 1] * first).sum(-1, keepdims=True) * first)
    for _ in range(2):  # twice is enough to be orthogonal to rounding
        for other in (first, second):
            vectors = vectors - (vectors * other).sum(-1, keepdims=True) * other
    return _unit(vectors)


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-300)
    return unit


def zero_floor_t(x: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """Student statistic over draws of E = 0, positive where the curves bend upwards; curves as in `score_t`."""
    return score_t(x, curves, fixed=FLOOR, value=curves.mean(-2).min(-1) - DEPTH_OF_ZERO)


def exponent_interval(
    x: np.ndarray, curves: np.ndarray, *, estimate: float, largest: float, confidence: float
) -> tuple[float, float]:
    """Interval of α, searched up to `largest`; 0 or infinity stand for an end that the draws do not bound."""
    low, high = min(1e-3, estimate / 10.0), max(largest, estimate)
    ends = _invert(
        lambda value: score_t(x, curves, fixed=EXPONENT, value=value),
        np.log(estimate), np.log(low), np.log(high), t_critical(curves.shape[-2], confidence),
    )  # fmt: skip
    return (0.0 if ends[0] is None else np.exp(ends[0])), (np.inf if ends[1] is None else np.exp(ends[1]))


def floor_interval(x: np.ndarray, curves: np.ndarray, *, estimate: float, confidence: float) -> tuple[float, float]:
    """Interval of E, searched up to the geometric mean error; a lower end of 0: E = 0 is not excluded."""
    mean = curves.mean(-2)
    ends = _invert(
        lambda value: score_t(x, curves, fixed=FLOOR, value=value),
        np.log(estimate), min(mean.min() - DEPTH_OF_ZERO / 2, np.log(estimate) - 1.0),
        max(mean.mean(), np.log(estimate)),
        t_critical(curves.shape[-2], confidence),
    )  # fmt: skip
    return (0.0 if ends[0] is None else np.exp(ends[0])), (np.inf if ends[1] is None else np.exp(ends[1]))


def _invert(
    statistic: Statistic, estimate: float, low: float, high: float, critical: np.ndarray
) -> tuple[float | None, float | None]:
    """Ends of the connected set around `estimate` with |t| ≤ critical; None where it reaches the search bound.

    The statistic is evaluated on many values at once; each end is then closed in on by finer grids.
    """
    near = np.array([0.003, 0.01, 0.03, 0.1, 0.2, 0.4])
    values = np.concatenate([np.linspace(low, high, _GRID), estimate - near, estimate + near, [estimate]])
    values = np.unique(np.clip(values, low, high))
    inside = np.abs(statistic(values)) <= critical
    centre = int(np.searchsorted(values, estimate))
    inside[centre] = True
    outside_below = np.flatnonzero(~inside[:centre])
    outside_above = centre + np.flatnonzero(~inside[centre:])
    lower = upper = None
    if outside_below.size:
        i = outside_below[-1]
        lower = _close_in(statistic, values[i + 1], values[i], critical)
    if outside_above.size:
        i = outside_above[0]
        upper = _close_in(statistic, values[i - 1], values[i], critical)
    return lower, upper


def _close_in(statistic: Statistic, inner: float, outer: float, critical: np.ndarray) -> float:
    """The crossing of |t| = critical between an inside and an outside value."""
    for _ in range(_REFINEMENTS):
        if abs(outer - inner) <= _TOLERANCE:
            break
        values = np.linspace(inner, outer, 32)
        outside = np.abs(statistic(values)) > critical
        outside[0], outside[-1] = False, True
        first = int(outside.argmax())
        inner, outer = values[first - 1], values[first]
    return 0.5 * (inner + outer)
