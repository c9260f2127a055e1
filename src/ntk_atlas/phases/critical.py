"""The critical line, where χ₁(q*) = 1, for any activation, and χ₁ over the plane (σ_w², σ_b²) around it.

Fixed point and criticality, q = σ_w² V(q) + σ_b² and σ_w² D(q) = 1 with V = E[φ(√q z)²] and D = E[φ'(√q z)²], make a
curve with parameter q, σ_w² = 1/D(q) and σ_b² = q − V(q)/D(q), with ends at q = 0 and q = ∞. A point of it is critical
if the variance of networks ends at this q: it may leave q for 0 or ∞ instead. Activations such as u², or GELU without
biases, pass from the ordered to the chaotic phase in a jump of χ₁ and have no critical point.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ntk_atlas.activations import Activation, ActivationChoice, activation
from ntk_atlas.phases.phase import derivative_moment, fixed_point, moments

SMALLEST_Q, LARGEST_Q = 1e-8, 1e6
_SCANNED = 281  # twenty a decade
_SAME = 1e-6
_ROUNDING = 1e-11
_SMALLEST_Q, _LARGEST_Q, _TABLED = 1e-12, 1e8, 801  # forty a decade


class NoCriticalPointError(ValueError):
    """There is no critical σ_w², or more than one, where one is asked for."""


@dataclass(frozen=True)
class CriticalPoint:
    """An initialization at which χ₁ = 1.

    Attributes:
        init_scale: σ_w².
        bias_variance: σ_b².
        q_star: q*; infinity where χ₁ is 1 in the limit only, as for homogeneous activations with σ_b² > 0.
    """

    init_scale: float
    bias_variance: float
    q_star: float


def critical_points(choice: ActivationChoice, bias_variance: float) -> tuple[CriticalPoint, ...]:
    """All critical points at one σ_b².

    Args:
        choice: see `activations.ActivationChoice`.
        bias_variance: σ_b².

    Returns:
        The points by ascending σ_w². None or several is possible.
    """
    function = activation(choice)
    if function.homogeneous is not None:
        factor = moments(function, 1.0).slope
        q_star = fixed_point(function, 1.0 / factor, bias_variance) if factor > 0.0 else math.nan
        return (CriticalPoint(1.0 / factor, bias_variance, q_star),) if factor > 0.0 else ()
    from scipy.optimize import brentq

    def excess(log_q: float) -> float:
        return _bias_variance_at(function, math.exp(log_q)) - bias_variance

    scanned = np.linspace(math.log(SMALLEST_Q), math.log(LARGEST_Q), _SCANNED)
    values = np.array([excess(log_q) for log_q in scanned])
    certain = np.abs(values) > _ROUNDING * np.exp(scanned)  # near q = 0, both sides of the equation may be equal
    scanned, values = scanned[certain], values[certain]
    crossings = np.flatnonzero((values[:-1] < 0) != (values[1:] < 0))
    found = [math.exp(brentq(excess, scanned[i], scanned[i + 1], xtol=1e-14, rtol=1e-14)) for i in crossings]
    found.append(math.inf)
    if bias_variance == 0.0 and moments(function, 0.0).value == 0.0:
        found.append(0.0)
    slopes = {q: moments(function, q).slope for q in found}
    points = [CriticalPoint(1.0 / slope, bias_variance, q) for q, slope in slopes.items() if 0.0 < slope < math.inf]
    return tuple(sorted((p for p in points if _is_reached(function, p)), key=lambda point: point.init_scale))


def critical_init_scale(choice: ActivationChoice, bias_variance: float) -> float:
    """The one σ_w² with χ₁(q*) = 1 at σ_b².

    Args:
        choice: see `activations.ActivationChoice`.
        bias_variance: σ_b².

    Returns:
        σ_w².

    Raises:
        NoCriticalPointError: if there is none, or there are several.
    """
    function = activation(choice)
    points = critical_points(function, bias_variance)
    if len(points) == 1:
        return points[0].init_scale
    if not points:
        raise NoCriticalPointError(
            f"activation {function.name} has no critical point at σ_b² = {bias_variance:g}: χ₁ stays on one side of 1, "
            "or jumps past it where the variance of pre-activations has no fixed point any more"
        )
    scales = ", ".join(f"{point.init_scale:.5g}" for point in points)
    raise NoCriticalPointError(
        f"activation {function.name} has {len(points)} critical points at σ_b² = {bias_variance:g}: σ_w² = {scales}"
    )


def critical_line(choice: ActivationChoice, bias_variances: Sequence[float]) -> tuple[CriticalPoint, ...]:
    """The critical points at several σ_b², in their order.

    Args:
        choice: see `activations.ActivationChoice`.
        bias_variances: values of σ_b².

    Returns:
        All points; those of one σ_b² by ascending σ_w².
    """
    function = activation(choice)
    return tuple(point for value in bias_variances for point in critical_points(function, value))


def _bias_variance_at(function: Activation, q: float) -> float:
    value, slope, _ = moments(function, q)
    return q - value / slope if slope > 0.0 and math.isfinite(slope) else math.nan


def _is_reached(function: Activation, point: CriticalPoint) -> bool:
    reached = fixed_point(function, point.init_scale, point.bias_variance)
    if math.isinf(point.q_star) != math.isinf(reached):
        return False
    return abs(point.init_scale * moments(function, reached).slope - 1.0) < _SAME


def chi_1_plane(choice: ActivationChoice, init_scales: np.ndarray, bias_variances: np.ndarray) -> np.ndarray:
    """χ₁ at the fixed point that is reached from q = σ_w² + σ_b², see `fixed_point`.

    Args:
        choice: see `activations.ActivationChoice`.
        init_scales: values of σ_w², `(W,)`.
        bias_variances: values of σ_b², `(B,)`.

    Returns:
        χ₁, `(B, W)`; its limit where the variance grows for ever.
    """
    function = activation(choice)
    scales, biases = np.asarray(init_scales, dtype=float), np.asarray(bias_variances, dtype=float)
    if function.homogeneous is not None:
        return np.broadcast_to(scales * derivative_moment(function, 1.0), (len(biases), len(scales))).copy()
    log_q = np.linspace(math.log(_SMALLEST_Q), math.log(_LARGEST_Q), _TABLED)
    table = _table(function, np.exp(log_q), float(scales.max()), float(biases.max()))
    log_q = log_q[: len(table)]
    # At the ends stand the limits: what falls below the table goes to 0, what leaves it above to infinity.
    slopes = np.concatenate([[derivative_moment(function, 0.0)], table[:, 1], [derivative_moment(function, math.inf)]])
    return np.stack([scales * _slopes_at_end(log_q, table[:, 0], slopes, scales, bias) for bias in biases])


def _table(function: Activation, q: np.ndarray, scale: float, bias: float) -> np.ndarray:
    # E[φ²] and E[φ'²] at ascending q, up to where even the largest σ_w² and σ_b² lead down: none passes that.
    rows = []
    for value in q:
        second, slope, _ = moments(function, value)
        rows.append((second, slope))
        if value > scale + bias and scale * second + bias < value:
            break
    return np.array(rows)


def _slopes_at_end(
    log_q: np.ndarray, values: np.ndarray, slopes: np.ndarray, scales: np.ndarray, bias: float
) -> np.ndarray:
    # E[φ'²] where each σ_w² ends: (W,).
    growth = scales[:, None] * values + bias - np.exp(log_q)
    first = np.searchsorted(log_q, np.log(scales + bias))
    rank, each = np.arange(len(log_q)), np.arange(len(scales))
    # Upward to the first q with growth ≤ 0, downward from the last one with growth > 0: `high` is the upper end of the
    # step between them, 0 or the size of the table if there is none.
    down = (growth <= 0.0) & (rank >= first[:, None])
    up = (growth > 0.0) & (rank < first[:, None])
    above = np.where(down.any(1), down.argmax(1), len(log_q))
    below = np.where(up.any(1), len(log_q) - up[:, ::-1].argmax(1), 0)
    # The start lies in the step below `first`: what happens there decides the direction.
    start = np.clip(first, 1, len(log_q) - 1)
    share = (np.log(scales + bias) - log_q[start - 1]) / (log_q[start] - log_q[start - 1])
    at_start = growth[each, start - 1] + share * (growth[each, start] - growth[each, start - 1])
    high = np.where(at_start > 0.0, above, below)
    inner = np.clip(high, 1, len(log_q) - 1)
    low_growth, high_growth = growth[each, inner - 1], growth[each, inner]
    crossed = (low_growth > 0.0) & (high_growth <= 0.0) & (high == inner)
    share = np.where(crossed, low_growth / np.where(crossed, low_growth - high_growth, 1.0), 0.0)
    inside = slopes[inner] + share * (slopes[inner + 1] - slopes[inner])
    ends: np.ndarray = np.where(crossed, inside, np.where(high == 0, slopes[0], slopes[-1]))
    return ends
