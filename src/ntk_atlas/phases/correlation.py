r"""Where the correlation of two inputs goes with depth, and the scale over which a deep network forgets its data.

At the fixed point q* the correlation of two pre-activations follows c ← (σ_w² E[φ(u)φ(v)] + σ_b²)/q*, and a product of
gradients grows by χ_c = σ_w² E[φ'(u)φ'(v)], corr(u, v) = c. In the chaotic phase c falls to c* < 1, the off-diagonal of
the NTK to a constant, its diagonal grows as χ₁^l, and the prediction vanishes as (χ_{c*}/χ₁)^l: over the scale
ξ* = −1/(log χ_{c*} − log χ₁) (Xiao et al. 2020). In the other phases c* = 1, χ_{c*} = χ₁ and ξ* = ∞.

With Hermite coefficients h_k = E[φ(√q z) He_k(z)]/√k!, E[φ(u)φ(v)] = Σ h_k² c^k (Mehler), and the same for φ'. What
K terms leave out is c^K (E[φ²] − Σ_{k<K} h_k²) at most.
"""

import math
from dataclasses import dataclass

import numpy as np

from ntk_atlas.phases.activation_function import ActivationFunction, ActivationLike, activation_function
from ntk_atlas.phases.fixed_point import finite_fixed_point
from ntk_atlas.phases.moments import moments, panel_edges
from ntk_atlas.phases.phase import CRITICAL_TOLERANCE
from ntk_atlas.phases.quadrature import points

_REACH = 12.0
_FEWEST_TERMS, _MOST_TERMS = 64, 2048
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class CorrelationFixedPoint:
    """Where correlations end.

    Attributes:
        correlation: c*.
        chi: χ_{c*}.
        error: estimate of the relative error of χ_{c*}: terms left out, and panels too wide for φ'.
    """

    correlation: float
    chi: float
    error: float


def correlation_fixed_point(
    activation: ActivationLike, init_scale: float, bias_variance: float = 0.0
) -> CorrelationFixedPoint:
    """The stable fixed point of correlations at q*.

    Args:
        activation: see `activation_function`.
        init_scale: σ_w².
        bias_variance: σ_b².

    Returns:
        c* and χ_{c*}; c* = 1 and χ₁ outside the chaotic phase, and for homogeneous activations whatever the phase:
        their correlations approach 1 algebraically.

    Raises:
        NoFixedPointError: if q* is infinite, which only homogeneous activations do not mind.
    """
    function = activation_function(activation)
    if function.homogeneous is not None:
        return CorrelationFixedPoint(1.0, init_scale * moments(function, 1.0).slope, 0.0)
    q_star = finite_fixed_point(function, init_scale, bias_variance)
    second, slope, _ = moments(function, q_star)
    if init_scale * slope <= 1.0 + CRITICAL_TOLERANCE:
        return CorrelationFixedPoint(1.0, init_scale * slope, 0.0)
    from scipy.optimize import brentq

    n_terms = _FEWEST_TERMS
    while True:
        values, slopes, unresolved = _squared_coefficients(function, q_star, n_terms)

        # Convex in c, 0 at c = 1 with slope q*(χ₁ − 1) > 0 there, and not below 0 at c = 0: one root below 1.
        def excess(c: float, values: np.ndarray = values) -> float:
            left_out = max(second - values.sum(), 0.0) * c ** len(values)
            return init_scale * (_series(values, c) + left_out) + bias_variance - q_star * c

        inner = 1.0 - 1e-3 * min(1.0, init_scale * slope - 1.0)
        c_star = 0.0 if excess(0.0) <= 1e-14 * q_star else float(brentq(excess, 0.0, inner, xtol=1e-14))
        chi = _series(slopes, c_star)
        error = float(max(slope - slopes.sum(), 0.0) * c_star**n_terms / chi) if chi > 0.0 else 0.0
        if error <= _TOLERANCE or n_terms == _MOST_TERMS:
            return CorrelationFixedPoint(c_star, init_scale * chi, error + unresolved)
        n_terms *= 2


def generalization_scale(activation: ActivationLike, init_scale: float, bias_variance: float = 0.0) -> float:
    """ξ* = −1/(log χ_{c*} − log χ₁) in layers: infinity outside the chaotic phase and for homogeneous activations.

    Args:
        activation: see `activation_function`.
        init_scale: σ_w².
        bias_variance: σ_b².

    Returns:
        The depth over which the mean prediction of a chaotic network vanishes by a factor e; 0 where χ_{c*} = 0.

    Raises:
        NoFixedPointError: see `correlation_fixed_point`.
    """
    function = activation_function(activation)
    end = correlation_fixed_point(function, init_scale, bias_variance)
    if end.correlation == 1.0:
        return math.inf
    chi_1 = init_scale * moments(function, finite_fixed_point(function, init_scale, bias_variance)).slope
    return 0.0 if end.chi == 0.0 else -1.0 / (math.log(end.chi) - math.log(chi_1))


def _series(squared: np.ndarray, c: float) -> float:
    return float(np.polynomial.polynomial.polyval(c, squared))


def _squared_coefficients(function: ActivationFunction, q: float, n_terms: int) -> tuple[np.ndarray, np.ndarray, float]:
    # h_k² of φ and φ', (n_terms,) each, on panels that resolve the last polynomial, and how well they resolve φ'.
    edges = panel_edges(function, q)
    inside = edges[np.abs(edges) < _REACH]
    step = min(0.25, 4.0 / math.sqrt(n_terms))
    edges = np.unique(np.concatenate([inside, np.arange(-_REACH, _REACH + step / 2, step)]))
    z, weight = points(np.stack([edges[:-1], edges[1:]], axis=1))
    root_density = np.exp(-0.25 * z**2) / (2 * math.pi) ** 0.25
    both = np.stack(function.values_and_slopes(math.sqrt(q) * z)) * (weight * root_density)
    previous, current = np.zeros_like(z), root_density
    coefficients = np.empty((2, n_terms))
    for k in range(n_terms):
        coefficients[:, k] = both @ current
        previous, current = current, (z * current - math.sqrt(k) * previous) / math.sqrt(k + 1)
    slope = moments(function, q).slope
    return coefficients[0] ** 2, coefficients[1] ** 2, abs(float(both[1] ** 2 @ (1.0 / weight)) / slope - 1.0)
