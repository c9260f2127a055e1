r"""Products K v with an empirical NTK that is too large to be stored.

    (Θ v)(x) = J(x) Σ_j J(x_j)ᵀ v_j        (one vector-Jacobian and one Jacobian-vector product)

where J is the Jacobian with respect to the trainable parameters. It costs a forward and a backward pass over the
columns and a forward pass with tangents over the rows; what is held is one vector of parameters and a pass.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from ntk_atlas.kernels.empirical.gram import check_output_reduction
from ntk_atlas.kernels.empirical.jacobian import plain_attention
from ntk_atlas.kernels.empirical.memory_plan import samples_a_pass
from ntk_atlas.kernels.empirical.network_checks import (
    check_network_and_inputs,
    check_same_kind,
    evaluation_mode,
    trainable_parameters,
)
from ntk_atlas.kernels.empirical.structure import probe_network
from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.memory import default_memory_limit
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.numerics import precise_math


def empirical_ntk_operator(
    network: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    output_reduction: str = "mean",
    memory_limit: int | None = None,
) -> Callable[[Tensor], Tensor]:
    r"""The empirical NTK as a linear map that is never formed.

    Args:
        network: a single module, see `empirical_ntk`; of a stack take `network.member(i)`.
        x1: inputs of the rows, `(n1, *shape)`.
        x2: inputs of the columns, `(n2, *shape)`; None stands for `x1`.
        output_reduction: see `empirical_ntk`.
        memory_limit: bytes that one pass may take; likewise.

    Returns:
        A function of v: `(n2, C)` → `(n1, C)`, v_jc' ↦ Σ_jc' Θ_cc'(x_i, x_j) v_jc', for the full kernel; else
        `(n2, k)` → `(n1, k)` for any number k of columns, each a vector. It is linear and without memory of former
        calls, and raises KernelInputError for a vector of another shape.

    Raises:
        KernelInputError: see `empirical_ntk`; also for a stack of networks.
    """
    check_output_reduction(output_reduction)
    if isinstance(network, StackedNetwork):
        raise KernelInputError("a stack has one kernel a member: take the operator of `network.member(i)`")
    check_network_and_inputs(network, x1, "x1")
    if x2 is not None:
        check_network_and_inputs(network, x2, "x2")
        check_same_kind(network, x1, x2)
    with evaluation_mode(network), torch.enable_grad():
        structure = probe_network(network, x1)
    limit = default_memory_limit(x1.device) if memory_limit is None else memory_limit
    chosen = {name: p.detach() for name, p in trainable_parameters(network).items()}
    n_outputs = structure.n_outputs
    columns = x1 if x2 is None else x2
    # Tangents and what the transforms keep come to about three times the graph of a plain pass.
    block = samples_a_pass(structure, limit, 3 * structure.graph_bytes)

    def directions(v: Tensor) -> list[Tensor]:
        # A scalar kernel is a sum over outputs of kernels of one output: as many full products as outputs.
        if output_reduction == "full":
            return [v]
        if output_reduction == "logit_sum":
            return [v[:, [k]].expand(-1, n_outputs) for k in range(v.shape[1])]
        unit = torch.eye(n_outputs, dtype=v.dtype, device=v.device)
        return [v[:, [k]] * unit[c] for k in range(v.shape[1]) for c in range(n_outputs)]

    def reduced(products: list[Tensor], k: int) -> Tensor:
        if output_reduction == "full":
            return products[0]
        if output_reduction == "logit_sum":
            return torch.stack([product.sum(1) for product in products], 1)
        parts = [product[:, i % n_outputs] for i, product in enumerate(products)]
        trace = torch.stack(parts, 1).unflatten(1, (k, n_outputs)).sum(2)
        return trace / n_outputs if output_reduction == "mean" else trace

    def matvec(v: Tensor) -> Tensor:
        width = n_outputs if output_reduction == "full" else None
        if v.dim() != 2 or len(v) != len(columns) or (width is not None and v.shape[1] != width):
            wanted = f"({len(columns)}, {'k' if width is None else width})"
            raise KernelInputError(f"the vector has shape {tuple(v.shape)}, the kernel takes {wanted}")
        with evaluation_mode(network), torch.inference_mode(False), precise_math():
            parameters = [_pulled_back(network, chosen, columns, d, block) for d in directions(v.to(columns))]
            products = [_pushed_forward(network, chosen, x1, p, block) for p in parameters]
        return reduced(products, v.shape[1])

    return matvec


def _pulled_back(network: nn.Module, chosen: dict[str, Tensor], x: Tensor, v: Tensor, block: int) -> dict[str, Tensor]:
    """Returns Σ_j J(x_j)ᵀ v_j, by parameter."""
    total = {name: torch.zeros_like(p) for name, p in chosen.items()}
    with torch.enable_grad():
        leaves = {name: p.clone().requires_grad_() for name, p in chosen.items()}
        for samples, weights in zip(x.split(block), v.split(block), strict=True):
            output = functional_call(network, leaves, (samples,))
            gradients = torch.autograd.grad((output * weights).sum(), list(leaves.values()), allow_unused=True)
            for name, gradient in zip(leaves, gradients, strict=True):
                if gradient is not None:
                    total[name] += gradient
    return total


def _pushed_forward(
    network: nn.Module, chosen: dict[str, Tensor], x: Tensor, direction: dict[str, Tensor], block: int
) -> Tensor:
    """Returns J(x_i) of a direction in parameter space, `(n, C)`."""
    parts = []
    with torch.no_grad(), plain_attention():
        for samples in x.split(block):

            def outputs(parameters: dict[str, Tensor], samples: Tensor = samples) -> Tensor:
                return functional_call(network, parameters, (samples,))

            parts.append(jvp(outputs, (chosen,), (direction,))[1])
    return torch.cat(parts)
