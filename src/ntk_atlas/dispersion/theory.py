r"""R = E[Θ(x,x)²]/E[Θ(x,x)]² of deep ReLU networks with biases 0 at initialization: limits and sums over layers.

M is the width, L = depth + 1 the layers of weights, λ = L/M, a = σ_w²/2, and w = M‖x‖²/n₀ what the weights of a hidden
layer add to Θ for each 1 of its biases, at criticality (Hanin and Nica 2020 for exp(5λ); Seleznova and Kutyniok 2022
for the limits in the three phases). The weights' part of Θ scales as a^{L−1} exactly: its R does not depend on σ_w²,
and phases differ through the gradients in the biases only.
"""

import logging
import math

import numpy as np

from ntk_atlas.dispersion.inputs import InitialKernelLaw
from ntk_atlas.phases.phase import phase_of

log = logging.getLogger(__name__)

_LARGEST = 140.0


def _overflows(lam: float) -> bool:
    if lam <= _LARGEST:
        return False
    log.warning("the ratio E[Θ²]/E[Θ]² overflows: at λ = (depth + 1) / width ≈ %.4g it is of the order of e^{5λ}", lam)
    return True


def exponential_ratio(lam: float) -> float:
    """exp(5λ): the dispersion of a single layer's term, which the sum over layers stays below."""
    return math.inf if _overflows(lam) else math.exp(5.0 * lam)


def weights_ratio_limit(lam: float) -> float:
    """R of the weights' part, in any phase, and of all parameters in the chaotic phase, L, M → ∞ at fixed λ > 0.

    R → (1/2λ) [e^{5λ} + (e^λ − e^{5λ})/(4λ)].
    """
    if _overflows(lam):
        return math.inf
    return (math.exp(5 * lam) + (math.exp(lam) - math.exp(5 * lam)) / (4 * lam)) / (2 * lam)


def critical_ratio_limit(lam: float, w: float) -> float:
    """R over all parameters in the standard parameterization at σ_w² = 2, L, M → ∞ at fixed λ > 0.

    R → [w² I_ww + 2w I_wb + I_bb]/(1 + w)², where I_ww is `weights_ratio_limit`, I_bb = 2 (e^{5λ} − 1 − 5λ)/(25λ²) and
    I_wb = I_bb/2 + (1/λ) [e^{5λ}(1 − e^{−4λ})/(4λ) − (e^{5λ} − 1)/(5λ)].

    Args:
        lam: λ.
        w: M‖x‖²/n₀.

    Returns:
        The limit.
    """
    if _overflows(lam):
        return math.inf
    growth = math.expm1(5 * lam)
    biases = 2 * (growth - 5 * lam) / (25 * lam**2)
    mixed = biases / 2 + (-math.exp(5 * lam) * math.expm1(-4 * lam) / (4 * lam) - growth / (5 * lam)) / lam
    return (w**2 * weights_ratio_limit(lam) + 2 * w * mixed + biases) / (1 + w) ** 2


def ordered_ratio_limit(a: float, width: int) -> float:
    """R over all parameters in the standard parameterization at a = σ_w²/2 < 1, for L ≫ 1/|log a|.

    R → (1 − a²)/(1 − (1 + 5/M) a²): the biases of the last layers are all that is left.

    Args:
        a: χ₁ = σ_w²/2.
        width: M.

    Returns:
        The limit; NaN where it does not exist, (1 + 5/M) a² ≥ 1.
    """
    rest = 1.0 - (1.0 + 5.0 / width) * a**2
    return (1.0 - a**2) / rest if rest > 0.0 else math.nan


def finite_sum_ratio(log_weight_means: np.ndarray, log_bias_means: np.ndarray, width: int) -> float:
    """R as the sum over pairs of layers, to leading order in 1/M: within 1 % at L = 10, 4 % at L = 25 for M = 100.

    With p = 1 + 5/M, q = 1 + 1/M, H = L − 1 and layers l, k = 1 … L (i the smaller, j the larger), the second moment of
    two terms over the product of their means is p^{i−1} q^{j−i} p^{H−j+1} for two weight terms, p^{H−j+1} for two bias
    terms, and for weights of l with biases of k: p^{H−k+1} if l ≤ k, else q^{l−k} p^{H−l+1}.

    Args:
        log_weight_means: logarithm of the mean of each layer's weight term, `(L,)`.
        log_bias_means: likewise of the biases; −∞ where they do not count.
        width: M.

    Returns:
        R.
    """
    n_layers = len(log_weight_means)
    layer = np.arange(1, n_layers + 1)
    l, k = layer[:, None], layer[None, :]  # noqa: E741
    i, j = np.minimum(l, k), np.maximum(l, k)
    log_p, log_q = math.log1p(5.0 / width), math.log1p(1.0 / width)
    if _overflows(n_layers * log_p / 5.0):
        return math.inf
    weights = (i - 1 + n_layers - j) * log_p + (j - i) * log_q
    biases = (n_layers - j) * log_p
    mixed = np.where(l <= k, (n_layers - k) * log_p, (l - k) * log_q + (n_layers - l) * log_p)
    means = np.concatenate([log_weight_means, log_bias_means])
    means = np.exp(means - means.max())
    factors = np.exp(np.block([[weights, mixed], [mixed.T, biases]]))
    return float(means @ factors @ means / means.sum() ** 2)


def finite_sum(law: InitialKernelLaw, init_scale: float, *, weights_only: bool = False) -> float:
    """`finite_sum_ratio` of a family of networks at one σ_w², any phase.

    Means: ‖x‖² a^{L−1} for the weights of layer 1, w a^{L−1} for those of the others, a^{L−l} for the biases of layer
    l, each times the squared factor of the parameterization.

    Args:
        law: networks and input.
        init_scale: σ_w².
        weights_only: leave the biases out.

    Returns:
        R, or NaN where the sums do not hold: other activations, or biases that are not 0 at initialization.
    """
    if not law.has_exact_law:
        return math.nan
    log_a, n = math.log(init_scale / 2.0), law.n_layers
    means = np.full(n, law.width * law.squared_norm / law.n_inputs)
    means[0] = law.squared_norm
    log_weights = np.log(means * law.weight_gradient_factors(init_scale)) + (n - 1) * log_a
    log_biases = (n - np.arange(1, n + 1)) * log_a
    if weights_only or not law.has_bias_gradients:
        log_biases = np.full(n, -np.inf)
    return finite_sum_ratio(log_weights, log_biases, law.width)


def ratio_limit(law: InitialKernelLaw, init_scale: float, *, weights_only: bool = False) -> float:
    """The limit of R that holds in the phase of an initialization; NaN where none is known.

    Args:
        law: networks and input.
        init_scale: σ_w².
        weights_only: leave the biases out.

    Returns:
        `weights_ratio_limit` without gradients in the biases and in the chaotic phase, else `critical_ratio_limit` or
        `ordered_ratio_limit`.
    """
    if not law.has_exact_law:
        return math.nan
    lam = law.n_layers / law.width
    phase = phase_of(law.network, init_scale)
    if weights_only or not law.has_bias_gradients or phase.name == "chaotic":
        return weights_ratio_limit(lam)
    if phase.name == "critical":
        return critical_ratio_limit(lam, law.width * law.squared_norm / law.n_inputs)
    return ordered_ratio_limit(init_scale / 2.0, law.width)
