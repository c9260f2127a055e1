r"""Dual activations in closed form: Gaussian expectations of an activation and of its derivative.

For (u, v) ~ N(0, [[a, c], [c, b]]),  T = E[φ(u) φ(v)]  and  Ṫ = E[φ'(u) φ'(v)] = ∂T/∂c.

* (leaky) ReLU of slope s (Cho & Saul 2009), ρ = c/√(ab), κ = (1−s)²/2π, Ṫ = s + κ (π − arccos ρ),
  T = √(ab) (κ √(1−ρ²) + ρ Ṫ);
* erf (Williams 1997), α = √(1+2a), β = √(1+2b), s = 2c/αβ: T = (2/π) arcsin s, Ṫ = (4/π) / (αβ √(1−s²));
* GELU u Φ(u) by Stein's lemma, α = √(1+a), β = √(1+b), s = c/αβ = cos of an angle, w = √(1−s²), y = s/w,
  g = π − arccos s, P = ab/(αβ)², Q = 1/(αβ)²: T = αβ (s g + w (P + Q y²)) / 2π,
  Ṫ = (g + y (1 − P + Q (2 + y²))) / 2π.

A dual is evaluated in place on tiles: `side` prepares what depends on one sample only, once a sample and layer,
`evaluate` overwrites a tile of covariances and costs one inverse trigonometric function and one root an entry.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

# Correlations this near to ±1 in float64 are equal or scaled inputs: the angle, a square root of what is left, would
# turn 1e-15 into 3e-8. (In float32 the same step would move inputs that do differ.)
_NEARLY_ONE = 1.0 - 32 * torch.finfo(torch.float64).eps


class DualTile(NamedTuple):
    """Dual activations of one tile.

    Attributes:
        moment: gain · T.
        slope: gain · Ṫ.
        moment_error: bound on the error of gain · T by quadrature; 0 for closed forms.
        slope_error: the same of gain · Ṫ.
    """

    moment: Tensor
    slope: Tensor
    moment_error: float = 0.0
    slope_error: float = 0.0


class Dual(Protocol):
    """Expectations of one activation. Variances and covariances have any shapes that broadcast."""

    closed_form: ClassVar[bool]

    def at(self, q: Tensor) -> "Dual":
        """The same dual, made ready for variances q (float64)."""

    def moment_errors(self, q: Tensor) -> tuple[float, float]:
        """Largest errors of `second_moment` and of `slope_moment` at variances q, relative to them."""

    def curvature_moment(self, q: Tensor) -> float:
        """Largest E[φ''(√q z)²] over variances q, by which an error of c enters Ṫ; 0 if nothing has an error."""

    def fixed_bytes(self) -> int:
        """Memory of what does not depend on samples."""

    def bytes_per_sample(self, element_size: int) -> int:
        """Memory of a `side`, while it is made, for each of its samples."""

    def second_moment(self, q: Tensor) -> Tensor:
        """E[φ(√q z)²], z ~ N(0, 1), float64."""

    def slope_moment(self, q: Tensor) -> Tensor:
        """E[φ'(√q z)²], float64."""

    def side(self, q: Tensor, dtype: torch.dtype) -> Any:
        """What `evaluate` needs of samples with variances q (float64), shaped as q."""

    def crop(self, side: Any, region: tuple[slice, slice]) -> Any:
        """The part of a side in a region of its first two dimensions."""

    def evaluate(self, c: Tensor, a: Any, b: Any, scratch: tuple[Tensor, Tensor], gain: float) -> DualTile:
        """T and Ṫ times `gain` at covariances c, whose memory and `scratch` (two more like c) are overwritten."""


class _ClosedForm:
    """What closed forms share: no quadrature, so no error of it."""

    closed_form: ClassVar[bool] = True

    def at(self, q: Tensor) -> "Dual":
        """Returns itself."""
        return self

    def moment_errors(self, q: Tensor) -> tuple[float, float]:
        """Returns zeros."""
        return 0.0, 0.0

    def curvature_moment(self, q: Tensor) -> float:
        """Returns 0."""
        return 0.0

    def crop(self, side: Any, region: tuple[slice, slice]) -> Any:
        """Returns the part of a side in a region of its first two dimensions."""
        if isinstance(side, Tensor):
            return side[region]
        return tuple(None if part is None else part[region] for part in side)

    def fixed_bytes(self) -> int:
        """Returns 0."""
        return 0

    def bytes_per_sample(self, element_size: int) -> int:
        """Returns the memory of four numbers and their float64 forms."""
        return 4 * (element_size + 8)


@dataclass(frozen=True)
class HomogeneousDual(_ClosedForm):
    """φ(u) = max(u, 0) + slope · min(u, 0): ReLU at slope 0, leaky ReLU, the identity at 1."""

    negative_slope: float = 0.0

    def second_moment(self, q: Tensor) -> Tensor:
        """Returns E[φ(√q z)²]."""
        return 0.5 * (1.0 + self.negative_slope**2) * q

    def slope_moment(self, q: Tensor) -> Tensor:
        """Returns E[φ'(√q z)²]."""
        return torch.full_like(q, 0.5 * (1.0 + self.negative_slope**2))

    def side(self, q: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns √q, 1/√q (0 where q = 0), and where q = 0 if it is anywhere."""
        root = q.sqrt()
        zero = root == 0
        # 0 too where the precision of the tile has no such number: the covariances it multiplies are 0 there.
        inverse = torch.where(zero | (root < 1.0 / torch.finfo(dtype).max), 0.0, 1.0 / root)
        return root.to(dtype), inverse.to(dtype), zero.to(dtype) if bool(zero.any()) else None

    def evaluate(self, c: Tensor, a: Any, b: Any, scratch: tuple[Tensor, Tensor], gain: float) -> DualTile:
        """Returns the tile, see `Dual.evaluate`; a sample of variance 0 is orthogonal to all but its equals."""
        slope, moment = scratch
        kappa = gain * (1.0 - self.negative_slope) ** 2 / (2 * math.pi)
        rho = c.mul_(a[1]).mul_(b[1])
        if a[2] is not None and b[2] is not None:
            rho.addcmul_(a[2], b[2])
        if c.dtype == torch.float64:
            for _ in range(2):  # both ends
                F.threshold_(rho.neg_(), -_NEARLY_ONE, -1.0)
        else:
            rho.clamp_(-1.0, 1.0)
        torch.acos(rho, out=slope)
        torch.add(c.new_tensor(gain * self.negative_slope + kappa * math.pi), slope, alpha=-kappa, out=slope)
        torch.addcmul(c.new_tensor(kappa**2), rho, rho, value=-(kappa**2), out=moment)
        moment.sqrt_().addcmul_(rho, slope)
        return DualTile(moment.mul_(a[0]).mul_(b[0]), slope)


@dataclass(frozen=True)
class ErfDual(_ClosedForm):
    """φ = erf."""

    def second_moment(self, q: Tensor) -> Tensor:
        """Returns E[φ(√q z)²]."""
        return (2 / math.pi) * torch.atan2(2.0 * q, torch.sqrt(1.0 + 4.0 * q))

    def slope_moment(self, q: Tensor) -> Tensor:
        """Returns E[φ'(√q z)²]."""
        return (4 / math.pi) / torch.sqrt(1.0 + 4.0 * q)

    def side(self, q: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Returns √(2 / (1 + 2q)), √(2q/(1 + 2q)) and 1/(1 + 2q)."""
        q1 = 1.0 + 2.0 * q
        return torch.sqrt(2.0 / q1).to(dtype), torch.sqrt(2.0 * q / q1).to(dtype), (1.0 / q1).to(dtype)

    def evaluate(self, c: Tensor, a: Any, b: Any, scratch: tuple[Tensor, Tensor], gain: float) -> DualTile:
        """Returns the tile, see `Dual.evaluate`."""
        slope, moment = scratch
        sine = c.mul_(a[0]).mul_(b[0])
        squared_cosine = _squared_cosine(sine, a[1:], b[1:], slope)
        torch.asin(sine, out=moment).mul_(2 * gain / math.pi)
        squared_cosine.rsqrt_().mul_((2 * gain / math.pi) * a[0]).mul_(b[0])
        return DualTile(moment, slope)


@dataclass(frozen=True)
class GeluDual(_ClosedForm):
    """φ(u) = u Φ(u) with the normal distribution function Φ."""

    def second_moment(self, q: Tensor) -> Tensor:
        """Returns E[φ(√q z)²]."""
        root = torch.sqrt(1.0 + 2.0 * q)
        # Beyond 1e100 q / (1 + q) is 1, and q² would overflow.
        rest = torch.where(q < 1e100, q**2 / (math.pi * (1.0 + q) * root), q / (math.pi * root))
        return q / 4 + q * torch.atan2(q, root) / (2 * math.pi) + rest

    def slope_moment(self, q: Tensor) -> Tensor:
        """Returns E[φ'(√q z)²]."""
        root, q1 = torch.sqrt(1.0 + 2.0 * q), 1.0 + q
        tangent = q / root
        bracket = (root / q1) ** 2 + (2.0 + tangent**2) / q1**2
        return 0.25 + (torch.atan2(q, root) + tangent * bracket) / (2 * math.pi)

    def side(self, q: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns √(1+q), its inverse, √(q/(1+q)) and 1/(1+q)."""
        q1 = 1.0 + q
        return q1.sqrt().to(dtype), q1.rsqrt().to(dtype), (q / q1).sqrt().to(dtype), (1.0 / q1).to(dtype)

    def evaluate(self, c: Tensor, a: Any, b: Any, scratch: tuple[Tensor, Tensor], gain: float) -> DualTile:
        """Returns the tile, see `Dual.evaluate`."""
        slope, moment = scratch
        share = gain / (2 * math.pi)
        sine = c.mul_(a[1]).mul_(b[1])
        cosine = _squared_cosine(sine, a[2:], b[2:], slope).sqrt_()
        angle = torch.asin(sine).add_(math.pi / 2)
        tangent = sine / cosine
        square = tangent * tangent
        torch.mul(square, a[3], out=moment).mul_(b[3])  # Q y²
        product = (a[2] * b[2]).square_()
        moment.add_(product).mul_(cosine).addcmul_(sine, angle).mul_(share * a[0]).mul_(b[0])
        torch.add(square, 2.0, out=slope).mul_(a[3]).mul_(b[3]).sub_(product).add_(1.0)
        return DualTile(moment, slope.mul_(tangent).add_(angle).mul_(share))


def _squared_cosine(sine: Tensor, a: Sequence[Tensor], b: Sequence[Tensor], out: Tensor) -> Tensor:
    """1 − s² with s = c/√((1 + a)(1 + b)), from √(a/(1 + a)) and 1/(1 + a) of both samples; s is held to c² ≤ ab.

    c² ≤ ab makes 1 − s² at least (1 + a + b)/((1 + a)(1 + b)), which is what equal samples have. Rounding would break
    both: s comes near to 1 as variances grow, 1 − s² would be rounding alone, and a correlation above 1 grows from
    layer to layer.
    """
    limit = a[0] * b[0]
    torch.minimum(sine, limit, out=sine)
    torch.maximum(sine, limit.neg_(), out=sine)
    torch.addcmul(sine.new_tensor(1.0), sine, sine, value=-1.0, out=out)
    return torch.maximum(out, a[0].square() * b[1] + a[1], out=out)
