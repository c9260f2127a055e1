r"""φ(u) = u Φ(u) with the normal distribution function Φ.

By Stein's lemma, with α = √(1+a), β = √(1+b), s = c/αβ = cos of an angle, w = √(1−s²), y = s/w, g = π − arccos s,
P = ab/(αβ)², Q = 1/(αβ)²: T = αβ (s g + w (P + Q y²)) / 2π,  Ṫ = (g + y (1 − P + Q (2 + y²))) / 2π.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ntk_atlas.activations import Activation, ClosedFormDual, DualTile, squared_cosine

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class GeluDual(ClosedFormDual):
    """The formulas above on tiles."""

    def second_moment(self, q: "Tensor") -> "Tensor":
        """Returns E[φ(√q z)²]."""
        import torch

        root = torch.sqrt(1.0 + 2.0 * q)
        # Beyond 1e100 q / (1 + q) is 1, and q² would overflow.
        rest = torch.where(q < 1e100, q**2 / (math.pi * (1.0 + q) * root), q / (math.pi * root))
        return q / 4 + q * torch.atan2(q, root) / (2 * math.pi) + rest

    def slope_moment(self, q: "Tensor") -> "Tensor":
        """Returns E[φ'(√q z)²]."""
        root, q1 = (1.0 + 2.0 * q).sqrt(), 1.0 + q
        tangent = q / root
        bracket = (root / q1) ** 2 + (2.0 + tangent**2) / q1**2
        return 0.25 + (q.atan2(root) + tangent * bracket) / (2 * math.pi)

    def side(self, q: "Tensor", dtype: "torch.dtype") -> "tuple[Tensor, Tensor, Tensor, Tensor]":
        """Returns √(1+q), its inverse, √(q/(1+q)) and 1/(1+q)."""
        q1 = 1.0 + q
        return q1.sqrt().to(dtype), q1.rsqrt().to(dtype), (q / q1).sqrt().to(dtype), (1.0 / q1).to(dtype)

    def evaluate(self, c: "Tensor", a: Any, b: Any, scratch: "tuple[Tensor, Tensor]", gain: float) -> DualTile:
        """Returns the tile, see `Dual.evaluate`."""
        import torch

        slope, moment = scratch
        share = gain / (2 * math.pi)
        sine = c.mul_(a[1]).mul_(b[1])
        cosine = squared_cosine(sine, a[2:], b[2:], slope).sqrt_()
        angle = torch.asin(sine).add_(math.pi / 2)
        tangent = sine / cosine
        square = tangent * tangent
        torch.mul(square, a[3], out=moment).mul_(b[3])  # Q y²
        product = (a[2] * b[2]).square_()
        moment.add_(product).mul_(cosine).addcmul_(sine, angle).mul_(share * a[0]).mul_(b[0])
        torch.add(square, 2.0, out=slope).mul_(a[3]).mul_(b[3]).sub_(product).add_(1.0)
        return DualTile(moment, slope.mul_(tangent).add_(angle).mul_(share))


class Gelu(Activation):
    """φ(u) = u Φ(u)."""

    kinks, homogeneous = (), None

    def phi(self, u: "Tensor") -> "Tensor":
        """Returns φ of every entry of u."""
        from torch.nn import functional as F

        return F.gelu(u)

    def on_array(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns φ(u) and φ'(u)."""
        from scipy.special import ndtr

        cdf = ndtr(u)
        return u * cdf, cdf + u * np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)

    def dual(self) -> GeluDual:
        """Returns its dual."""
        return GeluDual()

    def of_torch(self, function: object) -> Activation | None:
        """Returns itself for torch's function and module, as long as Φ is not approximated."""
        from torch import nn

        exact = isinstance(function, nn.GELU) and function.approximate == "none"
        return self if exact or function is nn.functional.gelu else None


gelu = Gelu()
