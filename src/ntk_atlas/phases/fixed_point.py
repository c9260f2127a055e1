"""The fixed point q* that the variance of pre-activations reaches with depth.

A fixed point never swings: E[φ(√q z)²] = ∫ φ(u)² n(u; q) du and ∂ log n/∂ log q = u²/2q − ½ ≥ −½, so that the slope of
q ← σ_w² E[φ²] + σ_b² at a fixed point is −½ or above. What leads away from a start leads to the next fixed point.
"""

import math

from ntk_atlas.activations import ActivationChoice, activation
from ntk_atlas.phases.moments import value_moment

_LARGEST_VARIANCE, _SMALLEST_VARIANCE = 1e8, 1e-12
_STEP = 1.25


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
