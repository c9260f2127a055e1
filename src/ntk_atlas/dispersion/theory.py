"""The law of Θ(x, x) over initializations of deep ReLU networks with biases 0: exact, and its limits.

The law depends on one family of networks and the geometry of two inputs (`InitialKernelLaw`).

Θ(x, x) is drawn exactly layer by layer. With u_l = ‖x^l‖², k_l active units in layer l and c_l = σ_w²/fan-in, Gaussian
weights give

    k_l ~ Bin(M, ½),      u_l = u_{l−1} c_l χ²(k_l),      f² = u_H c_L χ²(1),
    ‖δ^L‖² = 1,           ‖δ^l‖² = f²/u_l + ‖δ^{l+1}‖² c_{l+1} χ²(k_l − 1),

independent χ² throughout: W^{l+1}ᵀ δ^{l+1} has the component f/‖x^l‖ along x^l, which lies among the active units, and
independent Gaussians across it. A layer without an active unit ends the network: f = 0 and δ = 0 below it. So O(L)
numbers give what a network takes O(L M²) for.

R = E[Θ(x,x)²]/E[Θ(x,x)]² has limits and sums over layers. M is the width, L = depth + 1 the layers of weights, λ = L/M,
a = σ_w²/2, and w = M‖x‖²/n₀ what the weights of a hidden layer add to Θ for each 1 of its biases, at criticality (Hanin
and Nica 2020 for exp(5λ); Seleznova and Kutyniok 2022 for the limits in the three phases). The weights' part of Θ
scales as a^{L−1} exactly: its R does not depend on σ_w², and phases differ through the gradients in the biases only.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ntk_atlas.activations import built_in
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.parameterizations import Parameter, layer_parameters, parameterization
from ntk_atlas.phases import phase_of

log = logging.getLogger(__name__)

PARAMETERS = ("all", "weights")
"""Which parameters Θ sums over: all that are trained, or the weights alone."""
_BLOCK_NUMBERS = 2**21
"""χ² numbers of a block of draws: 16 MiB."""

_LARGEST = 140.0


def has_exact_law(network: NetworkSettings) -> bool:
    """Whether Θ(x, x) has a law that a chain of layers draws exactly: ReLU with biases 0 at initialization."""
    if network.family.without_dispersion() or network.bias_variance != 0.0:
        return False
    phi = built_in(network.activation)
    return phi is not None and phi.homogeneous == (0.0, 1.0)


@dataclass(frozen=True)
class InitialKernelLaw:
    """Networks of one depth and width with one output, at x and inputs x_r with ‖x_r‖ = ‖x‖ and cosines r.

    First-layer weights are Gaussian, so that the joint law of the kernel depends on the inputs through ‖x‖² and r
    alone: x = ‖x‖ e₁ and x_r = ‖x‖ (r e₁ + √(1 − r²) e₂) stand for all, and of the first layer only two columns
    matter, whatever n₀ is.

    Attributes:
        network: activation, parameterization, σ_b², biases and output scale.
        depth: hidden layers.
        width: units of each hidden layer.
        n_inputs: n₀, of which the first layer's weight variance σ_w²/n₀ depends.
        squared_norm: ‖x‖².
        correlations: cosines r, the first of them 1.
    """

    network: NetworkSettings
    depth: int
    width: int
    n_inputs: int
    squared_norm: float = 1.0
    correlations: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if reason := self.network.family.without_dispersion():
            raise ValueError(reason)
        if self.correlations[0] != 1.0:
            raise ValueError(f"correlations {self.correlations} must start with 1, the diagonal")

    @property
    def n_layers(self) -> int:
        """L, the layers of weights: depth + 1."""
        return self.depth + 1

    @property
    def inputs(self) -> np.ndarray:
        """The inputs in the plane that they span, `(n_correlations, 2)`."""
        r = np.array(self.correlations)
        inputs: np.ndarray = np.sqrt(self.squared_norm) * np.stack([r, np.sqrt(1.0 - r**2)], axis=1)
        return inputs

    @property
    def has_bias_gradients(self) -> bool:
        """Whether gradients in the biases enter Θ: they are trained, and the parameterization gives them weight."""
        return self.bias_gradient_factor > 0.0

    @property
    def has_exact_law(self) -> bool:
        """Whether Θ(x, x) has a law that a chain of layers draws exactly: ReLU with biases 0 at initialization."""
        return has_exact_law(self.network)

    def weight_gradient_factors(self, init_scale: float) -> np.ndarray:
        """(∂z/∂W over x)² of each layer, `(L,)`: 1, or σ_w²/fan-in under the NTK parameterization."""
        value, weights = parameterization(self.network.parameterization), [weight for weight, _ in self._parameters]
        return np.array([value.kernel_factor(weight, init_scale) / weight.fan_in for weight in weights])

    @cached_property
    def bias_gradient_factor(self) -> float:
        """(∂z/∂b)²: 1, or σ_b² under the NTK parameterization; 0 if biases are not trained."""
        if not self.network.trainable_biases:
            return 0.0
        bias = self._parameters[-1][1]
        return parameterization(self.network.parameterization).kernel_factor(bias, self.network.bias_variance)

    @cached_property
    def _parameters(self) -> list[tuple[Parameter, Parameter]]:
        return layer_parameters([self.n_inputs, *[self.width] * self.depth], self.width)


@dataclass(frozen=True)
class ExactMoments:
    """Moments of Θ(x, x) with standard errors; all arrays `(n_init_scales, 2)`, all parameters, then weights alone.

    Attributes:
        ratio: R = E[Θ²]/E[Θ]².
        ratio_error: its standard error, by the delta method.
        log_variance: Var log Θ over the draws with Θ > 0.
        log_variance_error: its standard error.
        mean: E[Θ].
    """

    ratio: np.ndarray
    ratio_error: np.ndarray
    log_variance: np.ndarray
    log_variance_error: np.ndarray
    mean: np.ndarray


def exact_moments(
    law: InitialKernelLaw, init_scales: Sequence[float], n_draws: int, generator: np.random.Generator
) -> ExactMoments:
    """Moments over `n_draws` draws; memory does not grow with their number.

    Args:
        law: networks and input; correlations do not matter.
        init_scales: values of σ_w²; all have the same χ² numbers.
        n_draws: draws.
        generator: random stream.

    Returns:
        The moments.
    """
    shape = (5, len(init_scales), 2)
    powers, logs = np.zeros(shape), np.zeros(shape)
    scale = shift = None
    for block in exact_draws(law, init_scales, n_draws, generator):
        if scale is None:  # powers of what is of order one
            scale = block.mean(axis=1)
        relative = block / scale[:, None]
        positive = relative > 0.0
        log = np.log(relative, out=np.zeros_like(relative), where=positive)
        if shift is None:
            shift = log.sum(axis=1) / positive.sum(axis=1)
        log = np.where(positive, log - shift[:, None], 0.0)
        for power in range(5):
            powers[power] += (relative**power).sum(axis=1)
            logs[power] += positive.sum(axis=1) if power == 0 else (log**power).sum(axis=1)
    one, two, three, four = powers[1:] / powers[0]
    ratio = two / one**2
    influence = (
        (four - two**2) / one**4 - 4 * ratio * (three - one * two) / one**3 + 4 * ratio**2 * (two - one**2) / one**2
    )
    log_variance, log_fourth = _central(logs)
    return ExactMoments(
        ratio=ratio,
        ratio_error=np.sqrt(np.maximum(influence, 0.0) / n_draws),
        log_variance=log_variance,
        log_variance_error=np.sqrt(np.maximum(log_fourth - log_variance**2, 0.0) / logs[0]),
        mean=one * scale,
    )


def exact_draws(
    law: InitialKernelLaw, init_scales: Sequence[float], n_draws: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Draws of Θ(x, x), in blocks that do not depend on `n_draws`.

    Args:
        law: networks and input.
        init_scales: values of σ_w².
        n_draws: draws in all.
        generator: random stream.

    Yields:
        Blocks `(n_init_scales, n, 2)`: Θ over all parameters, and over the weights alone.

    Raises:
        ValueError: if this law does not hold for the networks.
    """
    if not law.has_exact_law:
        raise ValueError(
            "the exact law is that of ReLU networks whose biases are 0 at initialization, not of "
            f"{law.network.activation} with bias_variance {law.network.bias_variance:g}"
        )
    block = max(1, _BLOCK_NUMBERS // (2 * law.n_layers))
    for start in range(0, n_draws, block):
        chi = _chi_squares(law, block, generator)
        kept = slice(0, min(block, n_draws - start))
        yield np.stack([_kernel(law, scale, chi, kept) for scale in init_scales])


@dataclass(frozen=True)
class _ChiSquares:
    """χ² numbers of a block: forward and across `(depth, n)`, output `(n,)`."""

    forward: np.ndarray
    across: np.ndarray
    output: np.ndarray


def _chi_squares(law: InitialKernelLaw, n: int, generator: np.random.Generator) -> _ChiSquares:
    active = generator.binomial(law.width, 0.5, size=(law.depth, n))
    return _ChiSquares(
        forward=2.0 * generator.standard_gamma(0.5 * active),
        across=2.0 * generator.standard_gamma(0.5 * np.maximum(active - 1, 0)),
        output=generator.chisquare(1, size=n),
    )


def _kernel(law: InitialKernelLaw, init_scale: float, chi: _ChiSquares, kept: slice) -> np.ndarray:
    fan_in = (law.n_inputs, *[law.width] * law.depth)
    factors = law.weight_gradient_factors(init_scale)
    squared = [np.full(len(chi.output[kept]), law.squared_norm)]
    for layer in range(law.depth):
        squared.append(squared[-1] * (init_scale / fan_in[layer]) * chi.forward[layer, kept])
    squared_output = squared[-1] * (init_scale / fan_in[-1]) * chi.output[kept]
    delta = np.ones_like(squared_output)
    weights, biases = factors[-1] * squared[-1], delta.copy()
    for layer in reversed(range(law.depth)):
        after = squared[layer + 1]
        along = np.divide(squared_output, after, out=np.zeros_like(after), where=after > 0.0)
        delta = along + delta * (init_scale / fan_in[layer + 1]) * chi.across[layer, kept]
        delta[after == 0.0] = 0.0  # a layer without an active unit, or one above it
        weights += factors[layer] * squared[layer] * delta
        biases += delta
    everything = weights + law.bias_gradient_factor * biases if law.has_bias_gradients else weights
    return law.network.output_scale**2 * np.stack([everything, weights], axis=1)


def _central(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Second and fourth central moment from sums of powers 0 … 4."""
    one, two, three, four = sums[1:] / sums[0]
    variance = two - one**2
    return variance, four - 4 * one * three + 6 * one**2 * two - 3 * one**4


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
        log_bias_means: the same logarithms for the biases; −∞ where biases do not count.
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
