"""Gradients of a network's outputs by plain backward passes: what every quicker way is held against, or falls back to.

They are taken of the module itself, with its own parameters, as training takes them: so they are right for modules that
run parts of themselves again in the backward pass (checkpoints), that are scripted, or that hold a parameter twice.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from ntk_atlas.kernels.empirical.network_checks import rounding, run, trainable_parameters
from ntk_atlas.networks.running import accumulated_gradients, without_symmetry


def gradients(
    total: Tensor, parameters: Sequence[Tensor], *, retain_graph: bool = False, accumulates: bool = False
) -> list[Tensor]:
    """Gradients of a number with respect to parameters, dense, zero for those that it does not depend on.

    Args:
        total: the number.
        parameters: which.
        retain_graph: whether its graph is needed again.
        accumulates: see `NetworkStructure.accumulates`.

    Returns:
        One tensor a parameter.
    """
    if not total.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    found: Sequence[Tensor | None]
    if accumulates:
        found = accumulated_gradients(total, parameters, retain_graph=retain_graph)
    else:
        found = torch.autograd.grad(total, list(parameters), retain_graph=retain_graph, allow_unused=True)
    return [
        torch.zeros_like(p) if g is None else g.to_dense() if g.layout != torch.strided else g
        for g, p in zip(found, parameters, strict=True)
    ]


def gradients_accumulate(network: nn.Module, output: Tensor) -> bool:
    """Whether gradients arrive in full in `p.grad` only, see `NetworkStructure.accumulates`.

    Functions that run a backward pass of their own in their backward pass (checkpoints in torch's older, reentrant
    form; reversible networks) leave gradients there, and none, or an error, for `torch.autograd.grad`.

    Args:
        network: in evaluation mode.
        output: of some samples, with its graph, which stays.

    Returns:
        Whether they do.

    Raises:
        RuntimeError: what a backward pass raises.
    """
    if not any(isinstance(node, BackwardCFunction) for node in graph_nodes(output)):
        return False
    parameters = list(trainable_parameters(network).values())
    total = (output * without_symmetry(*output.shape, like=output)).sum()
    try:
        direct = gradients(total, parameters, retain_graph=True)
    except RuntimeError as error:
        if "checkpoint" in str(error).lower():
            return True
        raise
    summed = gradients(total, parameters, retain_graph=True, accumulates=True)
    tolerance = rounding(output, *parameters) ** 0.5
    return not all(
        torch.allclose(a, b, rtol=tolerance, atol=tolerance * float(b.abs().amax().nan_to_num(0.0)), equal_nan=True)
        for a, b in zip(direct, summed, strict=True)
        if b.numel()
    )


def gradients_add_up(network: nn.Module, x: Tensor, accumulates: bool) -> bool:
    """Whether the gradients of a batch are the sum of its samples'.

    They are not where a backward pass looks at the batch: shares of tokens scale them, or the number of samples.

    Args:
        network: in evaluation mode.
        x: one sample or more.
        accumulates: see `NetworkStructure.accumulates`.

    Returns:
        Whether they are.
    """
    parameters = list(trainable_parameters(network).values())
    x = torch.cat([x, x])  # what samples may have in common, two equal ones have

    def pulled_back(samples: Tensor, u: Tensor | None) -> tuple[list[Tensor], Tensor]:
        samples = samples.clone().requires_grad_() if accumulates and samples.is_floating_point() else samples
        output = run(network, samples)
        u = without_symmetry(*output.shape, like=output.detach()) if u is None else u
        return gradients((output * u).sum(), parameters, accumulates=accumulates), u

    together, u = pulled_back(x, None)
    alone = [pulled_back(x[i : i + 1], u[i : i + 1])[0] for i in range(len(x))]
    eps = rounding(u, *parameters)
    for batch, *samples in zip(together, *alone, strict=True):
        size = sum(g.abs() for g in samples)
        largest = size.max() if size.numel() else 0.0
        if bool(((batch - sum(samples)).abs() > eps**0.5 * (size + largest)).any()):
            return False
    return True


def graph_nodes(output: Tensor) -> Iterator[Node]:
    """The nodes of the graph of `output`, each once; leaves have a `variable`."""
    seen: set[Node] = set()
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        waiting += [following for following, _ in node.next_functions]
