r"""φ = erf.

With α = √(1+2a), β = √(1+2b), s = 2c/αβ (Williams 1997): T = (2/π) arcsin s, Ṫ = (4/π) / (αβ √(1−s²)).
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ntk_atlas.activations import Activation, ClosedFormDual, DualTile, squared_cosine

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class ErfDual(ClosedFormDual):
    """The formulas above on tiles."""

    def second_moment(self, q: "Tensor") -> "Tensor":
        """Returns E[φ(√q z)²]."""
        return (2 / math.pi) * (2.0 * q).atan2((1.0 + 4.0 * q).sqrt())

    def slope_moment(self, q: "Tensor") -> "Tensor":
        """Returns E[φ'(√q z)²]."""
        return (4 / math.pi) / (1.0 + 4.0 * q).sqrt()

    def side(self, q: "Tensor", dtype: "torch.dtype") -> "tuple[Tensor, Tensor, Tensor]":
        """Returns √(2 / (1 + 2q)), √(2q/(1 + 2q)) and 1/(1 + 2q)."""
        q1 = 1.0 + 2.0 * q
        return (2.0 / q1).sqrt().to(dtype), (2.0 * q / q1).sqrt().to(dtype), (1.0 / q1).to(dtype)

    def evaluate(self, c: "Tensor", a: Any, b: Any, scratch: "tuple[Tensor, Tensor]", gain: float) -> DualTile:
        """Returns the tile, see `Dual.evaluate`."""
        import torch

        slope, moment = scratch
        sine = c.mul_(a[0]).mul_(b[0])
        cosine_squared = squared_cosine(sine, a[1:], b[1:], slope)
        torch.asin(sine, out=moment).mul_(2 * gain / math.pi)
        cosine_squared.rsqrt_().mul_((2 * gain / math.pi) * a[0]).mul_(b[0])
        return DualTile(moment, slope)


class Erf(Activation):
    """φ(u) = erf(u)."""

    kinks, homogeneous = (), None

    def phi(self, u: "Tensor") -> "Tensor":
        """Returns φ of every entry of u."""
        return u.erf()

    def on_array(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns φ(u) and φ'(u)."""
        from scipy.special import erf

        return erf(u), 2.0 / math.sqrt(math.pi) * np.exp(-(u**2))

    def dual(self) -> ErfDual:
        """Returns its dual."""
        return ErfDual()

    def of_torch(self, function: object) -> Activation | None:
        """Returns itself for torch's function."""
        import torch

        return self if function is torch.erf else None


erf = Erf()
