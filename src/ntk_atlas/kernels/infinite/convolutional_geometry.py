r"""Which pairs of pixels a convolutional kernel needs.

A pair of pixels (p, q) of two images has an offset Δ = q − p. A convolution at stride 1 takes covariances of one
offset to those of the same offset, 2 x 2 pooling those with 2D − 1 ≤ Δ ≤ 2D + 1 to offset D, and an activation acts on
each alone. So what is needed is a box of offsets: only Δ = 0 before a `flatten`, |Δ| ≤ 1 before a pool and a
`flatten`, |Δ| ≤ 3 before two; all of them before a global average. Everything else never enters the result.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ntk_atlas.networks.convolutional_architecture import ConvolutionalArchitecture

Offset = tuple[int, int]
Region = tuple[slice, slice]


class PoolTarget(NamedTuple):
    """Where covariances of one offset go in pooling: `pooled[offset][to] += covariances[from_]`."""

    offset: Offset
    from_: Region
    to: Region


@dataclass(frozen=True)
class Stage:
    """Convolutions between two pools.

    Attributes:
        size: height and width of the images.
        n_convolutions: number of convolutions, each with its activation.
        pool: whether 2 x 2 average pooling follows.
        radius: largest |Δ| needed, in either direction.
    """

    size: tuple[int, int]
    n_convolutions: int
    pool: bool
    radius: tuple[int, int]

    def offsets(self) -> list[Offset]:
        """Returns the offsets needed, (0, 0) first."""
        ranges = [range(-m, m + 1) for m in self.radius]
        return sorted(((dy, dx) for dy in ranges[0] for dx in ranges[1]), key=lambda d: d != (0, 0))

    def pixel_pairs(self) -> int:
        """Returns the number of pairs of pixels with these offsets."""
        sums = [sum(n - abs(d) for d in range(-m, m + 1)) for n, m in zip(self.size, self.radius, strict=True)]
        return math.prod(sums)

    def pool_targets(self, offset: Offset, pooled_radius: tuple[int, int]) -> Iterator[PoolTarget]:
        """Yields where covariances of an offset go; p = 2P + r and q = p + Δ = 2Q + t with r, t in {0, 1}."""
        for along_y in _targets_along(offset[0], self.size[0], pooled_radius[0]):
            for along_x in _targets_along(offset[1], self.size[1], pooled_radius[1]):
                (dy, from_y, to_y), (dx, from_x, to_x) = along_y, along_x
                yield PoolTarget((dy, dx), (from_y, from_x), (to_y, to_x))


def overlap(offset: Offset, size: tuple[int, int]) -> tuple[Region, Region]:
    """Pixels p of the first image, and q = p + Δ of the second, where both lie inside."""
    (first_y, second_y), (first_x, second_x) = (_overlap_along(d, n) for d, n in zip(offset, size, strict=True))
    return (first_y, first_x), (second_y, second_x)


def _overlap_along(d: int, n: int) -> tuple[slice, slice]:
    return slice(max(0, -d), n - max(0, d)), slice(max(0, d), n - max(0, -d))


def stages_of(architecture: ConvolutionalArchitecture, height: int, width: int) -> list[Stage]:
    """Stages of an architecture on images of a size, with what each must deliver.

    Args:
        architecture: the network.
        height: of the images.
        width: of the images.

    Returns:
        The stages, the last of which may end without a pool.
    """
    sizes = architecture.sizes(height, width)
    merged: list[tuple[tuple[int, int], int, bool]] = []
    for size, (n, pool) in zip(sizes, architecture.blocks, strict=False):
        if merged and not merged[-1][2]:
            merged[-1] = (merged[-1][0], merged[-1][1] + n, pool)
        else:
            merged.append((size, n, pool))
    needed = readout_radius(architecture, sizes[-1])
    stages = []
    for size, n, pool in reversed(merged):
        if pool:
            needed = (min(2 * needed[0] + 1, size[0] - 1), min(2 * needed[1] + 1, size[1] - 1))
        stages.append(Stage(size, n, pool, needed))
    return stages[::-1]


def readout_radius(architecture: ConvolutionalArchitecture, size: tuple[int, int]) -> tuple[int, int]:
    """Returns the largest |Δ| that the readout needs."""
    return (0, 0) if architecture.readout == "flatten" else (size[0] - 1, size[1] - 1)


def _targets_along(d: int, n: int, pooled_radius: int) -> Iterator[tuple[int, slice, slice]]:
    for r in (0, 1):
        pooled = (d + r - (d + r) % 2) // 2
        if abs(pooled) > pooled_radius:
            continue
        first, last = max(0, -pooled), n // 2 - max(0, pooled)
        if last > first:
            start = 2 * first + r - max(0, -d)
            yield pooled, slice(start, start + 2 * (last - first) - 1, 2), slice(0, last - first)
