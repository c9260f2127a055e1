"""Tiles of pairs of images: their size from a memory limit, and the loop over them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ntk_atlas.activations.activation import Dual
from ntk_atlas.kernels.errors import MemoryLimitError
from ntk_atlas.kernels.infinite.convolutional_geometry import readout_radius
from ntk_atlas.kernels.infinite.convolutional_pairs import SamePairs, Sides, TilePairs
from ntk_atlas.kernels.infinite.convolutional_recursion import ConvolutionalRecursion
from ntk_atlas.kernels.infinite.tiles import SLACK_BYTES
from ntk_atlas.memory import default_memory_limit
from ntk_atlas.numerics import in_turn_or_at_once, precise_math

_PAIRS_OF_A_TILE = 2**17
_MOST_COLUMNS = 64
_ARRAYS_ALIVE = 10
"""Arrays of one offset alive at once: both kernels, their box means, scratch and what a dual needs."""


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
