r"""The recursion over layers of a convolutional network of infinite width, offset by offset.

With A the average over a kernel's k² positions (zero outside the image), at a fixed offset Δ of the two pixels,

    K = σ_w² A(T) + σ_b²,    Θ = f A(T) + A(σ_w² Ṫ Θ_before) + bias part,    T⁰ = x_p · x'_{p+Δ} / channels,

f = σ_w² (NTK parameterization) or the fan-in k² · channels (standard) (Arora et al. 2019; Novak et al. 2019).
Arrays have the pixels first and the pairs of images last: `(height, width, rows, columns)`, or `(height, width, n)`
for n images each paired with itself.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.convolutional_geometry import Offset, Region, Stage, overlap, readout_radius, stages_of
from ntk_atlas.kernels.dual_activations import Dual
from ntk_atlas.networks.convolutional_architecture import ConvolutionalArchitecture

Sides = list[Any]


@dataclass(frozen=True)
class ConvolutionalRecursion:
    """One family of networks on images of one shape.

    Attributes:
        architecture: blocks, kernel size and readout.
        settings: parameterization, σ_b², biases and output scale.
        sigma_w2: σ_w².
        width: channels of every convolution, for the standard parameterization.
        image_shape: channels, height and width of an input.
    """

    architecture: ConvolutionalArchitecture
    settings: NetworkSettings
    sigma_w2: float
    width: int | None
    image_shape: tuple[int, int, int]
    stages: list[Stage] = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "stages", stages_of(self.architecture, *self.image_shape[1:]))

    @property
    def standard(self) -> bool:
        """Whether weights carry their scale themselves."""
        return self.settings.parameterization == "standard"

    @property
    def bias_part(self) -> float:
        """What a layer's biases add to the NTK."""
        return float(self.settings.trainable_biases) * (1.0 if self.standard else self.settings.bias_variance)

    def fan_in(self, layer: int) -> float:
        """Factor of T in the NTK of a layer: convolutions from 0, then the readout."""
        if not self.standard:
            return self.sigma_w2
        if layer < self.architecture.depth:
            return float(self.architecture.kernel_size**2 * (self.image_shape[0] if layer == 0 else self.width or 1))
        h, w = self.readout_size
        return float((self.width or 1) * (h * w if self.architecture.readout == "flatten" else 1))

    @property
    def readout_size(self) -> tuple[int, int]:
        """Height and width before the readout."""
        return self.architecture.sizes(*self.image_shape[1:])[-1]

    def run(self, pairs: "Pairs") -> tuple[Tensor, Tensor]:
        """NNGP and NTK of pairs of images.

        Args:
            pairs: the pairs; its `activate` is called layer by layer, for offset (0, 0) first in every stage.

        Returns:
            Both kernels, without the output scale.
        """
        readout = _Readout(self)
        pooled: dict[Offset, tuple[Tensor, Tensor]] = {}
        layer = 0
        for number, stage in enumerate(self.stages):
            last = number + 1 == len(self.stages)
            after = readout.radius if last else self.stages[number + 1].radius
            before, pooled = pooled, {}
            for offset in stage.offsets():
                moment, slope_part = before.pop(offset, (None, None)) if number else self._inputs(pairs, offset)
                if moment is None:
                    continue
                for convolution in range(stage.n_convolutions):
                    moment, slope_part = self._convolve(pairs, layer + convolution, stage, offset, moment, slope_part)
                if stage.pool:
                    self._pool(pooled, stage, offset, after, moment, slope_part)
                elif last:
                    readout.add(offset, moment, slope_part)
            layer += stage.n_convolutions
        for offset, (moment, slope_part) in pooled.items():
            readout.add(offset, moment, slope_part)
        return readout.kernels()

    def _inputs(self, pairs: "Pairs", offset: Offset) -> tuple[Tensor, None]:
        return pairs.products(*overlap(offset, self.stages[0].size)).mul_(self.sigma_w2 / self.image_shape[0]), None

    def _convolve(
        self, pairs: "Pairs", layer: int, stage: Stage, offset: Offset, moment: Tensor, slope_part: Tensor | None
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
        pooled: dict[Offset, tuple[Tensor, Tensor]],
        stage: Stage,
        offset: Offset,
        radius: tuple[int, int],
        moment: Tensor,
        slope_part: Tensor,
    ) -> None:
        size = (stage.size[0] // 2, stage.size[1] // 2)
        for target in stage.pool_targets(offset, radius):
            if target.offset not in pooled:
                shape = tuple(n - abs(d) for n, d in zip(size, target.offset, strict=True))
                pooled[target.offset] = tuple(moment.new_zeros(*shape, *moment.shape[2:]) for _ in range(2))
            for sums, part in zip(pooled[target.offset], (moment, slope_part), strict=True):
                sums[target.to].add_(part[target.from_], alpha=1 / 16)


class _Readout:
    """Sums over the pixels before the dense layer."""

    def __init__(self, recursion: ConvolutionalRecursion):
        self.recursion = recursion
        self.flatten = recursion.architecture.readout == "flatten"
        self.radius = readout_radius(recursion.architecture, recursion.readout_size)
        self.sums: tuple[Tensor, Tensor] | None = None

    def add(self, offset: Offset, moment: Tensor, slope_part: Tensor) -> None:
        if self.flatten and offset != (0, 0):
            return
        sums = (moment.sum((0, 1)), slope_part.sum((0, 1)))
        self.sums = sums if self.sums is None else (self.sums[0].add_(sums[0]), self.sums[1].add_(sums[1]))

    def kernels(self) -> tuple[Tensor, Tensor]:
        recursion = self.recursion
        n_pixels = recursion.readout_size[0] * recursion.readout_size[1]
        moment, slope_part = (part / (n_pixels if self.flatten else n_pixels**2) for part in self.sums)
        fan_in = recursion.fan_in(recursion.architecture.depth)
        ntk = slope_part.add_(moment, alpha=fan_in / recursion.sigma_w2).add_(recursion.bias_part)
        return moment.add_(recursion.settings.bias_variance), ntk


class Pairs:
    """Pairs of images: what differs between a tile of pairs and images paired with themselves."""

    def products(self, first: Region, second: Region) -> Tensor:
        """Inner products over channels of pixels of the first image with pixels of the second."""
        raise NotImplementedError

    def activate(self, layer: int, stage: Stage, offset: Offset, nngp: Tensor, ntk: Tensor) -> tuple[Tensor, Tensor]:
        """Returns σ_w² T and σ_w² Ṫ; `nngp` may be overwritten."""
        raise NotImplementedError


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

    def products(self, first: Region, second: Region) -> Tensor:
        """Returns `(height, width, n)`, see `Pairs.products`."""
        return (self.images[:, *first] * self.images[:, *second]).sum(0)

    def activate(self, layer: int, stage: Stage, offset: Offset, nngp: Tensor, ntk: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the layer, see `Pairs.activate`; exact moments for a pixel with itself."""
        if offset == (0, 0):
            dual = self.dual.at(nngp)
            self._ready.append(dual)
            self.variances.append(nngp)
            moment, slope = dual.second_moment(nngp), dual.slope_moment(nngp)
            self.largest.append((float(moment.max()), float(slope.max()), float(ntk.max())))
            return moment * self.sigma_w2, slope * self.sigma_w2
        dual = self._ready[layer]
        sides = (dual.side(self.variances[layer][region], nngp.dtype) for region in overlap(offset, stage.size))
        scratch = (torch.empty_like(nngp), torch.empty_like(nngp))
        result = dual.evaluate(nngp, *sides, scratch, self.sigma_w2)
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
        on_diagonal: whether both groups are the same images.
        errors: `(2, depth)`: largest errors of T and Ṫ, raised by the run.
    """

    first: Tensor
    second: Tensor
    duals: list[Dual]
    sides: tuple[Sides, Sides]
    sigma_w2: float
    on_diagonal: bool
    errors: Tensor

    def products(self, first: Region, second: Region) -> Tensor:
        """Returns `(height, width, rows, columns)`, see `Pairs.products`."""
        return self.first[first] @ self.second[second].mT

    def activate(self, layer: int, stage: Stage, offset: Offset, nngp: Tensor, ntk: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the layer, see `Pairs.activate`."""
        if self.on_diagonal and offset == (0, 0):
            # An image with itself is known exactly and set in the end; 0 is where every dual is easy.
            nngp.diagonal(dim1=-2, dim2=-1).zero_()
        dual = self.duals[layer]
        sides = [
            dual.crop(side[layer], region) for side, region in zip(self.sides, overlap(offset, stage.size), strict=True)
        ]
        scratch = (torch.empty_like(nngp), torch.empty_like(nngp))
        result = dual.evaluate(nngp, *sides, scratch, self.sigma_w2)
        if result.moment_error or result.slope_error:
            found = torch.tensor([result.moment_error, result.slope_error], dtype=torch.float64) / self.sigma_w2
            self.errors[:, layer] = torch.maximum(self.errors[:, layer], found)
        return result.moment, result.slope


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
