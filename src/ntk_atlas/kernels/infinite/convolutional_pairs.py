"""Pairs of images under the convolutional recursion: every image with itself, or all pairs of two groups."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ntk_atlas.activations import ActivationOverflowError
from ntk_atlas.activations.activation import Dual
from ntk_atlas.kernels.infinite.convolutional_geometry import Offset, Region, Stage, overlap
from ntk_atlas.kernels.infinite.soundness import without_underflow

Sides = list[Any]


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
