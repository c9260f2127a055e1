"""Time and memory of infinite-width convolutional kernels, told before they start."""

import math
import time
from dataclasses import dataclass

import torch

from ntk_atlas.activations import ActivationChoice
from ntk_atlas.activations.activation import Dual
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.infinite.convolutional_recursion import ConvolutionalRecursion
from ntk_atlas.kernels.infinite.convolutional_tiles import ConvolutionalTiles, PreparedImages, plan_convolutional_tiles
from ntk_atlas.kernels.infinite.series import dual_of
from ntk_atlas.networks.convolutional_architecture import ConvolutionalArchitecture
from ntk_atlas.numerics import precise_math

_PROBE_NUMBERS = 2**15
"""Pixels times pairs of images of the larger tile that is measured: a quarter of what a tile has."""


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
