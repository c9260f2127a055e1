r"""Θ(x, x′) of thousands of untrained networks by one forward and one backward pass a stack, without a Jacobian.

For a network of fully connected layers z^l = W^l x^{l−1} + b^l, x^l = φ(z^l), with one output f = z^L, the gradient in
W^l is the outer product of δ^l = ∂f/∂z^l and x^{l−1}, so that

    Θ(x, x′) = Σ_l c_l ⟨x^{l−1}, x′^{l−1}⟩ ⟨δ^l, δ′^l⟩  (weights)  +  c_b Σ_l ⟨δ^l, δ′^l⟩  (biases),

with c_l = c_b = 1 in the standard parameterization, c_l = σ_w²/fan-in and c_b = σ_b² in the NTK parameterization.

Nearly all of the time goes into drawing normals. They are drawn once for all init scales, which only scale them: phases
are paired network by network. A stack is as large as its weights stay in cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.activations import Activation, activation
from ntk_atlas.dispersion.theory import InitialKernelLaw
from ntk_atlas.numerics import in_turn_or_at_once
from ntk_atlas.streams import torch_stream

CHUNK = 500
"""Networks of one random stream; part of what the numbers are, as the size of a stack is."""
_STACK_WEIGHTS = 2**22
"""Weights of a stack, if a network has no more: 16 MiB, in a cache or close to it."""


@dataclass(frozen=True)
class _Normals:
    """Standard normals of a stack: weights `(S, fan_out, fan_in)` a layer, biases `(S, fan_out)` if there are any."""

    weights: list[Tensor]
    biases: list[Tensor] | None


def initial_kernels(
    law: InitialKernelLaw, init_scales: Sequence[float], *, seed: int, chunks: Sequence[int], workers: int = 1
) -> np.ndarray:
    """Kernels of untrained networks; weights are single, sums over units and layers double precision.

    The weights of a chunk depend on (seed, depth, width, number of the chunk) alone: more networks leave the first
    ones as they are, and every init scale has the same normals.

    Args:
        law: networks and inputs.
        init_scales: values of σ_w².
        seed: seed of all networks.
        chunks: numbers of the chunks of `CHUNK` networks.
        workers: chunks at a time, each on one thread.

    Returns:
        Θ(x, x_r), `(n_init_scales, n_chunks, CHUNK, 2, n_correlations)`, float64: all parameters, then weights alone.
        Not finite where a network's signals left the range of float32.
    """
    shape = (len(init_scales), len(chunks), CHUNK, 2, len(law.correlations))
    kernels = np.empty(shape)

    def fill(place: int) -> None:
        _fill_chunk(kernels[:, place], law, init_scales, seed, chunks[place])

    in_turn_or_at_once(fill, range(len(chunks)), workers=min(workers, len(chunks)))
    return kernels


def _fill_chunk(out: np.ndarray, law: InitialKernelLaw, init_scales: Sequence[float], seed: int, chunk: int) -> None:
    labels = (seed, law.depth, law.width, chunk)
    weights = torch_stream("initial kernels", "weights", *labels)
    biases = torch_stream("initial kernels", "biases", *labels) if law.network.bias_variance > 0.0 else None
    sizes = (2, *[law.width] * law.depth, 1)
    stack = stack_size(law)
    phi = activation(law.network.activation)
    inputs = torch.from_numpy(law.inputs).to(torch.float32)
    buffers = [torch.empty(stack, n_out, n_in) for n_in, n_out in pairwise(sizes)]
    for start in range(0, CHUNK, stack):
        count = min(stack, CHUNK - start)
        for buffer in buffers:
            buffer[:count].normal_(generator=weights)
        normals = _Normals(
            [buffer[:count] for buffer in buffers],
            None if biases is None else [torch.randn(count, n_out, generator=biases) for n_out in sizes[1:]],
        )
        for place, init_scale in enumerate(init_scales):
            out[place, start : start + count] = _stack_kernels(law, float(init_scale), normals, inputs, phi)


def stack_size(law: InitialKernelLaw) -> int:
    """Returns how many networks go through together; it depends on depth and width alone."""
    return max(1, min(CHUNK // 5, _STACK_WEIGHTS // (law.depth * law.width**2)))


def _stack_kernels(
    law: InitialKernelLaw, init_scale: float, normals: _Normals, inputs: Tensor, phi: Activation
) -> np.ndarray:
    """Returns Θ of a stack, `(S, 2, n_correlations)`."""
    fan_in = [law.n_inputs, *[law.width] * law.depth]
    scales = [(init_scale / n) ** 0.5 for n in fan_in]
    sigma_b = law.network.bias_variance**0.5
    x = inputs.expand(len(normals.weights[0]), *inputs.shape)
    products, slopes = [], []
    for layer, (weight, scale) in enumerate(zip(normals.weights, scales, strict=True)):
        products.append(_products_with_first(x))
        if layer == law.depth:
            break
        z = torch.bmm(x, weight.transpose(1, 2)).mul_(scale)
        if normals.biases is not None:
            z.add_(normals.biases[layer].unsqueeze(1), alpha=sigma_b)
        x, slope = phi.with_slope(z)
        slopes.append(slope)
    factors = law.weight_gradient_factors(init_scale)
    delta = torch.ones(*x.shape[:2], 1)
    weights_part = torch.zeros(x.shape[:2], dtype=torch.float64)
    biases_part = torch.zeros_like(weights_part)
    for layer in reversed(range(law.n_layers)):
        gradients = _products_with_first(delta)
        weights_part += factors[layer] * products[layer] * gradients
        biases_part += gradients
        if layer > 0:
            delta = torch.bmm(delta, normals.weights[layer]).mul_(scales[layer]).mul_(slopes[layer - 1])
    everything = weights_part + law.bias_gradient_factor * biases_part if law.has_bias_gradients else weights_part
    return law.network.output_scale**2 * torch.stack([everything, weights_part], dim=1).numpy()


def _products_with_first(vectors: Tensor) -> Tensor:
    """⟨v_0, v_i⟩ of each network, `(S, n)`, in float64: squares of what float32 holds may be out of its range."""
    vectors = vectors.double()
    return torch.bmm(vectors, vectors[:, :1].transpose(1, 2)).squeeze(2)
