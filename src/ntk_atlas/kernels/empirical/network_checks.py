"""What a kernel asks of a network and its inputs, checked before any work."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ntk_atlas.kernels.errors import KernelInputError, MixedSamplesError, RandomNetworkError
from ntk_atlas.networks.stacked import StackedNetwork

# Their base classes are private in torch.
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block: dropout off, batch normalization with its running statistics.

    Args:
        network: any module; the training flag of each of its submodules comes back at the end of the block.

    Yields:
        Nothing.

    Raises:
        MixedSamplesError: if batch normalization stays in training mode (a `train` method of the user's own).
        RandomNetworkError: if dropout does.
    """
    flags = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        for name, module in network.named_modules():
            if module.training and isinstance(module, _BATCH_NORMS):
                raise MixedSamplesError(
                    f"batch normalization {name!r} stays in training mode after `eval()`: a sample's output would "
                    "depend on the rest of its batch. Put it into evaluation mode, with its running statistics"
                )
            if module.training and isinstance(module, _DROPOUTS):
                raise RandomNetworkError(
                    f"dropout {name!r} stays in training mode after `eval()`: the kernel would be random. "
                    "Put it into evaluation mode"
                )
        yield
    finally:
        for module, training in flags:
            # A `train` of the user's own may have done more than set the flag.
            if training and not module.training and type(module).train is not nn.Module.train:
                module.train()
        for module, training in flags:
            module.training = training


def sample_axis(network: nn.Module, x: Tensor) -> int:
    """Returns the axis of `x` that counts samples: 1 for a stack with inputs of each member's own, else 0."""
    return int(isinstance(network, StackedNetwork) and network.is_per_member(x))


def n_samples(network: nn.Module, x: Tensor) -> int:
    """Returns the number of samples in `x`."""
    return x.shape[sample_axis(network, x)]


def trainable_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Returns parameters that require a gradient, by name, each once."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def check_network_and_inputs(network: nn.Module, x: Tensor, name: str) -> None:
    """Checks what would otherwise end in a kernel of NaNs or an obscure error far below.

    Args:
        network: the network of the kernel.
        x: its inputs.
        name: what to call `x` in messages.

    Raises:
        KernelInputError: if there is nothing to train, nothing to evaluate, an input that is not finite, or inputs
            and parameters of different precision or device.
    """
    trainable = trainable_parameters(network)
    if not trainable:
        raise KernelInputError("the network has no trainable parameter, so its NTK is zero: unfreeze some of them")
    if x.dim() < 1 or x.numel() == 0:
        raise KernelInputError(f"{name} is empty (shape {tuple(x.shape)}): a kernel needs at least one sample")
    if isinstance(network, StackedNetwork):
        shape, stack = tuple(network.input_shape), (network.n_members,)
        if tuple(x.shape[-len(shape) :]) != shape or tuple(x.shape[: -len(shape) - 1]) not in ((), stack):
            raise KernelInputError(
                f"{name} has shape {tuple(x.shape)}, the networks want (n, *{shape}), or {stack[0]} members in front"
            )
    parameter = next(iter(trainable.values()))
    if x.device != parameter.device:
        raise KernelInputError(f"{name} is on {x.device}, the network on {parameter.device}: move one to the other")
    if x.is_floating_point():
        precisions = {p.dtype for p in network.parameters() if p.is_floating_point() or p.is_complex()}
        if len(precisions) > 1 or next(iter(precisions)).is_complex:
            have = " and ".join(sorted(map(str, precisions)))
            raise KernelInputError(f"the network's parameters are {have}: convert it to one real precision")
        if x.dtype not in precisions:
            (have,) = precisions
            raise KernelInputError(
                f"{name} is {x.dtype}, the network's parameters are {have}: convert one to the other"
            )
        # The extremes are NaN or infinite if any entry is: a tenth of the time of a flag an entry.
        if not all(map(torch.isfinite, x.detach().aminmax())):
            where = tuple((~torch.isfinite(x)).nonzero()[0].tolist())
            raise KernelInputError(f"{name} has a NaN or infinite entry, the first at index {where}: clean the inputs")


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
    """Checks that the first sample's output has no gradient with respect to the other samples.

    Args:
        output: `(..., n, C)`, with the graph that leads from `x` to it.
        x: the inputs, of which `axis` counts samples.
        axis: see `sample_axis`.

    Raises:
        MixedSamplesError: if there is one.
    """
    if not (x.requires_grad and output.requires_grad):
        return
    (gradient,) = torch.autograd.grad(output[..., 0, :].sum(), x, retain_graph=True, allow_unused=True)
    if gradient is None:
        return
    others = gradient.narrow(axis, 1, gradient.shape[axis] - 1)
    if (torch.isfinite(others) & (others != 0)).any():
        raise MixedSamplesError(
            "the network's output for a sample depends on the rest of the batch, also in evaluation mode, so "
            "a kernel between samples is not defined (batch normalization without running statistics?)"
        )


def check_same_outputs(network: nn.Module, x: Tensor, output: Tensor, axis: int) -> None:
    """Checks that the first sample's output is the same alone and beside others, and from call to call.

    Args:
        network: in evaluation mode.
        x: the inputs, of which `axis` counts samples.
        output: what the network gave for them, `(..., n, C)`.
        axis: see `sample_axis`.

    Raises:
        MixedSamplesError: if other samples change it.
        RandomNetworkError: if it changes from call to call.
    """
    with torch.no_grad():
        again, alone = [network(x) for _ in range(2)], network(x.narrow(axis, 0, 1))
    if any(_differ(output, other) for other in again):
        raise RandomNetworkError(
            "the network gives other outputs when it is called again in evaluation mode, so its NTK is random: "
            "remove what draws random numbers (dropout by `F.dropout` needs `training=self.training`)"
        )
    if _differ(output[..., 0, :], alone[..., 0, :]):
        raise MixedSamplesError(
            "the network's output for a sample depends on the rest of the batch, also in evaluation mode, so "
            "a kernel between samples is not defined (statistics of the batch?)"
        )


def _differ(first: Tensor, second: Tensor) -> bool:
    usable = torch.isfinite(first) & torch.isfinite(second)
    gap, size = (first - second).abs()[usable], first.abs()[usable]
    return bool(gap.numel()) and bool(gap.max() > torch.finfo(first.dtype).eps ** 0.5 * size.max())
