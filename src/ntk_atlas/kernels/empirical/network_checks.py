"""What a kernel asks of a network and its inputs, and the gradients that every quicker way is held against.

There is one entry for the kernel, its products and its callback. Gradients are taken by plain backward passes of the
module itself, with its own parameters, as training takes them: so they are right for modules that run parts of
themselves again in the backward pass (checkpoints), that are scripted, or that hold a parameter twice.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from numbers import Real

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from ntk_atlas.kernels.errors import KernelInputError, MixedSamplesError, RandomNetworkError
from ntk_atlas.networks.running import accumulated_gradients, without_symmetry, without_wrappers
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.numerics import Given, default_memory_limit, is_out_of_memory, real_tensor

# Samples of a network that are compared: alone, together, and in another order.
_SAMPLES = 8
# Rounding of a gradient's entry, in units of the largest entry of the network's gradient.
ROUNDED = 64
_HALF = (torch.float16, torch.bfloat16)


def checked(
    network: nn.Module, x1: Given, x2: Given | None = None, *, lost_members: bool = False
) -> tuple[nn.Module, Tensor, Tensor | None]:
    """The network and the inputs that a kernel is computed of, from what a caller gave.

    Of a network that `torch.compile` or a data-parallel wrapper holds it is the network inside. Inputs that are no
    torch tensors (NumPy arrays, data frames, numbers in lists) go to the network's device, and, if they are
    floating-point numbers, to its precision; integers stay integers, for they may be tokens.

    Args:
        network: what was given as the network.
        x1: what was given as inputs of the rows.
        x2: what was given as inputs of the columns, or None.
        lost_members: whether weights that are not finite are no fault, as of members of a stack.

    Returns:
        Network, x1 and x2; tensors that were given are detached.

    Raises:
        KernelInputError: whatever is wrong with them, see `check_network_and_inputs` and `check_same_kind`.
    """
    network = plain_module(network)
    given = {"x1": x1} | ({} if x2 is None else {"x2": x2})
    tensors = {name: input_tensor(network, x, name) for name, x in given.items()}
    for name, x in tensors.items():
        check_network_and_inputs(network, x, name)
    if x2 is not None:
        check_same_kind(network, *tensors.values())
    if not (lost_members or isinstance(network, StackedNetwork)):
        _check_weights(network)
    return network, tensors["x1"], tensors.get("x2")


def plain_module(network: nn.Module) -> nn.Module:
    """Returns the network that wrappers of torch hold, or itself; hooks on a wrapper keep it.

    Raises:
        KernelInputError: if it is no module, or its parameters are not all here.
    """
    if not isinstance(network, nn.Module):
        raise KernelInputError(
            f"the network is a {type(network).__name__}: give a torch.nn.Module, whose parameters are the kernel's"
        )
    network = without_wrappers(network)
    for name, p in network.named_parameters():
        if isinstance(p, nn.parameter.UninitializedParameter):
            raise KernelInputError(
                f"parameter {name!r} of a lazy module has no values yet: call the network on some inputs first"
            )
        if p.is_meta or not hasattr(p, "untyped_storage") or type(p.data) is not Tensor:
            raise KernelInputError(
                f"parameter {name!r} is no plain tensor of numbers ({type(p.data).__name__} on {p.device}): give a "
                "network whose parameters are whole, and on one device"
            )
        if p.is_inference():
            raise KernelInputError(
                f"parameter {name!r} was made under torch.inference_mode() and has no gradient: make the network "
                "outside of it"
            )
    return network


def checked_memory_limit(memory_limit: int | None, device: torch.device) -> int:
    """Returns the limit in bytes; None stands for the default one.

    Raises:
        KernelInputError: if it is no number.
    """
    if memory_limit is None:
        return default_memory_limit(device)
    if isinstance(memory_limit, bool) or not isinstance(memory_limit, Real) or math.isnan(memory_limit):
        raise KernelInputError(f"memory_limit is {memory_limit!r}: give a number of bytes, as 2 * 2**30 for 2 GiB")
    return int(min(memory_limit, sys.maxsize))


def kernel_dtype(network: nn.Module) -> torch.dtype:
    """The precision of a network's kernel: that of its parameters, float32 for those in half precision.

    Half precision runs the network's own passes only. Products of gradients would overflow float16 from 256 on.
    """
    dtype = next(iter(trainable_parameters(network).values())).dtype
    return torch.float32 if dtype in _HALF else dtype


def rounding(*tensors: Tensor) -> float:
    """The coarsest rounding unit of some tensors."""
    return max(torch.finfo(t.dtype).eps for t in tensors)


def recordable(x: Tensor) -> Tensor:
    """Returns the tensor, or a copy of one that was made in inference mode: those are kept by no graph."""
    return x.clone() if x.is_inference() else x


def sample_axis(network: nn.Module, x: Tensor) -> int:
    """Returns the axis of `x` that counts samples: 1 for a stack with inputs of each member's own, else 0."""
    return int(isinstance(network, StackedNetwork) and network.is_per_member(x))


