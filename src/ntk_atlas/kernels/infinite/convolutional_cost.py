"""Time and memory of infinite-width convolutional kernels, told before they start."""

import math
import time
from dataclasses import dataclass

import torch

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.infinite.convolutional_recursion import ConvolutionalRecursion
from ntk_atlas.kernels.infinite.convolutional_tiles import ConvolutionalTiles, PreparedImages, plan_convolutional_tiles
from ntk_atlas.kernels.infinite.dual_activations import Dual
from ntk_atlas.kernels.infinite.duals import ActivationChoice, dual_of
from ntk_atlas.networks.convolutional_architecture import ConvolutionalArchitecture

_PROBE_PIXELS = 6
_PROBE_IMAGES = 8


@dataclass(frozen=True)
class ConvolutionalCost:
    """What kernels of a convolutional network will take.

    Attributes:
        seconds: wall time, from a probe of a few milliseconds; good to a factor of about two.
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
    work = layers * (image_pairs + once)
    seconds = work * _seconds_per_pair(dual, settings, dtype) / tiles.threads
    return ConvolutionalCost(seconds, tiles.n_bytes, tiles.result_bytes, layers, image_pairs)


def _seconds_per_pair(dual: Dual, settings: NetworkSettings, dtype: torch.dtype) -> float:
    # Of one pair of pixels in one layer, from a tile of tiny random images.
    architecture = ConvolutionalArchitecture(((2, False),), readout="global_average")
    recursion = ConvolutionalRecursion(architecture, settings, 1.0, 1, (1, _PROBE_PIXELS, _PROBE_PIXELS))
    images = torch.randn(
        _PROBE_IMAGES, 1, _PROBE_PIXELS, _PROBE_PIXELS, dtype=dtype, generator=torch.Generator().manual_seed(0)
    )
    prepared = PreparedImages.of(recursion, dual, images, None, chunk=_PROBE_IMAGES)
    tiles = ConvolutionalTiles(_PROBE_IMAGES, _PROBE_IMAGES, threads=1, n_bytes=0, result_bytes=0)
    best = math.inf
    for _ in range(3):
        started = time.perf_counter()
        tiles.fill(torch.empty(2, _PROBE_IMAGES, _PROBE_IMAGES, dtype=dtype), prepared)
        best = min(best, time.perf_counter() - started)
    return best / (sum(s.n_convolutions * s.pixel_pairs() for s in recursion.stages) * _PROBE_IMAGES**2)
