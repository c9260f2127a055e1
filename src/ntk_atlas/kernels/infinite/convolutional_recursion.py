"""The recursion over layers of a convolutional network of infinite width, offset by offset.

With A the average over a kernel's k² positions (zero outside the image), at a fixed offset Δ of the two pixels,

    K = σ_w² A(T) + σ_b²,    Θ = f A(T) + A(σ_w² Ṫ Θ_before) + bias part,    T⁰ = x_p · x'_{p+Δ} / channels,

f is what the parameterization makes of σ_w² and the fan-in k² · channels (Arora et al. 2019; Novak et al. 2019).
Arrays have the pixels first and the pairs of images last: `(height, width, rows, columns)`, or `(height, width, n)`
for n images each paired with itself.

A pair of pixels (p, q) of two images has an offset Δ = q − p. A convolution at stride 1 takes covariances of one
offset to those of the same offset, 2 x 2 pooling those with 2D − 1 ≤ Δ ≤ 2D + 1 to offset D, and an activation acts on
each alone. So what is needed is a box of offsets: only Δ = 0 before a `flatten`, |Δ| ≤ 1 before a pool and a
`flatten`, |Δ| ≤ 3 before two; all of them before a global average. Everything else never enters the result.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ntk_atlas.activations import ActivationOverflowError, Dual
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.infinite.recursion import bias_part, weight_part
from ntk_atlas.kernels.infinite.soundness import without_underflow
from ntk_atlas.networks.convolutional_architecture import ConvolutionalArchitecture

Offset = tuple[int, int]
Region = tuple[slice, slice]
Sides = list[Any]


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


class Pairs(ABC):
    """Pairs of images: what differs between a tile of pairs and images paired with themselves."""

    def needs(self, offset: Offset) -> bool:
        """Returns whether an offset has to be computed."""
        return True

    def twins(self, offset: Offset) -> list[Offset]:
        """Returns the offsets whose arrays are the one of `offset`, itself included."""
        return [offset]

    @abstractmethod
    def products(self, first: Region, second: Region) -> Tensor:
        """Inner products over channels of pixels of the first image with pixels of the second."""

    @abstractmethod
    def activate(self, layer: int, stage: Stage, offset: Offset, nngp: Tensor, ntk: Tensor) -> tuple[Tensor, Tensor]:
        """Returns σ_w² T and σ_w² Ṫ; `nngp` may be overwritten."""


@dataclass
class SamePairs(Pairs):
    """Each of n images with itself: variances of all pixels in all layers, and the exact diagonal.

    Attributes:
        images: `(channels, height, width, n)`, float64.
        dual: of the activation.
        sigma_w2: σ_w².
        variances: K of each convolution's output, pixel with itself, `(height, width, n)`; filled by the run.
        largest: largest E[φ²], E[φ'²] and NTK before the activation, of each convolution; filled by the run.
    """

    images: Tensor
    dual: Dual
    sigma_w2: float
    variances: list[Tensor] = field(default_factory=list)
    largest: list[tuple[float, float, float]] = field(default_factory=list)
    _ready: list[Dual] = field(default_factory=list)
    _sides: list[Any] = field(default_factory=list)

    def needs(self, offset: Offset) -> bool:
        """Returns whether an offset has to be computed: one of Δ and −Δ, between which the images swap roles."""
        return offset >= (0, 0)

    def twins(self, offset: Offset) -> list[Offset]:
        """Returns Δ and −Δ: the pixels of the overlap come in the same order."""
        return [offset] if offset == (0, 0) else [offset, (-offset[0], -offset[1])]

    def products(self, first: Region, second: Region) -> Tensor:
        """Returns `(height, width, n)`, see `Pairs.products`."""
        return (self.images[:, *first] * self.images[:, *second]).sum(0)

    def activate(self, layer: int, stage: Stage, offset: Offset, nngp: Tensor, ntk: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the layer, see `Pairs.activate`; exact moments for a pixel with itself.

        Raises:
            ActivationOverflowError: a function of the user's overflows at the variances of the layer, which is named.
        """
        if offset == (0, 0):
            nngp = without_underflow(nngp)
            try:
                dual = self.dual.at(nngp)
            except ActivationOverflowError as error:
                raise ActivationOverflowError(f"convolution {layer + 1}: {error}") from None
            self._ready.append(dual)
            self._sides.append(dual.side(nngp, nngp.dtype))
            self.variances.append(nngp)
            moment, slope = dual.second_moment(nngp), dual.slope_moment(nngp)
            self.largest.append((float(moment.max()), float(slope.max()), float(ntk.max())))
            return moment * self.sigma_w2, slope * self.sigma_w2
        dual = self._ready[layer]
        first, second = (dual.crop(self._sides[layer], region) for region in overlap(offset, stage.size))
        scratch = (torch.empty_like(nngp), torch.empty_like(nngp))
        result = dual.evaluate(nngp, first, second, scratch, self.sigma_w2)
        return result.moment, result.slope


@dataclass
class TilePairs(Pairs):
    """All pairs of two groups of images.

    Attributes:
        first: `(height, width, rows, channels)`.
        second: `(height, width, columns, channels)`.
        duals: made ready for all variances, by layer.
        sides: of the rows and of the columns, by layer.
        sigma_w2: σ_w².
        diagonal: where the diagonal of equal images starts, the first column less the first row; None if the groups
            have none in common.
        errors: `(2, depth)`: largest errors of T and Ṫ, raised by the run.
    """

    first: Tensor
    second: Tensor
    duals: list[Dual]
    sides: tuple[Sides, Sides]
    sigma_w2: float
    diagonal: int | None
    errors: Tensor

    def products(self, first: Region, second: Region) -> Tensor:
        """Returns `(height, width, rows, columns)`, see `Pairs.products`."""
        return self.first[first] @ self.second[second].mT

    def activate(self, layer: int, stage: Stage, offset: Offset, nngp: Tensor, ntk: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the layer, see `Pairs.activate`."""
        if self.diagonal is not None and offset == (0, 0):
            # An image with itself is known exactly and set in the end; 0 is where every dual is easy.
            nngp.diagonal(-self.diagonal, dim1=-2, dim2=-1).zero_()
        dual = self.duals[layer]
        first, second = (
            dual.crop(side[layer], region) for side, region in zip(self.sides, overlap(offset, stage.size), strict=True)
        )
        scratch = (torch.empty_like(nngp), torch.empty_like(nngp))
        result = dual.evaluate(nngp, first, second, scratch, self.sigma_w2)
        if result.moment_error or result.slope_error:
            found = torch.tensor([result.moment_error, result.slope_error], dtype=torch.float64) / self.sigma_w2
            self.errors[:, layer] = torch.maximum(self.errors[:, layer], found)
        return result.moment, result.slope


@dataclass(frozen=True)
class ConvolutionalRecursion:
    """One family of networks on images of one shape.

    Attributes:
        architecture: blocks, kernel size and readout.
        settings: parameterization, σ_b², biases and output scale.
        sigma_w2: σ_w².
        width: channels of every convolution, for parameterizations whose NTK grows with them.
        image_shape: channels, height and width of an input.
        stages: convolutions between pools.
        bias_part: what a layer's biases add to the NTK.
    """

    architecture: ConvolutionalArchitecture
    settings: NetworkSettings
    sigma_w2: float
    width: int | None
    image_shape: tuple[int, int, int]
    stages: list[Stage] = field(init=False)
    bias_part: float = field(init=False)
    _fan_ins: list[float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", stages_of(self.architecture, *self.image_shape[1:]))
        fan_ins = self.architecture.fan_ins(self.image_shape, self.width or 1)
        factors = [weight_part(self.settings, fan_in, self.width, self.sigma_w2) for fan_in in fan_ins]
        object.__setattr__(self, "_fan_ins", factors)
        object.__setattr__(self, "bias_part", bias_part(self.settings, self.width))

    def fan_in(self, layer: int) -> float:
        """Factor of T in the NTK of a layer: convolutions from 0, then the readout."""
        return self._fan_ins[layer]

    @property
    def readout_size(self) -> tuple[int, int]:
        """Height and width before the readout."""
        return self.architecture.sizes(*self.image_shape[1:])[-1]

    def run(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """NNGP and NTK of pairs of images.

        Args:
            pairs: the pairs; its `activate` is called layer by layer, for offset (0, 0) first in every stage.

        Returns:
            Both kernels, without the output scale.
        """
        readout = _Readout(self, pairs)
        pooled: dict[Offset, tuple[Tensor, Tensor]] = {}
        layer = 0
        for number, stage in enumerate(self.stages):
            last = number + 1 == len(self.stages)
            after = readout.radius if last else self.stages[number + 1].radius
            before, pooled = pooled, {}
            for offset in filter(pairs.needs, stage.offsets()):
                if number and offset not in before:
                    continue
                moment, part = before.pop(offset) if number else self._inputs(pairs, offset)
                for convolution in range(stage.n_convolutions):
                    moment, part = self._convolve(pairs, layer + convolution, stage, offset, moment, part)
                assert part is not None  # there is a convolution in the first stage
                if stage.pool:
                    for twin in pairs.twins(offset):
                        self._pool(pairs, pooled, stage, twin, after, moment, part)
                elif last:
                    readout.add(offset, moment, part)
            layer += stage.n_convolutions
        for offset, (moment, slope_part) in pooled.items():
            readout.add(offset, moment, slope_part)
        return readout.kernels()

    def _inputs(self, pairs: Pairs, offset: Offset) -> tuple[Tensor, None]:
        return pairs.products(*overlap(offset, self.stages[0].size)).mul_(self.sigma_w2 / self.image_shape[0]), None

    def _convolve(
        self, pairs: Pairs, layer: int, stage: Stage, offset: Offset, moment: Tensor, slope_part: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        # σ_w² T and σ_w² Ṫ Θ behind the activation from those before the convolution.
        ntk = moment * (self.fan_in(layer) / self.sigma_w2)
        if slope_part is not None:
            ntk.add_(slope_part)
        ntk = box_mean(ntk, self.architecture.kernel_size).add_(self.bias_part)
        nngp = box_mean(moment, self.architecture.kernel_size).add_(self.settings.bias_variance)
        moment, slope = pairs.activate(layer, stage, offset, nngp, ntk)
        return moment, ntk.mul_(slope)

    @staticmethod
    def _pool(
        pairs: Pairs,
        pooled: dict[Offset, tuple[Tensor, Tensor]],
        stage: Stage,
        offset: Offset,
        radius: tuple[int, int],
        moment: Tensor,
        slope_part: Tensor,
    ) -> None:
        size = (stage.size[0] // 2, stage.size[1] // 2)
        for target in stage.pool_targets(offset, radius):
            if not pairs.needs(target.offset):
                continue
            if target.offset not in pooled:
                shape = tuple(n - abs(d) for n, d in zip(size, target.offset, strict=True))
                shape += tuple(moment.shape[2:])
                pooled[target.offset] = moment.new_zeros(shape), moment.new_zeros(shape)
            for sums, part in zip(pooled[target.offset], (moment, slope_part), strict=True):
                sums[target.to].add_(part[target.from_], alpha=1 / 16)


class _Readout:
    """Sums over the pixels before the dense layer."""

    def __init__(self, recursion: ConvolutionalRecursion, pairs: Pairs):
        self.recursion, self.pairs = recursion, pairs
        self.flatten = recursion.architecture.readout == "flatten"
        self.radius = readout_radius(recursion.architecture, recursion.readout_size)
        self.sums: tuple[Tensor, Tensor] | None = None

    def add(self, offset: Offset, moment: Tensor, slope_part: Tensor) -> None:
        if self.flatten and offset != (0, 0):
            return
        times = len(self.pairs.twins(offset))
        sums = (moment.sum((0, 1)).mul_(times), slope_part.sum((0, 1)).mul_(times))
        self.sums = sums if self.sums is None else (self.sums[0].add_(sums[0]), self.sums[1].add_(sums[1]))

    def kernels(self) -> tuple[Tensor, Tensor]:
        recursion = self.recursion
        n_pixels = recursion.readout_size[0] * recursion.readout_size[1]
        assert self.sums is not None  # offset (0, 0) has been added
        moment, slope_part = (part / (n_pixels if self.flatten else n_pixels**2) for part in self.sums)
        fan_in = recursion.fan_in(recursion.architecture.depth)
        ntk = slope_part.add_(moment, alpha=fan_in / recursion.sigma_w2).add_(recursion.bias_part)
        return moment.add_(recursion.settings.bias_variance), ntk


def box_mean(x: Tensor, kernel_size: int) -> Tensor:
    """Average over kernel_size² positions around each pixel, 0 outside, `(height, width, …)`."""
    for axis in (0, 1):
        out = x.clone()
        for shift in range(1, min(kernel_size // 2, x.shape[axis] - 1) + 1):
            n = x.shape[axis] - shift
            out.narrow(axis, shift, n).add_(x.narrow(axis, 0, n))
            out.narrow(axis, 0, n).add_(x.narrow(axis, shift, n))
        x = out
    return x.div_(kernel_size**2)
