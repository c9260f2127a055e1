r"""Phases of initialization: does a signal's gradient vanish or explode with depth?

At infinite width the pre-activation variance of a layer follows q ← σ_w² E[φ(√q z)²] + σ_b², z ~ N(0, 1), to its
fixed point q*. There χ₁ = σ_w² E[φ'(√q* z)²] is the factor by which a squared gradient grows from layer to layer:
ordered χ₁ < 1, critical χ₁ = 1, chaotic χ₁ > 1 (Poole et al. 2016; Schoenholz et al. 2017). Over the depth scale
ξ₁ = 1/|log χ₁| it changes by a factor e.
"""

import math
from dataclasses import dataclass

from ntk_atlas.activations import ActivationChoice, activation
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.phases.fixed_point import fixed_point
from ntk_atlas.phases.moments import derivative_moment

CRITICAL_TOLERANCE = 2e-3
"""|χ₁ − 1| up to which an initialization counts as critical: tabulated critical points have four digits."""


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
