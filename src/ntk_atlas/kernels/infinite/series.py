r"""Dual activations of any continuous activation by Hermite series, with the error they have.

With h_k(q) = E[φ(√q z) He_k(z)] / √k! and d_k(q) the same of φ' (Mehler; Daniely et al. 2016, section 4),

    T = Σ_k h_k(a) h_k(b) ρ^k,    Ṫ = Σ_k d_k(a) d_k(b) ρ^k,    ρ = c/√(ab).

What n terms leave out is at most |ρ|ⁿ √(R_n(a) R_n(b)), R_n = E[φ²] − Σ_{k<n} h_k² (Cauchy–Schwarz), so the
number of terms follows from the tolerance, tile by tile. Coefficients come from a trapezoidal rule whose error is
measured with a third of its nodes. Pairs whose series would be too long, |ρ| near 1 at a variance large for the
activation, are integrated one by one: with z₁, z₂ ~ N(0, 1) and σ = √(1 − ρ²),

    T = E[φ(√a z₁) φ(√b (ρ z₁ + σ z₂))],    Ṫ the same of φ',

where, near |ρ| = 1, the inner integral needs few nodes. What still misses the tolerance is reported, not hidden.
"""

import logging
import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ntk_atlas.activations import Activation, ActivationChoice, activation
from ntk_atlas.activations.activation import STEP, Dual, DualTile, Moments
from ntk_atlas.kernels.infinite.hermite import (
    MOST_TERMS,
    Grid,
    HermiteBases,
    HermiteCoefficients,
    HermiteRule,
    chunk_bytes,
    some_of,
)

log = logging.getLogger(__name__)

TOLERANCE = 1e-10
"""Largest error of T and Ṫ aimed at, relative to √(E[φ(u)²] E[φ(v)²]) and the same of φ'."""
_NO_COEFFICIENT = 1e-14
"""Share of the largest coefficient below which another is rounding."""
_SAFE = 1e-250
_PAIR_EVALUATIONS = 3 * 10**8
"""Most evaluations of the activation spent on single pairs, per tile."""
_FEWEST_INNER = 96
_CHUNK = 2**18


def dual_of(choice: ActivationChoice) -> Dual:
    """The dual of an activation: its closed form if it has one, else its Hermite series.

    Args:
        choice: see `activations.ActivationChoice`.

    Returns:
        The dual.

    Raises:
        ActivationError: see `activations.activation`.
    """
    phi = activation(choice)
    return phi.dual() or SeriesDual(phi, phi.moments)


