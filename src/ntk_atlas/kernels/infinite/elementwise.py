"""Functions of a user's own as activations of kernels, and the nodes on which they are integrated."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ntk_atlas.activations import elementwise
from ntk_atlas.activations.elementwise import ActivationError
from ntk_atlas.kernels.errors import KernelInputError


class UnsupportedActivationError(KernelInputError, ActivationError):
    """An activation whose infinite-width kernel is not known or cannot be computed."""


class ActivationOverflowError(UnsupportedActivationError):
    """An activation that is not finite, or too steep to integrate, where a Gaussian of a layer's variance reaches."""


@dataclass(frozen=True)
class ElementwiseFunction(elementwise.ElementwiseFunction):
    """φ with φ' by automatic differentiation; see there."""

    error: ClassVar[type[ValueError]] = UnsupportedActivationError


@dataclass(frozen=True)
class Grid:
    """Midpoint nodes z on [−12, 12], never at a kink in 0, with Gaussian weights."""

    z: Tensor
    weight: Tensor

    @classmethod
    def of(cls, n_nodes: int, device: torch.device | None = None) -> "Grid":
        """The grid of `n_nodes`."""
        step = 24.0 / n_nodes
        z = (torch.arange(n_nodes, dtype=torch.float64, device=device) + 0.5) * step - 12.0
        return cls(z, torch.exp(-0.5 * z**2) * (step / math.sqrt(2 * math.pi)))
