"""Infinite-width NNGP and NTK of convolutional networks: Myrtle-like stacks of convolutions and average pools.

The recursion runs over pairs of pixels (`convolutional_recursion`), and over no more of them than the result needs:
height · width per pair of images for a network that flattens and never pools, (height · width)² for one that ends in a
global average. Pairs of images come in tiles, whose size follows from a memory limit. Time and memory are told before
the work starts.
"""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ntk_atlas.activations import ActivationChoice, Dual
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.errors import KernelInputError, MemoryLimitError
from ntk_atlas.kernels.infinite.convolutional_recursion import (
    ConvolutionalRecursion,
    SamePairs,
    Sides,
    TilePairs,
    readout_radius,
)
from ntk_atlas.kernels.infinite.kernels import (
    SLACK_BYTES,
    InfiniteKernels,
    checked_dtype,
    checked_inputs,
    checked_scale,
    checked_width,
    warn_of_kernels,
)
from ntk_atlas.kernels.infinite.recursion import LayerErrors, carried_errors, check_infinite_limit
from ntk_atlas.kernels.infinite.series import dual_of
from ntk_atlas.kernels.infinite.soundness import LayerOfPair, warn_of_range, warn_of_rounding
from ntk_atlas.networks.convolutional_architecture import ConvolutionalArchitecture, image_shape
from ntk_atlas.numerics import Given, default_memory_limit, in_turn_or_at_once, precise_math

log = logging.getLogger(__name__)

_IMAGES_AT_A_TIME = 64
"""In variances."""
_PAIRS_OF_A_TILE = 2**17
_MOST_COLUMNS = 64
_ARRAYS_ALIVE = 10
"""Arrays of one offset alive at once: both kernels, their box means, scratch and what a dual needs."""
_PROBE_NUMBERS = 2**15
"""Pixels times pairs of images of the larger tile that is measured: a quarter of what a tile has."""


@dataclass(frozen=True)
class PreparedImages:
    """What is known of every image by itself.

    Attributes:
        recursion: the family.
        first: `(height, width, n1, channels)`.
        second: `(height, width, n2, channels)`; None if it is the first.
        duals: made ready for all variances, by layer.
        variances: by layer, `(height, width, n1 + n2)`, float64.
        diagonal: NNGP and NTK of the first images with themselves, `(2, n1)`, float64, without output scale.
        largest: largest E[φ²], E[φ'²] and NTK, by layer.
    """

    recursion: ConvolutionalRecursion
    first: Tensor
    second: Tensor | None
    duals: list[Dual]
    variances: list[Tensor]
    diagonal: Tensor
    largest: list[tuple[float, float, float]]

    @classmethod
    def of(
        cls, recursion: ConvolutionalRecursion, dual: Dual, x1: Tensor, x2: Tensor | None, *, chunk: int
    ) -> "PreparedImages":
        """Runs every image with itself.

        Args:
            recursion: the family.
            dual: of the activation.
            x1: `(n1, channels, height, width)`.
            x2: `(n2, channels, height, width)`, or None.
            chunk: images at a time.

        Returns:
            The images.
        """
        runs, kernels = [], []
        for images in (x1,) if x2 is None else (x1, x2):
            for block in images.split(chunk):
                pairs = SamePairs(block.double().permute(1, 2, 3, 0), dual, recursion.sigma_w2)
                kernels.append(torch.stack(recursion.run(pairs)))
                runs.append(pairs)
        variances = [torch.cat(layer, dim=2) for layer in zip(*(run.variances for run in runs), strict=True)]
        largest = [tuple(map(max, zip(*layer, strict=True))) for layer in zip(*(r.largest for r in runs), strict=True)]
        return cls(
            recursion,
            x1.permute(2, 3, 0, 1).contiguous(),
            None if x2 is None else x2.permute(2, 3, 0, 1).contiguous(),
            [dual.at(variance) for variance in variances],
            variances,
            torch.cat(kernels, dim=1)[:, : len(x1)],
            largest,
        )

    def column_sides(self, columns: slice) -> Sides:
        """Returns what tiles need of their columns, by layer."""
        shift = 0 if self.second is None else self.first.shape[2]
        moved = slice(columns.start + shift, columns.stop + shift)
        return [
            dual.side(v[:, :, None, moved], self.first.dtype)
            for dual, v in zip(self.duals, self.variances, strict=True)
        ]

    def tile(self, rows: slice, columns: slice, column_sides: Sides, errors: Tensor) -> Tensor:
        """Returns NNGP and NTK of a tile, `(2, rows, columns)`, and raises `errors`."""
        second = self.first if self.second is None else self.second
        row_sides = [
            dual.side(v[:, :, rows, None], self.first.dtype) for dual, v in zip(self.duals, self.variances, strict=True)
        ]
        pairs = TilePairs(
            self.first[:, :, rows],
            second[:, :, columns],
            self.duals,
            (row_sides, column_sides),
            self.recursion.sigma_w2,
            columns.start - rows.start if self.second is None and columns.start < rows.stop else None,
            errors,
        )
        return torch.stack(self.recursion.run(pairs))


