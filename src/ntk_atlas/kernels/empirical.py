r"""The empirical neural tangent kernel of any `torch.nn.Module`.

    Θ_θ(x, x') = Σ_p ∂_p f(x) ∂_p f(x')ᵀ        (C × C a pair; Jacot et al. 2018, equation 4)

over the trainable parameters, in evaluation mode. Each parameter goes the cheapest exact way: those of affine
layers through the layer factors (`layer_factors`), all others through per-sample Jacobians (`jacobian`).
"""

import torch
from torch import Tensor, nn

from ntk_atlas.kernels.gram import add_gram, check_output_reduction, mirror_upper
from ntk_atlas.kernels.jacobian import add_jacobian_gram
from ntk_atlas.kernels.layer_factors import affine_layers, capture_factors
from ntk_atlas.kernels.network_checks import (
    check_network_and_inputs,
    check_same_kind,
    evaluation_mode,
    n_samples,
    trainable_parameters,
)
from ntk_atlas.networks.stacked import StackedNetwork

_GIBIBYTE = 2**30


def empirical_ntk(
    network: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    output_reduction: str = "mean",
    memory_budget: int = _GIBIBYTE,
) -> Tensor:
    r"""Empirical NTK of a network, or of every member of a stack.

    Parameters with `requires_grad` False do not count. A member whose weights are not finite gets a kernel
    that is not finite; the others are not touched by it.

    Args:
        network: maps `(n, *shape)` to `(n, C)`, each sample by itself; or a `StackedNetwork` of S members.
        x1: inputs `(n1, *shape)`, for a stack also `(S, n1, *shape)`; precision and device of the network.
        x2: inputs of the second argument; None stands for `x1` and gives an exactly symmetric kernel.
        output_reduction: `full`: Θ_cc'; `trace`: Σ_c Θ_cc; `mean`: Σ_c Θ_cc / C; `logit_sum`: Σ_cc' Θ_cc',
            the kernel of the summed outputs (Mohamadi, Bae & Sutherland 2023).
        memory_budget: bytes that per-sample Jacobians may take at one time; the layer factors, n·Σ(fan_in +
            C·fan_out) numbers, come on top.

    Returns:
        `(n1, n2)`, for `full` `(n1, n2, C, C)`; a stack's kernels have a leading axis S. The (n1·C) × (n2·C)
        matrix of a full kernel is `kernel.transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)`.

    Raises:
        ValueError: if the reduction is unknown, inputs are empty, not finite or do not match each other or
            the network, or the network has nothing to train, mixes samples, or does not map to `(n, C)`.
    """
    check_output_reduction(output_reduction)
    check_network_and_inputs(network, x1, "x1")
    if x2 is not None:
        check_network_and_inputs(network, x2, "x2")
        check_same_kind(network, x1, x2)
    with evaluation_mode(network), torch.inference_mode(False), torch.enable_grad():
        x1 = x1.clone() if x1.is_inference() else x1.detach()
        if x2 is not None:
            x2 = x2.clone() if x2.is_inference() else x2.detach()
        return _kernel(network, x1, x2, output_reduction, memory_budget)


def _kernel(network: nn.Module, x1: Tensor, x2: Tensor | None, output_reduction: str, memory_budget: int) -> Tensor:
    layers, n_outputs = affine_layers(network, x1)
    owned = {id(p) for layer in layers for p in layer.parameters()}
    others = {name: p for name, p in trainable_parameters(network).items() if id(p) not in owned}
    stacked = isinstance(network, StackedNetwork)
    if stacked and others:
        return _member_by_member(network, x1, x2, output_reduction, memory_budget)

    sum_outputs = output_reduction == "logit_sum"
    scale = 1.0 / n_outputs if output_reduction == "mean" else 1.0
    left = capture_factors(network, x1, layers, sum_outputs=sum_outputs)
    right = left if x2 is None else capture_factors(network, x2, layers, sum_outputs=sum_outputs)
    n_members = network.n_members if stacked else 1
    n1, n2 = n_samples(network, x1), n_samples(network, x1 if x2 is None else x2)
    shape = (n1, n_outputs, n2, n_outputs) if output_reduction == "full" else (n1, n2)
    dtype = next(iter(trainable_parameters(network).values())).dtype
    kernel = torch.zeros(n_members, *shape, dtype=dtype, device=x1.device)
    with torch.no_grad():
        add_gram(kernel, left, right, upper=x2 is None, scale=scale)
    if others:
        add_jacobian_gram(
            kernel,
            network,
            x1,
            x2,
            others,
            n_outputs=1 if sum_outputs else n_outputs,
            memory_budget=memory_budget,
            sum_outputs=sum_outputs,
            scale=scale,
        )
    if x2 is None:
        mirror_upper(kernel)
    kernel = kernel.transpose(2, 3) if output_reduction == "full" else kernel
    return kernel if stacked else kernel[0]


def _member_by_member(
    network: StackedNetwork, x1: Tensor, x2: Tensor | None, output_reduction: str, memory_budget: int
) -> Tensor:
    def of_member(x: Tensor | None, index: int) -> Tensor | None:
        return x[index] if x is not None and network.is_per_member(x) else x

    return torch.stack(
        [
            empirical_ntk(
                network.member(i),
                of_member(x1, i),
                of_member(x2, i),
                output_reduction=output_reduction,
                memory_budget=memory_budget,
            )
            for i in range(network.n_members)
        ]
    )
