r"""Infinite-width NNGP and NTK of convolutional networks: Myrtle-like stacks of convolutions and average pools.

The recursion runs over pairs of pixels (`convolutional_recursion`), and over no more of them than the result needs
(`convolutional_geometry`): height · width a pair of images for a network that flattens and never pools, (height ·
width)² for one that ends in a global average.
"""

import logging

import torch
from torch import Tensor

from ntk_atlas.activations import ActivationChoice
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.kernels.infinite.convolutional_cost import estimate_convolutional_cost
from ntk_atlas.kernels.infinite.convolutional_recursion import ConvolutionalRecursion
from ntk_atlas.kernels.infinite.convolutional_tiles import PreparedImages, plan_convolutional_tiles
from ntk_atlas.kernels.infinite.error_bounds import LayerErrors, carried_errors
from ntk_atlas.kernels.infinite.inputs import checked_dtype, checked_inputs, checked_scale, checked_width
from ntk_atlas.kernels.infinite.kernels import InfiniteKernels, warn_of_kernels
from ntk_atlas.kernels.infinite.layer_weights import check_infinite_limit
from ntk_atlas.kernels.infinite.series import dual_of
from ntk_atlas.kernels.infinite.soundness import LayerOfPair, warn_of_range, warn_of_rounding
from ntk_atlas.networks.convolutional_architecture import ConvolutionalArchitecture, image_shape
from ntk_atlas.tensors import Given

log = logging.getLogger(__name__)


def infinite_convolutional_kernels(
    x1: Given,
    x2: Given | None = None,
    *,
    architecture: ConvolutionalArchitecture,
    settings: NetworkSettings,
    init_scale: float,
    width: int | None = None,
    activation: ActivationChoice | None = None,
    dtype: torch.dtype = torch.float64,
    memory_limit: int | None = None,
) -> InfiniteKernels:
    """NNGP and NTK at infinite width of a convolutional network.

    Evaluated in tiles of pairs of images, with `x2` None only those on and above the diagonal. Time and memory are
    estimated (`estimate_convolutional_cost`) and logged before the first tile.

    Args:
        x1: images `(n1, channels, height, width)`.
        x2: images `(n2, channels, height, width)`; None stands for `x1` and gives exactly symmetric kernels.
        architecture: blocks, kernel size and readout.
        settings: activation, parameterization, σ_b², biases and output scale. Weights of a convolution have the
            variance σ_w² / (kernel_size² · channels).
        init_scale: σ_w².
        width: channels of each convolution; the NTK of some parameterizations grows with it.
        activation: in place of the settings', see `infinite_kernels`.
        dtype: float64, or float32 for about half the time and memory.
        memory_limit: bytes that the result and everything beside it may take; None for the limit that is set
            (`memory.memory_limited`), else half of what is free.

    Returns:
        The kernels with one entry along depths, `(1, n1, n2)`.

    Raises:
        KernelInputError: if images are empty, not finite or do not match, the width is missing, the architecture
            does not fit the images, or the memory limit is too small (`MemoryLimitError`).
    """
    x1 = checked_inputs(x1, "x1", checked_dtype(dtype), sample_dim=3)
    x2 = None if x2 is None else checked_inputs(x2, "x2", dtype, sample_dim=3)
    if x2 is not None and (x1.shape[1:] != x2.shape[1:] or x1.device != x2.device):
        raise KernelInputError(
            f"images of x1 are {tuple(x1.shape[1:])} ({x1.device}), of x2 {tuple(x2.shape[1:])} ({x2.device}): they "
            "must match"
        )
    check_infinite_limit(settings, width)
    try:
        architecture.sizes(*x1.shape[2:])
    except ValueError as error:
        raise KernelInputError(str(error)) from error
    dual = dual_of(settings.activation if activation is None else activation)
    recursion = ConvolutionalRecursion(
        architecture, settings, checked_scale(init_scale, dtype), checked_width(width), image_shape(x1.shape[1:])
    )
    n1, n2 = len(x1), None if x2 is None else len(x2)
    tiles = plan_convolutional_tiles(recursion, dual, n1, n2, dtype=dtype, device=x1.device, memory_limit=memory_limit)
    cost = estimate_convolutional_cost(
        n1,
        n2,
        image_shape=recursion.image_shape,
        architecture=architecture,
        settings=settings,
        activation=activation,
        dtype=dtype,
        memory_limit=memory_limit,
    )
    log.info("infinite convolutional kernels, %d x %d images: %s", n1, n2 or n1, cost)
    images = PreparedImages.of(recursion, dual, x1, x2, chunk=tiles.rows * tiles.columns)
    results = torch.empty(2, n1, n2 or n1, dtype=dtype, device=x1.device)
    errors = tiles.fill(results, images)
    kernels = InfiniteKernels(results[:1], results[1:], _error_bounds(recursion, images, errors))
    overflows = _warn(recursion, images, x1, x2)
    warn_of_kernels(kernels, [architecture.depth], overflow_is_said=overflows)
    return kernels


def _warn(recursion: ConvolutionalRecursion, images: PreparedImages, x1: Tensor, x2: Tensor | None) -> bool:
    # Depth 0 is the first convolution; pixels of the largest variance stand for all.
    variances = [variance.flatten() for variance in images.variances] + [images.diagonal[0]]
    ntks = [variance.new_tensor([size[2]]) for variance, size in zip(variances, images.largest, strict=False)]
    overflows = warn_of_range(
        variances, [*ntks, images.diagonal[1]], inputs=[x1] if x2 is None else [x1, x2], dtype=x1.dtype,
        sigma_w2=recursion.sigma_w2,
    )  # fmt: skip
    sizes = [float(variance.max()) for variance in images.variances]
    layers = [
        LayerOfPair(dual, size, recursion.fan_in(layer + 1), recursion.bias_part)
        for layer, (dual, size) in enumerate(zip(images.duals, sizes, strict=True))
        if 0.0 < size < torch.inf
    ]
    if len(layers) == len(sizes) and layers:
        bias_variance = recursion.settings.bias_variance
        warn_of_rounding(
            layers, x1.flatten(1), None if x2 is None else x2.flatten(1),
            depths=[len(layers)], sigma_w2=recursion.sigma_w2, bias_variance=bias_variance,
            start=1.0 - bias_variance / sizes[0], dtype=x1.dtype,
        )  # fmt: skip
    return overflows


def _error_bounds(recursion: ConvolutionalRecursion, images: PreparedImages, errors: Tensor) -> Tensor:
    layers = [
        LayerErrors(
            dual=dual,
            variances=images.variances[layer],
            largest=images.largest[layer][:2],
            largest_ntk=images.largest[layer][2],
            fan_in=recursion.fan_in(layer + 1),
            moment=float(errors[0, layer]),
            slope=float(errors[1, layer]),
        )
        for layer, dual in enumerate(images.duals)
    ]
    bound = carried_errors(layers, recursion.sigma_w2)[-1]
    return recursion.settings.output_scale**2 * torch.tensor(bound, dtype=torch.float64)[:, None]
