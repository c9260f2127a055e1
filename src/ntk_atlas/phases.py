"""Phases of initialization: does a signal's gradient vanish or explode with depth?

At infinite width the pre-activation variance of a layer follows q ← σ_w² E[φ(√q z)²] + σ_b², z ~ N(0, 1), to its
fixed point q*. There χ₁ = σ_w² E[φ'(√q* z)²] is the factor by which a squared gradient grows from layer to layer:
ordered χ₁ < 1, critical χ₁ = 1, chaotic χ₁ > 1 (Poole et al. 2016; Schoenholz et al. 2017). Over the depth scale
ξ₁ = 1/|log χ₁| it changes by a factor e.

A fixed point never swings: E[φ(√q z)²] = ∫ φ(u)² n(u; q) du and ∂ log n/∂ log q = u²/2q − ½ ≥ −½, so that the slope of
q ← σ_w² E[φ²] + σ_b² at a fixed point is −½ or above. What leads away from a start leads to the next fixed point.

Moments E[φ(√q z)²] and E[φ'(√q z)²] are integrated for any activation at any variance, with their error. Panels double
in width away from 0, from a quarter of a unit of u = √q z on, so that what φ does near 0 is seen at every variance;
they are halved where that is not enough, and reach to |z| = 38, where the Gaussian ends in float64.

The critical line is where χ₁(q*) = 1. Fixed point and criticality, q = σ_w² V(q) + σ_b² and σ_w² D(q) = 1 with V =
E[φ(√q z)²] and D = E[φ'(√q z)²], make a curve with parameter q, σ_w² = 1/D(q) and σ_b² = q − V(q)/D(q), with ends at q
= 0 and q = ∞. A point of it is critical if the variance of networks ends at this q: it may leave q for 0 or ∞ instead.
Activations such as u², or GELU without biases, pass from the ordered to the chaotic phase in a jump of χ₁ and have no
critical point.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ntk_atlas.activations import Activation, ActivationChoice, activation
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.quadrature import integrate

log = logging.getLogger(__name__)

ACCURACY = 1e-6
"""Relative error of a moment above which a warning is logged."""
_TOLERANCE = 1e-12
_END = 38.0
_NEAR_ZERO, _FAR_OUT = 1e-12, 1e8
_VANISHED = 1e-12
_MOST_KEPT = 100_000
_LARGEST_VARIANCE, _SMALLEST_VARIANCE = 1e8, 1e-12
_STEP = 1.25
CRITICAL_TOLERANCE = 2e-3
"""|χ₁ − 1| up to which an initialization counts as critical: tabulated critical points have four digits."""


class Moments(NamedTuple):
    """Two moments at one variance.

    Attributes:
        value: E[φ(√q z)²]; infinity where it overflows.
        slope: E[φ'(√q z)²].
        error: estimate of the larger relative error of the two.
    """

    value: float
    slope: float
    error: float


def moments(choice: ActivationChoice, q: float) -> Moments:
    """E[φ(√q z)²] and E[φ'(√q z)²] at variance q.

    Args:
        choice: see `activations.ActivationChoice`.
        q: variance, 0 and infinity included: there, the limits of the second, which is NaN where φ' has none.

    Returns:
        The moments; exact for homogeneous activations.

    Raises:
        ActivationError: see `activations.ActivationChoice`.
    """
    function = activation(choice)
    if function.homogeneous is not None:
        below, above = function.homogeneous
        factor = 0.5 * (below**2 + above**2)
        return Moments(factor * q if q > 0 else 0.0, factor, 0.0)
    return _of(function, q)


@lru_cache(maxsize=_MOST_KEPT)
def _of(function: Activation, q: float) -> Moments:
    return _at_an_end(function, q) if q == 0 or math.isinf(q) else _integrated(function, q)


def value_moment(choice: ActivationChoice, q: float) -> float:
    """E[φ(√q z)²]."""
    return moments(choice, q).value


def derivative_moment(choice: ActivationChoice, q: float) -> float:
    """E[φ'(√q z)²]; at q = 0 and q = ∞ its limit."""
    return moments(choice, q).slope


def panel_edges(function: Activation, q: float) -> np.ndarray:
    """Ascending ends of panels in z that resolve φ(√q z) near 0 and its kinks."""
    root = math.sqrt(q)
    first = min(0.5, 0.25 / root)
    steps = first * 2.0 ** np.arange(math.ceil(math.log2(6.0 / first)))
    steps = np.concatenate([[0.0], steps[steps < 5.0], [6.0, 8.0, 12.0, 24.0, _END]])
    kinks = np.array(function.kinks) / root
    return np.unique(np.concatenate([-steps, steps, kinks[np.abs(kinks) < _END]]))


def _integrated(function: Activation, q: float) -> Moments:
    root = math.sqrt(q)

    def squares(z: np.ndarray) -> np.ndarray:
        density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        with np.errstate(all="ignore"):
            both = np.stack(function.on_array(root * z)) ** 2 * density
        return np.where(density > 0.0, both, 0.0)

    (value, slope), errors, _ = integrate(squares, panel_edges(function, q), _TOLERANCE)
    if not np.isfinite([value, slope]).all():
        return Moments(math.inf, math.inf, 0.0)
    error = max(float(left / total) for left, total in zip(errors, (value, slope), strict=True) if total > 0.0 or left)
    if error > ACCURACY:
        log.warning("moments of activation %s at variance %.3g are certain to %.0e only", function.name, q, error)
    return Moments(float(value), float(slope), error)


def _at_an_end(function: Activation, q: float) -> Moments:
    if q == 0:
        at_zero, _ = function.on_array(np.zeros(1))
        return Moments(float(at_zero[0] ** 2), function.mean_square_slope(_NEAR_ZERO), 0.0)
    nearer, farther = function.mean_square_slope(_FAR_OUT / 100.0), function.mean_square_slope(_FAR_OUT)
    if max(nearer, farther) < _VANISHED:
        return Moments(math.inf, 0.0, 0.0)
    if math.isclose(nearer, farther, rel_tol=1e-9):
        return Moments(math.inf, farther, 0.0)
    return Moments(math.inf, math.inf if not farther < nearer else math.nan, 0.0)


class NoFixedPointError(ValueError):
    """The variance of pre-activations has no finite fixed point, and what was asked for needs one."""


def fixed_point(choice: ActivationChoice, init_scale: float, bias_variance: float) -> float:
    """The q* ≥ 0 that q ← σ_w² E[φ(√q z)²] + σ_b² reaches from inputs with ‖x‖² = their dimension.

    Where 0 and ∞ are both stable (GELU, SiLU), the start q = σ_w² + σ_b² decides.

    Args:
        choice: see `activations.ActivationChoice`.
        init_scale: σ_w².
        bias_variance: σ_b².

    Returns:
        q*. Infinity stands for a variance that grows for ever, beyond 1e8 and ten times the start; 0 for one that
        falls below 1e-12.
    """
    function = activation(choice)
    if function.homogeneous is not None:
        factor = init_scale * value_moment(function, 1.0)
        if bias_variance == 0.0:
            return 0.0 if factor < 1.0 else (1.0 if factor == 1.0 else math.inf)
        return bias_variance / (1.0 - factor) if factor < 1.0 else math.inf
    from scipy.optimize import brentq

    def excess(q: float) -> float:
        return init_scale * value_moment(function, q) + bias_variance - q

    start = init_scale + bias_variance
    grows = excess(start) > 0.0
    near = far = start
    while (excess(far) > 0.0) == grows:
        near, far = far, (far * _STEP if grows else far / _STEP)
        if grows and far > max(_LARGEST_VARIANCE, 10.0 * start):
            return math.inf
        if far < _SMALLEST_VARIANCE:
            return 0.0
    return float(brentq(excess, min(near, far), max(near, far), xtol=1e-13, rtol=1e-13))


def finite_fixed_point(choice: ActivationChoice, init_scale: float, bias_variance: float) -> float:
    """`fixed_point`, where a number is needed.

    Raises:
        NoFixedPointError: if the variance grows for ever.
    """
    function = activation(choice)
    q_star = fixed_point(function, init_scale, bias_variance)
    if math.isinf(q_star):
        raise NoFixedPointError(
            f"activation {function.name} has no fixed point at σ_w² = {init_scale:g}, σ_b² = {bias_variance:g}: the "
            "variance of pre-activations grows from layer to layer without end; lower init_scale"
        )
    return q_star


@dataclass(frozen=True)
class Phase:
    """Where an initialization lies.

    Attributes:
        name: `ordered`, `critical`, `chaotic`, or `unknown` for a family that does not tell it.
        chi_1: χ₁.
        q_star: q*, 0 or infinity included.
        xi_1: ξ₁ in layers, infinity at critical.
    """

    name: str
    chi_1: float
    q_star: float
    xi_1: float


UNKNOWN = Phase("unknown", math.nan, math.nan, math.nan)


def phase_of(network: NetworkSettings, init_scale: float) -> Phase:
    """The phase of a network family at σ_w² = `init_scale`.

    Args:
        network: family, activation and σ_b².
        init_scale: σ_w².

    Returns:
        The phase, see `Family.phase`; `unknown` for a family that does not tell it.

    Raises:
        ActivationError: if an activation of the user's own is not usable.
    """
    family = network.family
    return UNKNOWN if family.without_phases() else family.phase(network, init_scale)


def phase_at(choice: ActivationChoice, init_scale: float, bias_variance: float = 0.0) -> Phase:
    """The phase of any activation at (σ_w², σ_b²).

    Args:
        choice: see `activations.ActivationChoice`.
        init_scale: σ_w².
        bias_variance: σ_b².

    Returns:
        The phase. Homogeneous activations have χ₁ = σ_w² E[φ(z)²] (ReLU: σ_w²/2) at every q. Where the variance has
        no finite fixed point, q* = ∞ and χ₁ is its limit; the phase is unknown only if φ' has no limit either.
    """
    function = activation(choice)
    q_star = fixed_point(function, init_scale, bias_variance)
    chi_1 = init_scale * derivative_moment(function, q_star)
    if math.isnan(chi_1):
        return Phase("unknown", chi_1, q_star, chi_1)
    if abs(chi_1 - 1.0) <= CRITICAL_TOLERANCE:
        return Phase("critical", chi_1, q_star, math.inf)
    return Phase("ordered" if chi_1 < 1.0 else "chaotic", chi_1, q_star, depth_scale(chi_1))


def depth_scale(chi: float) -> float:
    """ξ = 1/|log χ|, the layers over which what χ multiplies changes by e: infinity at χ = 1, 0 at χ = 0 and ∞."""
    if chi <= 0.0 or math.isinf(chi):
        return 0.0
    return math.inf if chi == 1.0 else 1.0 / abs(math.log(chi))


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