@dataclass(frozen=True)
class ConvolutionalTiles:
    """How pairs of images are cut.

    Attributes:
        rows: images of a tile's rows; divides `columns`.
        columns: images of a tile's columns; they lie next to each other in memory, so many are fast.
        threads: tiles at a time.
        n_bytes: peak memory, result included.
        result_bytes: memory of the result.
    """

    rows: int
    columns: int
    threads: int
    n_bytes: int
    result_bytes: int

    def __post_init__(self) -> None:
        if self.columns % self.rows:  # else a tile astride the first of its columns would be mirrored by nobody
            raise ValueError(f"tiles of {self.rows} rows do not divide {self.columns} columns")

    def fill(self, results: Tensor, images: PreparedImages) -> Tensor:
        """Evaluates all tiles; if symmetric, those on and above the diagonal, then mirrored.

        Args:
            results: `(2, n1, n2)`, overwritten.
            images: the images.

        Returns:
            Largest errors of T and Ṫ by quadrature, `(2, depth)`.
        """
        symmetric = images.second is None
        scale = images.recursion.settings.output_scale**2
        errors = []
        with precise_math(threads=1):
            for columns in _slices(results.shape[2], self.columns):
                run = partial(_fill, results, images, scale, columns, images.column_sides(columns))
                errors += in_turn_or_at_once(
                    run, _slices(columns.stop if symmetric else results.shape[1], self.rows), workers=self.threads
                )
        if symmetric:
            for block in _slices(results.shape[1], self.columns):
                square = results[:, block, block]
                square.copy_(square.triu() + square.triu(1).mT)
            results.diagonal(dim1=1, dim2=2).copy_(scale * images.diagonal)
        return torch.stack(errors).amax(0)


