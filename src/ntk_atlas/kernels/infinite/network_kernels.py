"""Infinite-width kernels of the network that a config describes, fully connected or convolutional."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.kernels.infinite.convolutional import estimate_convolutional_cost, infinite_convolutional_kernels
from ntk_atlas.kernels.infinite.convolutional_recursion import ConvolutionalRecursion, SamePairs
from ntk_atlas.kernels.infinite.kernels import (
    InfiniteKernels,
    checked_inputs,
    checked_scale,
    infinite_kernels,
    output_variance,
)
from ntk_atlas.kernels.infinite.recursion import check_infinite_limit
from ntk_atlas.kernels.infinite.series import dual_of
from ntk_atlas.networks.convolutional_architecture import (
    ConvolutionalArchitecture,
    checked_fan_ins,
    image_shape,
)

log = logging.getLogger(__name__)

_IMAGES_AT_A_TIME = 64


def network_kernels(
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    depths: Sequence[int],
    settings: NetworkSettings,
    init_scale: float,
    width: int | None = None,
) -> InfiniteKernels:
    """NNGP and NTK at infinite width, float64, see `infinite_kernels` and `infinite_convolutional_kernels`.

    Args:
        x1: inputs `(n1, *shape)`; images `(n1, channels, height, width)` for convolutional networks.
        x2: inputs `(n2, *shape)`; None stands for `x1` and gives exactly symmetric kernels.
        depths: numbers of hidden layers; convolutional networks of several take one evaluation each.
        settings: the network.
        init_scale: σ_w².
        width: hidden units or channels, for parameterizations whose NTK grows with them.

    Returns:
        Both kernels, `(n_depths, n1, n2)`.

    Raises:
        KernelInputError: if the inputs cannot be those of the network, see there.
    """
    if settings.architecture != "convolutional":
        return infinite_kernels(x1, x2, depths=depths, settings=settings, init_scale=init_scale, width=width)
    kernels = [
        infinite_convolutional_kernels(
            x1,
            x2,
            architecture=_architecture(settings, depth, tuple(x1.shape[1:])),
            settings=settings,
            init_scale=init_scale,
            width=width,
        )
        for depth in depths
    ]
    return InfiniteKernels(
        torch.cat([k.nngp for k in kernels]),
        torch.cat([k.ntk for k in kernels]),
        torch.cat([k.error_bound for k in kernels], dim=1),
    )


def network_output_variance(x: Tensor, *, depth: int, settings: NetworkSettings, init_scale: float) -> Tensor:
    """Variance of each output at initialization and infinite width, the NNGP of inputs with themselves.

    Args:
        x: inputs `(n, *shape)`.
        depth: hidden layers.
        settings: the network.
        init_scale: σ_w².

    Returns:
        α² K(x, x), `(n,)`, float64.

    Raises:
        KernelInputError: if the inputs cannot be those of the network.
    """
    check_infinite_limit(settings, 1)
    if settings.architecture != "convolutional":
        return output_variance(x, depth=depth, settings=settings, init_scale=init_scale)
    shape = tuple(x.shape[1:])
    architecture, scale = _architecture(settings, depth, shape), checked_scale(init_scale)
    x = checked_inputs(x, "x", torch.float64, sample_dim=3)
    recursion = ConvolutionalRecursion(architecture, settings, scale, 1, image_shape(shape))
    dual = dual_of(settings.activation)
    parts = [
        recursion.run(SamePairs(block.permute(1, 2, 3, 0), dual, scale))[0] for block in x.split(_IMAGES_AT_A_TIME)
    ]
    variance = settings.output_scale**2 * torch.cat(parts)
    if not bool(torch.isfinite(variance).all()):
        log.warning("output variances at depth %d, init_scale %g, overflow torch.float64", depth, init_scale)
    return variance


def network_kernel_cost(
    n_train: int, n_rest: int, *, image_shape: Sequence[int], depths: Sequence[int], settings: NetworkSettings
) -> float:
    """Seconds that convolutional kernels of a regression take, good to a factor of about two.

    Args:
        n_train: training images, each with each.
        n_rest: images predicted, each with all training images.
        image_shape: channels, height and width.
        depths: numbers of convolutions.
        settings: the network.

    Returns:
        Wall time of one width and draw.

    Raises:
        KernelInputError: if the images cannot be those of the network.
    """
    seconds = 0.0
    for depth in depths:
        architecture = _architecture(settings, depth, tuple(image_shape))
        channels, height, width = image_shape
        for n1, n2 in ((n_train, None), (n_rest, n_train)):
            seconds += estimate_convolutional_cost(
                n1, n2, image_shape=(channels, height, width), architecture=architecture, settings=settings
            ).seconds
    return seconds


def _architecture(settings: NetworkSettings, depth: int, shape: tuple[int, ...]) -> ConvolutionalArchitecture:
    try:
        architecture = ConvolutionalArchitecture.of_depth(settings.convolutional, depth)
        checked_fan_ins(architecture, image_shape(shape), 1)
    except ValueError as error:
        raise KernelInputError(str(error)) from error
    return architecture


def infinite_lambda_max(
    x: Tensor, *, depth: int, settings: NetworkSettings, init_scale: float, width: int | None = None
) -> float:
    """λ_max of the full nC × nC Gram: outputs are independent at infinite width, so that of the n × n kernel.

    Args:
        x: inputs `(n, *shape)`.
        depth: hidden layers.
        settings: architecture, activation, parameterization, σ_b², biases and output scale, which is in the eigenvalue.
        init_scale: σ_w².
        width: hidden units; enters where the NTK grows with them.

    Returns:
        The eigenvalue.

    Raises:
        KernelInputError: see `network_kernels`; or the kernel overflows.
    """
    kernels = network_kernels(x, depths=[depth], settings=settings, init_scale=init_scale, width=width)
    if not bool(torch.isfinite(kernels.ntk).all()):
        raise KernelInputError(
            f"the infinite NTK at depth {depth}, init_scale {init_scale:g}, overflows: there is no largest eigenvalue "
            "to set learning rates by; lower init_scale or depth, or give an absolute learning rate"
        )
    return float(torch.linalg.eigvalsh(kernels.ntk[0])[-1])