@dataclass(frozen=True)
class SeriesDual:
    """Dual of an activation by its Hermite series.

    Attributes:
        phi: the activation.
        moments: accurate E[φ²] and E[φ'²]; None takes them from the nodes of the rule.
        rule: nodes and number of terms, set by `at`.
        tolerance: aimed at; float32 tiles stop at their own rounding.
    """

    closed_form: ClassVar[bool] = False
    phi: Activation
    moments: Moments | None = None
    rule: HermiteRule | None = None
    tolerance: float = TOLERANCE
    _bases: HermiteBases = field(default_factory=HermiteBases, repr=False, compare=False)

    def at(self, q: Tensor) -> "SeriesDual":
        """Returns the same dual with nodes and terms enough for variances q, as far as the limits go."""
        return replace(self, rule=HermiteRule.resolving(self.phi, q, self.tolerance, self._bases))

    def second_moment(self, q: Tensor) -> Tensor:
        """Returns E[φ(√q z)²]."""
        return self.moments.second(q, STEP) if self.moments else self._rule(q).moments(q)[0]

    def slope_moment(self, q: Tensor) -> Tensor:
        """Returns E[φ'(√q z)²]."""
        return self.moments.slope(q, STEP) if self.moments else self._rule(q).moments(q)[1]

    def moment_errors(self, q: Tensor) -> tuple[float, float]:
        """Returns the largest relative errors of the moments at variances q; accurate ones have none."""
        return (0.0, 0.0) if self.moments else self._rule(q).moment_errors

    def curvature_moment(self, q: Tensor) -> float:
        """Returns the largest E[φ''(√q z)²] = Σ k d_k² / q at some of the variances q, as far as the series goes."""
        # A sample of variance 0 has covariances of exactly 0 with all others: no error of c enters its Ṫ.
        q = q[q > 0]
        if not len(q):
            return 0.0
        q = some_of(q)
        slopes = self._rule(q).coefficients(q).slopes.flatten(1)
        # Of a small variance the coefficients of k > 0 vanish like its root, down to their rounding.
        slopes = torch.where(slopes.abs() > _NO_COEFFICIENT * slopes.abs().amax(0), slopes, 0.0)
        order = torch.arange(len(slopes), dtype=q.dtype, device=q.device)
        return float(((order @ slopes**2) / q).max())

    def fixed_bytes(self) -> int:
        """Returns the memory of the Hermite polynomials and of one chunk of nodes."""
        return self._bases.nbytes() + chunk_bytes()

    def bytes_per_sample(self, element_size: int) -> int:
        """Returns the memory of both series, and of their running sums of squares."""
        return (self.rule.n_terms if self.rule else MOST_TERMS) * (2 * element_size + 5 * 8)

    def side(self, q: Tensor, dtype: torch.dtype) -> "SeriesSide":
        """Returns the coefficients of samples with variances q, shaped as q behind the order k."""
        rule = self._rule(q)
        return SeriesSide.of(rule.coefficients(q), rule.moments(q), q, dtype)

    def crop(self, side: "SeriesSide", region: tuple[slice, slice]) -> "SeriesSide":
        """Returns the part of a side in a region of its first two dimensions."""
        series = (side.series[0][:, *region], side.series[1][:, *region])
        return replace(side, q=side.q[region], inverse_root=side.inverse_root[region], series=series)

    def evaluate(
        self, c: Tensor, a: "SeriesSide", b: "SeriesSide", scratch: tuple[Tensor, Tensor], gain: float
    ) -> DualTile:
        """Returns the tile and its error, see `Dual.evaluate`."""
        rule, (slope, moment) = self._made_ready(), scratch
        rho = c.mul_(a.inverse_root).mul_(b.inverse_root).clamp_(-1.0, 1.0)
        largest = float(rho.abs().max())
        square = rho * rho
        errors, missed = [], []
        for number, out in enumerate((moment, slope)):
            roots = _root_of_product(a.tails[number], b.tails[number])
            scale = float(roots[0])
            goal = max(self.tolerance, torch.finfo(c.dtype).eps) * scale
            order = torch.arange(len(roots), dtype=roots.dtype, device=roots.device)
            bounds = roots * largest**order
            met = (bounds <= goal).nonzero()
            n_terms = int(met[0]) if len(met) else len(roots) - 1
            _series(a.series[number], b.series[number], rho, square, n_terms, out)
            errors.append(float(bounds[n_terms]) + 2.0 * rule.coefficient_errors[number] * scale)
            if not len(met):
                missed.append((goal / float(roots[-1])) ** (1.0 / n_terms))
        if missed:
            self._pair_by_pair(rho, min(missed), a, b, moment, slope, errors)
        return DualTile(moment.mul_(gain), slope.mul_(gain), gain * errors[0], gain * errors[1])

    def _pair_by_pair(
        self,
        rho: Tensor,
        above: float,
        a: "SeriesSide",
        b: "SeriesSide",
        moment: Tensor,
        slope: Tensor,
        errors: list[float],
    ) -> None:
        # Replaces the entries whose series is too long, if their number allows it.
        rule = self._made_ready()
        where = (rho.abs() > above).nonzero(as_tuple=True)
        pairs = rho[where].double()
        if not len(pairs):
            return
        cost = len(pairs) * rule.n_nodes * inner_nodes(pairs, rule.n_nodes)
        if cost > _PAIR_EVALUATIONS:
            log.warning("%d pairs near |ρ| = 1 keep an error of %.1e of T, %.1e of Ṫ", len(pairs), *errors)
            return
        result = conditional_moments(
            self.phi, a.q.expand(rho.shape)[where], b.q.expand(rho.shape)[where], pairs, rule.n_nodes
        )
        moment[where], slope[where] = result.moment.to(moment.dtype), result.slope.to(slope.dtype)
        for number, error in enumerate((result.moment_error, result.slope_error)):
            roots = _root_of_product(a.tails[number], b.tails[number])
            tail, scale = float(roots[-1]), float(roots[0])
            left = tail * above ** (len(a.tails[number]) - 1) + 2.0 * rule.coefficient_errors[number] * scale
            errors[number] = max(error, left)

    def _rule(self, q: Tensor) -> HermiteRule:
        return self.rule or HermiteRule.resolving(self.phi, q, self.tolerance, self._bases)

    def _made_ready(self) -> HermiteRule:
        assert self.rule is not None, "a dual is evaluated after `at`"
        return self.rule


