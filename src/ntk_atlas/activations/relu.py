r"""ReLU, and what it shares with every φ(u) = max(u, 0) + s · min(u, 0).

With ρ = c/√(ab), κ = (1−s)²/2π (Cho & Saul 2009): Ṫ = s + κ (π − arccos ρ), T = √(ab) (κ √(1−ρ²) + ρ Ṫ).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ntk_atlas.activations import Activation, ClosedFormDual, DualTile

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Correlations this near to ±1 in float64 are equal or scaled inputs: the angle, a square root of what is left, would
# turn 1e-15 into 3e-8. (In float32 the same step would move inputs that do differ.)
_NEARLY_ONE = 1.0 - 32 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class HomogeneousDual(ClosedFormDual):
    """φ(u) = max(u, 0) + slope · min(u, 0): ReLU at slope 0, leaky ReLU, the identity at 1."""

    negative_slope: float = 0.0

    def second_moment(self, q: "Tensor") -> "Tensor":
        """Returns E[φ(√q z)²]."""
        return 0.5 * (1.0 + self.negative_slope**2) * q

    def slope_moment(self, q: "Tensor") -> "Tensor":
        """Returns E[φ'(√q z)²]."""
        return q.new_full(q.shape, 0.5 * (1.0 + self.negative_slope**2))

    def side(self, q: "Tensor", dtype: "torch.dtype") -> "tuple[Tensor, Tensor, Tensor | None]":
        """Returns √q, 1/√q (0 where q = 0), and where q = 0 if it is anywhere."""
        import torch

        root = q.sqrt()
        zero = root == 0
        # 0 too where the precision of the tile has no such number: the covariances it multiplies are 0 there.
        inverse = torch.where(zero | (root < 1.0 / torch.finfo(dtype).max), 0.0, 1.0 / root)
        return root.to(dtype), inverse.to(dtype), zero.to(dtype) if bool(zero.any()) else None

    def evaluate(self, c: "Tensor", a: Any, b: Any, scratch: "tuple[Tensor, Tensor]", gain: float) -> DualTile:
        """Returns the tile, see `Dual.evaluate`; a sample of variance 0 is orthogonal to all but its equals."""
        import torch

        slope, moment = scratch
        kappa = gain * (1.0 - self.negative_slope) ** 2 / (2 * math.pi)
        rho = c.mul_(a[1]).mul_(b[1])
        if a[2] is not None and b[2] is not None:
            rho.addcmul_(a[2], b[2])
        if c.dtype == torch.float64:
            for _ in range(2):  # both ends
                torch.threshold_(rho.neg_(), -_NEARLY_ONE, -1.0)
        else:
            rho.clamp_(-1.0, 1.0)
        torch.acos(rho, out=slope)
        torch.add(c.new_tensor(gain * self.negative_slope + kappa * math.pi), slope, alpha=-kappa, out=slope)
        torch.addcmul(c.new_tensor(kappa**2), rho, rho, value=-(kappa**2), out=moment)
        moment.sqrt_().addcmul_(rho, slope)
        return DualTile(moment.mul_(a[0]).mul_(b[0]), slope)


class Homogeneous(Activation):
    """φ(u) = max(u, 0) + s · min(u, 0).

    Attributes:
        negative_slope: s.
    """

    kinks = (0.0,)

    def __init__(self, negative_slope: float, name: str = ""):
        self.negative_slope, self.name = float(negative_slope), name

    @property
    def homogeneous(self) -> tuple[float, float]:
        """Its slopes."""
        return self.negative_slope, 1.0

    def phi(self, u: "Tensor") -> "Tensor":
        """Returns φ of every entry of u."""
        from torch.nn import functional as F

        return F.leaky_relu(u, self.negative_slope)

    def on_array(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns φ(u) and φ'(u)."""
        slopes = np.where(u > 0, 1.0, self.negative_slope)
        return slopes * u, slopes

    def dual(self) -> HomogeneousDual:
        """Returns its dual."""
        return HomogeneousDual(self.negative_slope)


class Relu(Homogeneous):
    """φ(u) = max(u, 0)."""

    def phi(self, u: "Tensor") -> "Tensor":
        """Returns φ of every entry of u."""
        return u.relu()

    def with_slope(self, u: "Tensor") -> "tuple[Tensor, Tensor]":
        """Returns φ(u) and φ'(u)."""
        u = u.detach()
        return u.clamp(min=0.0), (u > 0.0).to(u.dtype)

    def of_torch(self, function: object) -> Activation | None:
        """Returns itself for torch's functions and module."""
        import torch
        from torch import nn

        same = isinstance(function, nn.ReLU) or function in (torch.relu, nn.functional.relu)
        return self if same else None


relu = Relu(0.0)