def n_samples(network: nn.Module, x: Tensor) -> int:
    """Returns the number of samples in `x`."""
    return x.shape[sample_axis(network, x)]


def trainable_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Returns parameters that require a gradient, by name, each once."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def run(network: nn.Module, x: Tensor) -> Tensor:
    """Evaluates the network.

    Args:
        network: any network of `empirical_ntk`.
        x: inputs.

    Returns:
        The output, `(n, C)` or `(S, n, C)`.

    Raises:
        KernelInputError: if the network fails, or its output is anything else.
    """
    try:
        output = network(x)
    except Exception as error:  # whatever a network of a user's raises
        if isinstance(error, KernelInputError) or is_out_of_memory(error):
            raise
        text = (str(error).strip() or "no message").splitlines()[0]
        hint = "" if x.is_floating_point() else " (integers are taken for tokens: else give floating-point inputs)"
        raise KernelInputError(
            f"the network fails on inputs of shape {tuple(x.shape)}, {x.dtype}{hint}: {type(error).__name__}: {text}"
        ) from error
    n = x.shape[sample_axis(network, x)]
    expected = (network.n_members, n) if isinstance(network, StackedNetwork) else (n,)
    if isinstance(output, Tensor) and tuple(output.shape[:-1]) == expected and output.shape[-1] > 0:
        if not output.is_floating_point():
            raise KernelInputError(
                f"the network's outputs are {output.dtype}: return real numbers that have a gradient (logits, not "
                "classes; real and imaginary parts, not complex numbers)"
            )
        return output
    if not isinstance(output, Tensor):
        got = f"a {type(output).__name__}: wrap it in a module whose `forward` returns the one tensor that is meant"
    elif output.dim() == len(expected):
        got = f"{tuple(output.shape)}: let it return `output.unsqueeze(-1)`"
    else:
        got = f"{tuple(output.shape)}" + (": let it return `output.flatten(1)`" if output.dim() > 2 else "")
    raise KernelInputError(f"the network must map {tuple(x.shape)} to {(*expected, 'n_outputs')}, but gives {got}")


