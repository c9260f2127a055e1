r"""The general path: Gram matrices from per-sample Jacobians, for parameters of any `torch.nn.Module`.

The Jacobian of n samples, C outputs and P parameters has n·C·P entries, which no machine has room for at P in
the millions. It is taken for a group of parameters at a time, and, where one parameter alone is too large,
for a block of samples at a time; the Gram matrices of the groups add up.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from ntk_atlas.kernels.empirical.gram import LayerFactors, add_gram
from ntk_atlas.kernels.empirical.network_checks import ROUNDED, gradients, rounding, run
from ntk_atlas.kernels.errors import RandomNetworkError
from ntk_atlas.networks.plain_state import called_with
from ntk_atlas.networks.running import is_scripted, without_symmetry
from ntk_atlas.numerics import is_out_of_memory

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
    accumulates: bool = False,
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
        accumulates: see `NetworkStructure.accumulates`.
        scale: factor of what is added.
    """
    n2 = len(x1) if x2 is None else len(x2)

    def factors(x: Tensor, names: Sequence[str]) -> LayerFactors:
        jacobian = per_sample_jacobian(
            network, x, names, sum_outputs=sum_outputs, samples_a_call=samples_a_call, accumulates=accumulates
        ).to(kernel.dtype)
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
    network: nn.Module,
    x: Tensor,
    names: Sequence[str],
    *,
    sum_outputs: bool = False,
    samples_a_call: int = 64,
    accumulates: bool = False,
) -> Tensor:
    """∂f_c(x_i)/∂θ for the named parameters, `(n, C, P)`.

    Modules that `torch.func.vmap` cannot batch (data-dependent control flow, operators without a batching rule, or
    with a wrong one: each batch is held against one plain backward pass) are differentiated one sample at a time, by
    plain backward passes: slower, the same numbers.

    Args:
        network: in evaluation mode.
        x: inputs `(n, *shape)`.
        names: names of parameters.
        sum_outputs: whether Σ_c f_c stands for the outputs, so that C = 1.
        samples_a_call: samples whose Jacobians are taken at once.
        accumulates: see `NetworkStructure.accumulates`.

    Returns:
        The Jacobian, parameters flattened in the order of `names`.

    Raises:
        RandomNetworkError: if the network draws random numbers.
        RuntimeError: if a block of samples does not fit on the device.
    """
    own = dict(network.named_parameters())
    chosen = {name: own[name] for name in names}
    batching = not (accumulates or is_scripted(network))
    for start, block in zip(range(0, len(x), samples_a_call), x.split(samples_a_call), strict=True):
        part = _in_a_batch(network, chosen, block, sum_outputs) if batching else None
        if part is None:
            batching = False
            rows = [jacobian_of_sample(network, chosen, sample, sum_outputs, accumulates) for sample in block]
            part = torch.stack(rows)
        if start == 0:
            jacobian = part.new_empty(len(x), *part.shape[1:])
        jacobian[start : start + len(block)] = part
    return jacobian


def jacobian_of_sample(
    network: nn.Module, chosen: Mapping[str, Tensor], sample: Tensor, sum_outputs: bool, accumulates: bool
) -> Tensor:
    """The Jacobian `(C, P)` at one sample, by one plain backward pass an output."""
    x = sample.unsqueeze(0)
    if accumulates and x.is_floating_point():  # such functions skip what no input of theirs needs a gradient for
        x = x.clone().requires_grad_()
    output = run(network, x)[0]
    components = [output.sum()] if sum_outputs else output.unbind()
    parameters = list(chosen.values())
    rows = []
    for component in components:
        more = component is not components[-1]
        parts = gradients(component, parameters, retain_graph=more, accumulates=accumulates)
        rows.append(torch.cat([g.flatten() for g in parts]))
    return torch.stack(rows)


def _in_a_batch(network: nn.Module, chosen: Mapping[str, Tensor], x: Tensor, sum_outputs: bool) -> Tensor | None:
    """Returns the Jacobian `(n, C, P)` of a batch, or None if it cannot be had by vmap, or comes out wrong.

    Raises:
        RandomNetworkError: if the network draws random numbers.
        RuntimeError: if the batch does not fit on the device.
    """

    def of_sample(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        output = called_with(network, parameters, sample.unsqueeze(0)).squeeze(0)
        return output.sum(-1, keepdim=True) if sum_outputs else output

    try:
        jacobian = vmap(jacrev(of_sample), (None, 0))({name: p.detach() for name, p in chosen.items()}, x)
    except Exception as error:  # whatever a network of a user's raises when its tensors are not plain ones
        if is_out_of_memory(error):
            raise
        if "randomness" in str(error):
            raise RandomNetworkError(
                "the network draws random numbers in evaluation mode: its NTK is random"
            ) from error
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        say_once(f"{type(network).__name__} goes one sample at a time: torch.func.vmap cannot batch it ({text[:150]})")
        return None
    parts = [jacobian[name].reshape(*jacobian[name].shape[:2], p.numel()) for name, p in chosen.items()]
    jacobian = torch.cat(parts, dim=2).detach()
    if not _adds_up(jacobian, network, list(chosen.values()), x, sum_outputs):
        say_once(
            f"{type(network).__name__} goes one sample at a time: torch.func.vmap computes other gradients of it than "
            "a backward pass"
        )
        return None
    return jacobian


@lru_cache(maxsize=256)
def say_once(text: str) -> None:
    """Warns of a way that a network takes; kernels are taken at every checkpoint, of every member."""
    log.warning(text)


def _adds_up(jacobian: Tensor, network: nn.Module, parameters: list[Tensor], x: Tensor, sum_outputs: bool) -> bool:
    """Returns whether Σ_ic v_ic J_ic is what one backward pass gives, for fixed v without any symmetry."""
    v = without_symmetry(*jacobian.shape[:2], like=jacobian)
    output = run(network, x)
    output = output.sum(-1, keepdim=True) if sum_outputs else output
    expected = torch.cat([g.flatten() for g in gradients((output * v).sum(), parameters)])
    found = torch.einsum("ic,icp->p", v, jacobian)
    size = torch.einsum("ic,icp->p", v.abs(), jacobian.abs())
    finite = torch.isfinite(expected)
    gap, size = (found - expected).abs()[finite], size[finite]
    eps = rounding(jacobian, output)
    largest = size[torch.isfinite(size)].amax() if size.numel() else 0.0
    return bool((gap <= eps**0.5 * size + ROUNDED * eps * largest).all())


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