@dataclass(frozen=True)
class SeriesSide:
    """Samples of one side of a tile.

    Attributes:
        q: variances.
        inverse_root: 1/√q, 0 where q = 0.
        series: h_k and d_k, `(n_terms, *q.shape)`.
        tails: R_n of φ and φ' for n = 0 … n_terms, the largest over samples; R_0 is E[φ²].
    """

    q: Tensor
    inverse_root: Tensor
    series: tuple[Tensor, Tensor]
    tails: tuple[Tensor, Tensor]

    @classmethod
    def of(
        cls, coefficients: HermiteCoefficients, squares: tuple[Tensor, Tensor], q: Tensor, dtype: torch.dtype
    ) -> "SeriesSide":
        """The side of samples with E[φ²], E[φ'²] = `squares`."""
        tails = []
        for series, square in zip((coefficients.values, coefficients.slopes), squares, strict=True):
            left = square - torch.cat([torch.zeros_like(square)[None], (series**2).cumsum(0)])
            # Below the rounding of the sum nothing is known.
            tails.append(torch.maximum(left, 1e-15 * square).flatten(1).amax(1))
        inverse = torch.where(q > 0, q.rsqrt(), 0.0)
        both = (coefficients.values.to(dtype), coefficients.slopes.to(dtype))
        return cls(q, inverse.to(dtype), both, (tails[0], tails[1]))


def _root_of_product(a: Tensor, b: Tensor) -> Tensor:
    """√(a b) of the tails of two sides, whose product may leave the range of float64."""
    product = a * b
    return product.sqrt() if _SAFE < float(product[0]) < 1.0 / _SAFE else a.sqrt() * b.sqrt()


def _series(a: Tensor, b: Tensor, rho: Tensor, square: Tensor, n_terms: int, out: Tensor) -> None:
    # Σ_{k < n_terms} a_k b_k ρ^k by Horner's rule; odd and even activations have every second coefficient 0.
    size = (a[:n_terms].flatten(1).abs().amax(1) * b[:n_terms].flatten(1).abs().amax(1)).tolist()
    orders = [k for k, s in enumerate(size) if s > 1e-20 * max(size)]
    out.zero_()
    for position in range(len(orders) - 1, -1, -1):
        k = orders[position]
        out.addcmul_(a[k], b[k])
        gap = k - (orders[position - 1] if position else 0)
        for _ in range(gap // 2):
            out.mul_(square)
        if gap % 2:
            out.mul_(rho)


class PairMoments(NamedTuple):
    """T and Ṫ of pairs, `(n,)`, and the largest change of each with a third of the nodes."""

    moment: Tensor
    slope: Tensor
    moment_error: float
    slope_error: float


def inner_nodes(rho: Tensor, n_nodes: int) -> int:
    """Returns how many inner nodes resolve what `n_nodes` outer nodes do, for the smallest |ρ|."""
    sigma = math.sqrt(max(0.0, 1.0 - float(rho.abs().min()) ** 2))
    return _FEWEST_INNER * math.ceil(max(1.0, sigma * n_nodes / _FEWEST_INNER))


def conditional_moments(phi: Activation, a: Tensor, b: Tensor, rho: Tensor, n_nodes: int) -> PairMoments:
    """T and Ṫ of pairs one by one.

    Args:
        phi: the activation.
        a: variances of the first sample, `(n,)`, float64.
        b: variances of the second sample.
        rho: correlations.
        n_nodes: nodes of the outer rule on [−12, 12].

    Returns:
        The moments.
    """
    outer, inner = Grid.of(n_nodes, rho.device), Grid.of(inner_nodes(rho, n_nodes), rho.device)
    moments, slopes = [], []
    for pair in range(len(rho)):
        spread = torch.sqrt(b[pair] * (1.0 - rho[pair] ** 2).clamp(min=0.0)) * inner.z
        centre = torch.sqrt(b[pair]) * rho[pair] * outer.z
        blocks = []
        for block in centre.split(max(1, _CHUNK // len(inner.z))):
            values, derivatives = phi.with_slope(block[:, None] + spread)
            blocks.append(torch.stack([_full_and_third(v, inner.weight) for v in (values, derivatives)]))
        smoothed = torch.cat(blocks, dim=2)  # (φ or φ', inner rule on all or a third of the nodes, outer node)
        values = torch.stack(phi.with_slope(torch.sqrt(a[pair]) * outer.z))
        full = _full_and_third(smoothed * values[:, None], outer.weight)  # (outer, φ or φ', inner)
        moments.append(torch.stack([full[0, 0, 0], full[0, 0, 1], full[1, 0, 0]]))
        slopes.append(torch.stack([full[0, 1, 0], full[0, 1, 1], full[1, 1, 0]]))
    moment, slope = torch.stack(moments), torch.stack(slopes)
    return PairMoments(moment[:, 0], slope[:, 0], _change(moment), _change(slope))


def _full_and_third(values: Tensor, weight: Tensor) -> Tensor:
    # The rule over the last axis, and the rule on every third node, a midpoint rule again.
    return torch.stack([values @ weight, 3.0 * (values[..., 1::3] @ weight[1::3])])


def _change(rules: Tensor) -> float:
    return float((rules[:, 1:] - rules[:, :1]).abs().sum(1).max())
