r"""The general path: Gram matrices from per-sample Jacobians, for parameters of any `torch.nn.Module`.

The Jacobian of n samples, C outputs and P parameters has n·C·P entries, which no machine has room for at P in
the millions. It is taken for a group of parameters at a time, and, where one parameter alone is too large,
for a block of samples at a time; the Gram matrices of the groups add up.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ntk_atlas.kernels.empirical.factors import LayerFactors
from ntk_atlas.kernels.empirical.gram import add_gram
from ntk_atlas.kernels.errors import RandomNetworkError
from ntk_atlas.memory import is_out_of_memory

log = logging.getLogger(__name__)


def add_jacobian_gram(
    kernel: Tensor,
    network: nn.Module,
    x1: Tensor,
    x2: Tensor | None,
    parameters: Mapping[str, Tensor],
    *,
    n_outputs: int,
    memory_budget: int,
    samples_a_call: int,
    sum_outputs: bool = False,
    scale: float = 1.0,
) -> None:
    """Adds the part of the NTK that belongs to `parameters` to `kernel`, in place.

    Args:
        kernel: `(1, C, n1, C, n2)`, C = 1 for sums over outputs, see `gram.add_gram`; with `x2` None at least its
            upper triangle is filled.
        network: in evaluation mode.
        x1: inputs `(n1, *shape)`.
        x2: inputs `(n2, *shape)`; None stands for `x1`.
        parameters: parameters by name, each name once.
        n_outputs: outputs of the network, or 1 with `sum_outputs`.
        memory_budget: bytes that the Jacobians held at one time may take.
        samples_a_call: samples whose Jacobians are taken at once.
        sum_outputs: whether Σ_c f_c stands for the outputs.
        scale: factor of what is added.
    """
    n2 = len(x1) if x2 is None else len(x2)

    def factors(x: Tensor, names: Sequence[str]) -> LayerFactors:
        jacobian = per_sample_jacobian(network, x, names, sum_outputs=sum_outputs, samples_a_call=samples_a_call)
        if kernel.shape[1] == 1:
            jacobian = jacobian.flatten(1).unsqueeze(1)
        return LayerFactors(None, jacobian.unsqueeze(0))

    for group, rows in _groups(parameters, n_outputs, memory_budget, len(x1) + (0 if x2 is None else n2)):
        for i in range(0, len(x1), rows):
            left = factors(x1[i : i + rows], group)
            for j in range(i if x2 is None else 0, n2, rows):
                if x2 is None and i == j:
                    right = left
                else:
                    right = factors((x1 if x2 is None else x2)[j : j + rows], group)
                tile = kernel[:, :, i : i + rows, :, j : j + rows]
                add_gram(tile, [left], [right], upper=x2 is None and i == j, scale=scale)
                del right
            del left  # before the next ones are made


def per_sample_jacobian(
    network: nn.Module, x: Tensor, names: Sequence[str], *, sum_outputs: bool = False, samples_a_call: int = 64
) -> Tensor:
    """∂f_c(x_i)/∂θ for the named parameters, `(n, C, P)`.

    Modules that `torch.func.vmap` cannot batch (data-dependent control flow, operators without a batching rule, or
    with a wrong one: each batch is held against one plain backward pass) are differentiated one sample at a time:
    slower, the same numbers.

    Args:
        network: in evaluation mode.
        x: inputs `(n, *shape)`.
        names: names of parameters.
        sum_outputs: whether Σ_c f_c stands for the outputs, so that C = 1.
        samples_a_call: samples whose Jacobians are taken at once.

    Returns:
        The Jacobian, parameters flattened in the order of `names`.

    Raises:
        RandomNetworkError: if the network draws random numbers.
        RuntimeError: if a block of samples does not fit on the device.
    """
    own = dict(network.named_parameters())
    chosen = {name: own[name].detach() for name in names}

    def outputs(parameters: dict[str, Tensor], samples: Tensor) -> Tensor:
        output = functional_call(network, parameters, (samples,))
        return output.sum(-1, keepdim=True) if sum_outputs else output

    def of_sample(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return outputs(parameters, sample.unsqueeze(0)).squeeze(0)

    jacobian, start, batching = None, 0, True
    for block in x.split(samples_a_call):
        part = _in_a_batch(outputs, of_sample, chosen, block) if batching else None
        if part is None:
            batching = False
            part = torch.stack([_one_sample(of_sample, chosen, sample) for sample in block])
        jacobian = part.new_empty(len(x), *part.shape[1:]) if jacobian is None else jacobian
        jacobian[start : start + len(block)] = part
        start += len(block)
    return jacobian


def _in_a_batch(outputs: Callable, of_sample: Callable, chosen: dict[str, Tensor], x: Tensor) -> Tensor | None:
    """Returns the Jacobian `(n, C, P)` of a batch, or None if it cannot be had by vmap, or comes out wrong.

    Raises:
        RandomNetworkError: if the network draws random numbers.
        RuntimeError: if the batch does not fit on the device.
    """
    try:
        with plain_attention():
            jacobian = vmap(jacrev(of_sample), (None, 0))(chosen, x)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        if "randomness" in str(error):
            raise RandomNetworkError(
                "the network draws random numbers in evaluation mode: its NTK is random"
            ) from error
        log.warning("one sample at a time, because vmap cannot batch the network: %s", error)
        return None
    jacobian = torch.cat([jacobian[name].flatten(2) for name in chosen], dim=2).detach()
    if not _adds_up(jacobian, outputs, chosen, x):
        log.warning("one sample at a time, because vmap computes wrong gradients of this network")
        return None
    return jacobian


def _adds_up(jacobian: Tensor, outputs: Callable, chosen: dict[str, Tensor], x: Tensor) -> bool:
    """Returns whether Σ_ic v_ic J_ic is what one backward pass gives, for fixed v without any symmetry."""
    v = torch.sin(1.0 + torch.arange(jacobian.shape[:2].numel(), dtype=x.dtype, device=x.device) ** 2)
    v = v.view(jacobian.shape[:2]).to(jacobian)
    leaves = {name: p.clone().requires_grad_() for name, p in chosen.items()}
    with torch.enable_grad():
        total = (outputs(leaves, x) * v).sum()
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
    expected = torch.cat([g.flatten() for g in gradients])
    found = torch.einsum("ic,icp->p", v, jacobian)
    size = torch.einsum("ic,icp->p", v.abs(), jacobian.abs())
    finite = torch.isfinite(expected)
    gap = (found - expected).abs()[finite]
    return bool((gap <= torch.finfo(jacobian.dtype).eps ** 0.5 * size[finite]).all())


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention as separate products: its fused forms have no rules for tangents, nor for batches of gradients."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _one_sample(outputs: Callable, parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
    """Returns the Jacobian `(C, P)` by one backward pass an output."""
    parameters = {name: p.requires_grad_() for name, p in parameters.items()}
    output = outputs(parameters, sample)
    rows = []
    for component in output:
        gradients = torch.autograd.grad(
            component, list(parameters.values()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        rows.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(rows)


def _groups(
    parameters: Mapping[str, Tensor], n_outputs: int, memory_budget: int, n_samples: int
) -> Iterator[tuple[list[str], int]]:
    """Groups of names whose Jacobian of all samples fits, each with the samples a block may have.

    Half of the budget is for the Jacobian, half for the copies on the way to it.
    """
    group: list[str] = []
    used = 0
    for name, p in parameters.items():
        size = 2 * n_outputs * p.numel() * p.element_size()
        if group and (used + size) * n_samples > memory_budget:
            yield group, n_samples
            group, used = [], 0
        if size * n_samples > memory_budget:
            yield [name], max(1, memory_budget // (2 * size))
        else:
            group.append(name)
            used += size
    if group:
        yield group, n_samples