def check_network_and_inputs(network: nn.Module, x: Tensor, name: str) -> None:
    """Checks what would otherwise end in a kernel of NaNs or an obscure error far below.

    Args:
        network: the network of the kernel.
        x: its inputs.
        name: what to call `x` in messages.

    Raises:
        KernelInputError: if there is nothing to train, nothing to evaluate, an input that is not finite, or inputs
            and parameters of different precision or device, or parameters of several.
    """
    trainable = trainable_parameters(network)
    if not trainable:
        raise KernelInputError("the network has no trainable parameter, so its NTK is zero: unfreeze some of them")
    if x.dim() == 0:
        raise KernelInputError(f"{name} is a single number: inputs have shape (n, *shape of a sample)")
    if x.numel() == 0:
        raise KernelInputError(f"{name} is empty (shape {tuple(x.shape)}): a kernel needs at least one sample")
    if isinstance(network, StackedNetwork):
        shape, stack = tuple(network.input_shape), (network.n_members,)
        if tuple(x.shape[-len(shape) :]) != shape or tuple(x.shape[: -len(shape) - 1]) not in ((), stack):
            raise KernelInputError(
                f"{name} has shape {tuple(x.shape)}, the networks want (n, *{shape}), or {stack[0]} members in front"
            )
    devices = sorted({str(p.device) for p in network.parameters()})
    if len(devices) > 1:
        raise KernelInputError(f"the network's parameters are on {' and '.join(devices)}: move them to one device")
    if str(x.device) != devices[0]:
        raise KernelInputError(f"{name} is on {x.device}, the network on {devices[0]}: move one to the other")
    precisions = {p.dtype for p in network.parameters() if p.is_floating_point() or p.is_complex()}
    if len(precisions) > 1 or next(iter(precisions)).is_complex:
        have = " and ".join(sorted(map(str, precisions)))
        raise KernelInputError(f"the network's parameters are {have}: convert it to one real precision")
    if x.is_floating_point():
        (precision,) = precisions
        if x.dtype != precision:
            raise KernelInputError(
                f"{name} is {x.dtype}, the network's parameters are {precision}: convert one to the other"
            )
        # The extremes are NaN or infinite if any entry is: a tenth of the time of a flag an entry.
        if not all(map(torch.isfinite, x.detach().aminmax())):
            where = tuple((~torch.isfinite(x)).nonzero()[0].tolist())
            raise KernelInputError(f"{name} has a NaN or infinite entry, the first at index {where}: clean the inputs")


