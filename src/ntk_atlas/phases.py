r"""Phases of initialization: does a signal's gradient vanish or explode with depth?

At infinite width the pre-activation variance of a layer follows q ← σ_w² E[φ(√q z)²] + σ_b², z ~ N(0, 1), to its
fixed point q*. There χ₁ = σ_w² E[φ'(√q* z)²] is the factor by which a squared gradient grows from layer to layer:
ordered χ₁ < 1, critical χ₁ = 1, chaotic χ₁ > 1 (Poole et al. 2016; Schoenholz et al. 2017).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ntk_atlas.config.network import LEAKY_RELU_SLOPE, NetworkSettings

CRITICAL_TOLERANCE = 2e-3
"""|χ₁ − 1| up to which an initialization counts as critical: tabulated critical points have four digits."""
_LARGEST_VARIANCE, _SMALLEST_VARIANCE = 1e8, 1e-12


@dataclass(frozen=True)
class Phase:
    """Where an initialization lies.

    Attributes:
        name: `ordered`, `critical`, `chaotic`, or `unknown` for a network of the user's own.
        chi_1: χ₁.
        q_star: q*, 0 or infinity included.
    """

    name: str
    chi_1: float
    q_star: float


def phase_of(network: NetworkSettings, init_scale: float) -> Phase:
    """The phase of a network family at σ_w² = `init_scale`.

    Args:
        network: activation and σ_b²; a factory's phase is unknown.
        init_scale: σ_w².

    Returns:
        The phase. Homogeneous activations have χ₁ = σ_w² E[φ(z)²] (ReLU: σ_w²/2) at every q, so q* = 0 or ∞ is a
        value, not an error.
    """
    if network.factory is not None:
        return Phase("unknown", math.nan, math.nan)
    q_star = fixed_point(network.activation, init_scale, network.bias_variance)
    chi_1 = init_scale * derivative_moment(network.activation, q_star)
    if abs(chi_1 - 1.0) <= CRITICAL_TOLERANCE:
        return Phase("critical", chi_1, q_star)
    return Phase("ordered" if chi_1 < 1.0 else "chaotic", chi_1, q_star)


def fixed_point(activation: str, init_scale: float, bias_variance: float) -> float:
    """The q* ≥ 0 that q ← σ_w² E[φ(√q z)²] + σ_b² reaches from inputs with ‖x‖² = their dimension.

    Where 0 and ∞ are both stable (GELU, SiLU), the start q = σ_w² + σ_b² decides. Infinity stands for a variance that
    grows for ever.
    """
    if activation in _HOMOGENEOUS:
        factor = init_scale * _HOMOGENEOUS[activation]
        if bias_variance == 0.0:
            return 0.0 if factor < 1.0 else (1.0 if factor == 1.0 else math.inf)
        return bias_variance / (1.0 - factor) if factor < 1.0 else math.inf
    from scipy.optimize import brentq

    def excess(q: float) -> float:
        return init_scale * value_moment(activation, q) + bias_variance - q

    start = init_scale + bias_variance
    grows = excess(start) > 0.0
    near = far = start
    while (excess(far) > 0.0) == grows:
        near, far = far, (far * 1.25 if grows else far / 1.25)
        if far > _LARGEST_VARIANCE:
            return math.inf
        if far < _SMALLEST_VARIANCE:
            return 0.0
    return float(brentq(excess, min(near, far), max(near, far), xtol=1e-13, rtol=1e-13))


def value_moment(activation: str, q: float) -> float:
    """E[φ(√q z)²]."""
    return _HOMOGENEOUS[activation] * q if activation in _HOMOGENEOUS else _expectation(_VALUES[activation], q)


def derivative_moment(activation: str, q: float) -> float:
    """E[φ'(√q z)²]; at q = ∞ its limit."""
    if activation in _HOMOGENEOUS:
        return _HOMOGENEOUS[activation]
    if math.isinf(q):
        return 0.5 if activation in ("gelu", "silu") else 0.0
    return _expectation(_DERIVATIVES[activation], q)


def _expectation(function: Callable[[np.ndarray], np.ndarray], q: float) -> float:
    """E[f(√q z)²] by the trapezoidal rule, which is exact to rounding for analytic f once the step resolves it."""
    z, weight = _nodes()
    return float(weight @ function(math.sqrt(q) * z) ** 2)


@lru_cache(maxsize=1)
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    z = np.linspace(-12.0, 12.0, 24_001)
    return z, np.exp(-0.5 * z**2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)


def _logistic(u: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * u))


def _erf(u: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return erf(u)


def _gaussian_cdf(u: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + _erf(u / math.sqrt(2.0)))


def _gaussian_density(u: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)


_HOMOGENEOUS = {"relu": 0.5, "leaky_relu": 0.5 * (1.0 + LEAKY_RELU_SLOPE**2)}
"""E[φ(z)²] = E[φ'(z)²]."""
_VALUES = {
    "erf": _erf,
    "tanh": np.tanh,
    "sigmoid": _logistic,
    "gelu": lambda u: u * _gaussian_cdf(u),
    "silu": lambda u: u * _logistic(u),
}
_DERIVATIVES = {
    "erf": lambda u: 2.0 / math.sqrt(math.pi) * np.exp(-(u**2)),
    "tanh": lambda u: 1.0 - np.tanh(u) ** 2,
    "sigmoid": lambda u: _logistic(u) * (1.0 - _logistic(u)),
    "gelu": lambda u: _gaussian_cdf(u) + u * _gaussian_density(u),
    "silu": lambda u: _logistic(u) * (1.0 + u * _logistic(-u)),
}