def plan_convolutional_tiles(
    recursion: ConvolutionalRecursion,
    dual: Dual,
    n1: int,
    n2: int | None,
    *,
    dtype: torch.dtype,
    device: torch.device,
    memory_limit: int | None,
) -> ConvolutionalTiles:
    """Cuts the pairs so that result, images and everything in between stay within a limit.

    Args:
        recursion: the family.
        dual: of the activation.
        n1: first images.
        n2: second images; None for the symmetric kernel of the first.
        dtype: of the kernels.
        device: where they are computed.
        memory_limit: bytes; None for `memory.default_memory_limit`.

    Returns:
        The tiles.

    Raises:
        MemoryLimitError: if not even single pairs fit.
    """
    limit = default_memory_limit(device) if memory_limit is None else memory_limit
    size = torch.empty(0, dtype=dtype).element_size()
    n_pixels = [math.prod(stage.size) for stage in recursion.stages for _ in range(stage.n_convolutions)]
    samples = n1 + (n2 or 0)
    result = 2 * n1 * (n1 if n2 is None else n2) * size
    images = samples * math.prod(recursion.image_shape) * 2 * size
    # Variances of all images in all layers, and a copy while they are put together.
    fixed = result + images + 2 * 8 * samples * sum(n_pixels) + dual.fixed_bytes() + SLACK_BYTES
    numbers = _numbers_per_image_pair(recursion)
    columns = min(_MOST_COLUMNS, _power_of_two(max(1, _PAIRS_OF_A_TILE // n_pixels[0])), _power_of_two(n2 or n1))
    rows = min(columns, _power_of_two(n1), _power_of_two(max(1, _PAIRS_OF_A_TILE // (n_pixels[0] * columns))))
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    while True:
        sides = (rows + columns) * sum(n_pixels) * dual.bytes_per_sample(size)
        # An image with itself takes as much in float64; a chunk of them is a tile's worth.
        needed = fixed + max(threads * (numbers * rows * columns * size + sides), numbers * rows * columns * 8)
        if needed <= limit:
            return ConvolutionalTiles(rows, columns, threads, needed, result)
        if rows > 1:
            rows //= 2
        elif threads > 1:
            threads -= 1
        elif columns > 1:
            columns //= 2
        else:
            raise MemoryLimitError(
                f"a convolutional kernel of {n1} x {n2 or n1} images of {recursion.image_shape} takes "
                f"{result / 1e6:.3g} MB for the result and at least {(needed - result) / 1e6:.3g} MB beside it; "
                f"memory_limit is {limit / 1e6:.3g} MB: raise it, use smaller images, dtype=torch.float32, pool later, "
                "or compute blocks of images"
            )


def _power_of_two(n: int) -> int:
    # The largest that is not above n.
    return 1 << (n.bit_length() - 1)


def _numbers_per_image_pair(recursion: ConvolutionalRecursion) -> int:
    # Two kernels for all needed offsets before and after one pool, and the arrays of one offset.
    radii = [stage.radius for stage in recursion.stages[1:]]
    sizes = [stage.size for stage in recursion.stages[1:]]
    if recursion.stages[-1].pool:
        radii.append(readout_radius(recursion.architecture, recursion.readout_size))
        sizes.append(recursion.readout_size)
    pooled = [
        2 * math.prod(sum(n - abs(d) for d in range(-m, m + 1)) for n, m in zip(size, radius, strict=True))
        for size, radius in zip(sizes, radii, strict=True)
    ]
    work = _ARRAYS_ALIVE * math.prod(recursion.stages[0].size)
    return work + max((a + b for a, b in zip([0, *pooled], [*pooled, 0], strict=True)), default=0)


def _fill(
    results: Tensor, images: PreparedImages, scale: float, columns: slice, column_sides: Sides, rows: slice
) -> Tensor:
    errors = torch.zeros(2, images.recursion.architecture.depth, dtype=torch.float64)
    tile = images.tile(rows, columns, column_sides, errors).mul_(scale)
    if images.second is None and columns.start >= rows.stop:
        results[:, columns, rows] = tile.mT
    results[:, rows, columns] = tile
    return errors


def _slices(stop: int, length: int) -> Iterator[slice]:
    for first in range(0, stop, length):
        yield slice(first, min(first + length, stop))


@dataclass(frozen=True)
class ConvolutionalCost:
    """What kernels of a convolutional network will take.

    Attributes:
        seconds: wall time of an idle machine, from the CPU time of two tiles of images of this shape; it was within a
            fifth of what 8 x 8, 16 x 16 and 28 x 28 pixels took.
        n_bytes: peak memory, result included.
        result_bytes: memory of the result.
        pixel_pairs: pairs of pixels times layers for one pair of images.
        image_pairs: pairs of images evaluated.
    """

    seconds: float
    n_bytes: int
    result_bytes: int
    pixel_pairs: int
    image_pairs: int

    def __str__(self) -> str:
        """In words."""
        return (
            f"about {self.seconds:.3g} s and {self.n_bytes / 1e6:.3g} MB for {self.image_pairs} pairs of images with "
            f"{self.pixel_pairs} pairs of pixels and layers each"
        )


def estimate_convolutional_cost(
    n1: int,
    n2: int | None = None,
    *,
    image_shape: tuple[int, int, int],
    architecture: ConvolutionalArchitecture,
    settings: NetworkSettings,
    activation: ActivationChoice | None = None,
    dtype: torch.dtype = torch.float64,
    memory_limit: int | None = None,
) -> ConvolutionalCost:
    """Time and memory of `infinite_convolutional_kernels`: counted pairs of pixels at the measured cost of one.

    Args:
        n1: first images.
        n2: second images; None for the symmetric kernel of the first.
        image_shape: channels, height, width.
        architecture: the network.
        settings: parameterization, activation, biases.
        activation: in place of the settings'.
        dtype: of the kernels.
        memory_limit: bytes; tiles are cut to it.

    Returns:
        The cost.
    """
    dual = dual_of(settings.activation if activation is None else activation)
    recursion = ConvolutionalRecursion(architecture, settings, 1.0, 1, image_shape)
    tiles = plan_convolutional_tiles(
        recursion, dual, n1, n2, dtype=dtype, device=torch.device("cpu"), memory_limit=memory_limit
    )
    layers = sum(stage.n_convolutions * stage.pixel_pairs() for stage in recursion.stages)
    image_pairs = (n1 * (n1 + tiles.columns)) // 2 if n2 is None else n1 * n2
    once = n1 + (n2 or 0)  # each image with itself
    a_tile, a_pair = _measured(recursion, dual, tiles, dtype)
    n_tiles = _n_tiles(tiles, n1, n2) + once / tiles.columns
    seconds = (n_tiles * a_tile + (image_pairs + once) * a_pair) / tiles.threads
    return ConvolutionalCost(seconds, tiles.n_bytes, tiles.result_bytes, layers, image_pairs)


def _n_tiles(tiles: ConvolutionalTiles, n1: int, n2: int | None) -> int:
    stops = [min(start + tiles.columns, n2 or n1) for start in range(0, n2 or n1, tiles.columns)]
    return sum(-(-(stop if n2 is None else n1) // tiles.rows) for stop in stops)


def _measured(
    recursion: ConvolutionalRecursion, dual: Dual, tiles: ConvolutionalTiles, dtype: torch.dtype
) -> tuple[float, float]:
    """CPU time of a tile whatever its size, and of each of its pairs of images: from two tiles of random images."""
    most = max(1, _PROBE_NUMBERS // math.prod(recursion.stages[0].size))
    columns = min(tiles.columns, most)
    rows = min(tiles.rows, columns, max(1, most // columns))
    images = torch.randn(columns, *recursion.image_shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    prepared = PreparedImages.of(recursion, dual, images, images.clone(), chunk=columns)
    _tile_seconds(prepared, 1, 1)
    one, many = _tile_seconds(prepared, 1, 1), _tile_seconds(prepared, rows, columns)
    if rows * columns == 1:
        return 0.0, one
    a_pair = max(many - one, 0.0) / (rows * columns - 1)
    return max(one - a_pair, 0.0), a_pair


def _tile_seconds(prepared: PreparedImages, rows: int, columns: int) -> float:
    errors = torch.zeros(2, prepared.recursion.architecture.depth, dtype=torch.float64)
    with precise_math(threads=1):
        started = time.thread_time()
        sides = prepared.column_sides(slice(0, columns))
        prepared.tile(slice(0, rows), slice(0, columns), sides, errors)
        return time.thread_time() - started


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


def convolutional_output_variance(
    x: Given, *, architecture: ConvolutionalArchitecture, settings: NetworkSettings, init_scale: float
) -> Tensor:
    """Variance of each output at initialization and infinite width, the NNGP of images with themselves.

    Args:
        x: images `(n, channels, height, width)`.
        architecture: see `infinite_convolutional_kernels`.
        settings: see there.
        init_scale: σ_w².

    Returns:
        α² K(x, x), `(n,)`, float64.

    Raises:
        KernelInputError: see there.
    """
    check_infinite_limit(settings, 1)
    x, scale = checked_inputs(x, "x", torch.float64, sample_dim=3), checked_scale(init_scale)
    recursion = ConvolutionalRecursion(architecture, settings, scale, 1, image_shape(x.shape[1:]))
    dual = dual_of(settings.activation)
    parts = [
        recursion.run(SamePairs(block.permute(1, 2, 3, 0), dual, scale))[0] for block in x.split(_IMAGES_AT_A_TIME)
    ]
    variance = settings.output_scale**2 * torch.cat(parts)
    if not bool(torch.isfinite(variance).all()):
        log.warning(
            "output variances at depth %d, init_scale %g, overflow torch.float64", architecture.depth, init_scale
        )
    return variance


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
