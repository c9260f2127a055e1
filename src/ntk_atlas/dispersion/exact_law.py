r"""Θ(x, x) of ReLU networks with biases 0 at initialization, drawn from its exact law layer by layer.

With u_l = ‖x^l‖², k_l active units in layer l and c_l = σ_w²/fan-in, Gaussian weights give

    k_l ~ Bin(M, ½),      u_l = u_{l−1} c_l χ²(k_l),      f² = u_H c_L χ²(1),
    ‖δ^L‖² = 1,           ‖δ^l‖² = f²/u_l + ‖δ^{l+1}‖² c_{l+1} χ²(k_l − 1),

independent χ² throughout: W^{l+1}ᵀ δ^{l+1} has the component f/‖x^l‖ along x^l, which lies among the active units, and
independent Gaussians across it. A layer without an active unit ends the network: f = 0 and δ = 0 below it. So O(L)
numbers give what a network takes O(L M²) for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ntk_atlas.dispersion.inputs import InitialKernelLaw

_BLOCK_NUMBERS = 2**21
"""χ² numbers of a block of draws: 16 MiB."""


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