def input_tensor(network: nn.Module, value: Given, name: str) -> Tensor:
    """Inputs of a network from what a caller gave, see `checked`.

    Raises:
        KernelInputError: if it is no array of real numbers, or has numbers beyond the network's precision.
    """
    x = real_tensor(value, name, KernelInputError)
    if isinstance(value, Tensor):
        if x.is_quantized or x.is_nested:
            raise KernelInputError(
                f"{name} is no plain tensor of numbers ({x.dtype}): give x.dequantize() or x.to_padded_tensor(...)"
            )
        return x.detach()
    parameter = next((p for p in network.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return x
    if not x.is_floating_point():
        return x.to(parameter.device)
    converted = x.to(parameter.device, parameter.dtype)
    if not torch.isfinite(converted).all() and torch.isfinite(x).all():
        raise KernelInputError(
            f"{name} has entries up to {float(x.abs().max()):.3g}, beyond {parameter.dtype}, the network's precision: "
            "scale the inputs, or convert the network"
        )
    return converted


def _check_weights(network: nn.Module) -> None:
    for name, p in network.named_parameters():
        if p.is_floating_point() and p.numel() and not all(map(torch.isfinite, p.detach().aminmax())):
            raise KernelInputError(
                f"parameter {name!r} of the network has a NaN or infinite entry, so its kernel is not defined: did its "
                "training diverge?"
            )


def check_same_kind(network: nn.Module, x1: Tensor, x2: Tensor) -> None:
    """Checks that two sets of inputs can meet in one kernel.

    Raises:
        KernelInputError: if they differ in precision, device or shape of one sample.
    """
    if x1.dtype != x2.dtype or x1.device != x2.device:
        raise KernelInputError(
            f"x1 is {x1.dtype} on {x1.device}, x2 is {x2.dtype} on {x2.device}: convert one to the other"
        )
    one, other = (tuple(x.shape[sample_axis(network, x) + 1 :]) for x in (x1, x2))
    if one != other:
        raise KernelInputError(f"a sample of x1 has shape {one}, a sample of x2 {other}: they must be equal")


def check_samples_apart(output: Tensor, x: Tensor, axis: int) -> None:
    """Checks that the outputs of the first and the last sample have no gradient with respect to other samples.

    Args:
        output: `(..., n, C)`, with the graph that leads from `x` to it.
        x: the inputs, of which `axis` counts samples.
        axis: see `sample_axis`.

    Raises:
        MixedSamplesError: if there is one.
    """
    if not (x.requires_grad and output.requires_grad):
        return
    n = x.shape[axis]
    for sample in {0, n - 1}:
        total = output[..., sample, :].sum()
        (gradient,) = torch.autograd.grad(total, x, retain_graph=True, allow_unused=True)
        if gradient is None:
            continue
        others = torch.cat([gradient.narrow(axis, 0, sample), gradient.narrow(axis, sample + 1, n - sample - 1)], axis)
        if (torch.isfinite(others) & (others != 0)).any():
            raise MixedSamplesError(
                "the network's output for a sample depends on the rest of the batch, also in evaluation mode, so "
                "a kernel between samples is not defined (batch normalization without running statistics?)"
            )


def compared_samples(network: nn.Module, x: Tensor, most: int = _SAMPLES) -> Tensor:
    """Returns up to `most` samples from all over `x`."""
    axis = sample_axis(network, x)
    n = x.shape[axis]
    chosen = torch.linspace(0, n - 1, min(n, most), dtype=torch.float64, device=x.device).long()
    return x.index_select(axis, chosen)


def check_same_outputs(network: nn.Module, x: Tensor, output: Tensor, axis: int) -> None:
    """Checks that a sample's output is the same alone and beside others, in another order, and from call to call.

    Args:
        network: in evaluation mode (`evaluation.evaluation_mode`: what is compared runs as the kernel's passes do).
        x: the inputs, of which `axis` counts samples.
        output: what the network gave for them, `(..., n, C)`.
        axis: see `sample_axis`.

    Raises:
        MixedSamplesError: if other samples change it.
        RandomNetworkError: if it changes from call to call.
    """
    last = x.shape[axis] - 1
    output = output.detach()
    if any(_differ(output, run(network, x).detach()) for _ in range(2)):
        raise RandomNetworkError(
            "the network gives other outputs when it is called again in evaluation mode, so its NTK is random: "
            "remove what draws random numbers (dropout by `F.dropout` needs `training=self.training`)"
        )
    for sample in {0, last}:
        alone = run(network, x.narrow(axis, sample, 1)).detach()
        if _differ(output[..., sample, :], alone[..., 0, :]):
            raise MixedSamplesError(
                "the network's output for a sample depends on the rest of the batch, also in evaluation mode, so "
                "a kernel between samples is not defined (statistics of the batch?)"
            )


def _differ(first: Tensor, second: Tensor) -> bool:
    usable = torch.isfinite(first) & torch.isfinite(second)
    gap, size = (first - second).abs()[usable], first.abs()[usable]
    return bool(gap.numel()) and bool(gap.max() > rounding(first) ** 0.5 * size.max())


def check_finite(values: Tensor, what: str, network: nn.Module) -> None:
    """Checks outputs or gradients of a network whose weights and inputs are finite.

    Args:
        values: to be checked.
        what: their name, for the message, with a verb.
        network: whose precision may be the cause.

    Raises:
        KernelInputError: if one is NaN or infinite.
    """
    if values.numel() == 0 or all(map(torch.isfinite, values.detach().aminmax())):
        return
    dtype = next(iter(trainable_parameters(network).values())).dtype
    wider = {torch.float16: "float32", torch.bfloat16: "float32", torch.float32: "float64"}.get(dtype)
    overflow = f"if they overflow {dtype}, convert network and inputs to {wider}; else look" if wider else "look"
    raise KernelInputError(
        f"{what} not finite, though weights and inputs are: {overflow} for a division by 0, or the root or logarithm "
        "of 0, in the network's `forward`"
    )


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
    # Of two equal samples, gradients of both directions at once.
    half = len(x) // 2
    alone = [pulled_back(x[i : i + 1], u[i : i + 1] + u[half + i : half + i + 1])[0] for i in range(half)]
    eps = rounding(u, *parameters)
    sizes = [torch.stack(samples).abs().sum(0) for samples in zip(*alone, strict=True)]
    # Gradients that are zero but for rounding, as of the biases before a norm, are compared with the others.
    noise = ROUNDED * eps * max(float(size.max()) for size in sizes if size.numel())
    return not any(
        bool(((batch - sum(samples)).abs() > eps**0.5 * (size + size.max()) + noise).any())
        for batch, size, *samples in zip(together, sizes, *alone, strict=True)
        if batch.numel()
    )


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
