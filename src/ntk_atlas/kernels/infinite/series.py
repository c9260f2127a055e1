"""Dual activations of any continuous activation by Hermite series, with the error they have.

With h_k(q) = E[φ(√q z) He_k(z)] / √k! and d_k(q) the same of φ' (Mehler; Daniely et al. 2016, section 4),

    T = Σ_k h_k(a) h_k(b) ρ^k,    Ṫ = Σ_k d_k(a) d_k(b) ρ^k,    ρ = c/√(ab).

What n terms leave out is at most |ρ|ⁿ √(R_n(a) R_n(b)), R_n = E[φ²] − Σ_{k<n} h_k² (Cauchy–Schwarz), so the
number of terms follows from the tolerance, tile by tile. Coefficients come from the trapezoidal rule on [−12, 12],
which converges geometrically for activations that are analytic near the real line, and whose error is measured with a
third of its nodes. The weighted polynomials He_k(z) e^{−z²/4} / √k! follow from their three-term recursion, which is
stable. Pairs whose series would be too long, |ρ| near 1 at a variance large for the activation, are integrated one by
one: with z₁, z₂ ~ N(0, 1) and σ = √(1 − ρ²),

    T = E[φ(√a z₁) φ(√b (ρ z₁ + σ z₂))],    Ṫ the same of φ',

where, near |ρ| = 1, the inner integral needs few nodes. What still misses the tolerance is reported, not hidden.
"""

import logging
import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ntk_atlas.activations import (
    STEP,
    Activation,
    ActivationChoice,
    ActivationError,
    ActivationOverflowError,
    Dual,
    DualTile,
    Moments,
    activation,
)

MOST_TERMS = 2048
_FEWEST_TERMS = 64
_FEWEST_NODES, _MOST_NODES = 768, 6144
_CHUNK = 2**18
_SETTLED = 1e-13
log = logging.getLogger(__name__)

TOLERANCE = 1e-10
"""Largest error of T and Ṫ aimed at, relative to √(E[φ(u)²] E[φ(v)²]) and the same of φ'."""
_NO_COEFFICIENT = 1e-14
"""Share of the largest coefficient below which another is rounding."""
_SAFE = 1e-250
_PAIR_EVALUATIONS = 3 * 10**8
"""Most evaluations of the activation spent on single pairs, per tile."""
_FEWEST_INNER = 96


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


def chunk_bytes() -> int:
    """Returns the memory of the activation, its derivative and autograd's copies on one chunk of nodes."""
    return 10 * 8 * _CHUNK


def some_of(q: Tensor) -> Tensor:
    """Returns the smallest, the largest and seven values in between, `(9,)`."""
    ranks = torch.linspace(0, q.numel() - 1, 9, device=q.device).round().long()
    return q.flatten().sort().values[ranks]


class HermiteCoefficients(NamedTuple):
    """h_k of φ and of φ', each `(n_terms, *q.shape)`."""

    values: Tensor
    slopes: Tensor


class HermiteBases:
    """Weighted Hermite polynomials by number of nodes, kept for as long as one kernel is computed."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, torch.device], Tensor] = {}

    def nbytes(self) -> int:
        """Returns the memory of all of them."""
        return sum(basis.nbytes for basis in self._kept.values())

    def get(self, n_nodes: int, n_terms: int, device: torch.device) -> Tensor:
        """Returns He_k(z) e^{−z²/4} / √k! times √weight, `(n_terms, n_nodes)`."""
        basis = self._kept.get((n_nodes, device))
        if basis is None or len(basis) < n_terms:
            grid = Grid.of(n_nodes, device)
            basis = torch.empty(n_terms, n_nodes, dtype=torch.float64, device=device)
            basis[0] = grid.weight.sqrt()
            basis[1] = grid.z * basis[0]
            for k in range(1, n_terms - 1):
                torch.mul(grid.z, basis[k], out=basis[k + 1])
                basis[k + 1].sub_(basis[k - 1], alpha=math.sqrt(k)).div_(math.sqrt(k + 1))
            self._kept[n_nodes, device] = basis
        return basis[:n_terms]


@dataclass(frozen=True)
class HermiteRule:
    """Nodes and terms for a range of variances.

    Attributes:
        phi: the activation.
        n_nodes: nodes of the trapezoidal rule.
        n_terms: number of coefficients.
        bases: shared between rules.
        coefficient_errors: largest √Σ_k (error of h_k)² relative to √E[φ²], and the same of φ', against a third of
            the nodes.
        moment_errors: largest relative errors of E[φ²] and E[φ'²] on the nodes, against a third of them.
    """

    phi: Activation
    n_nodes: int
    n_terms: int
    bases: HermiteBases = field(default_factory=HermiteBases, repr=False, compare=False)
    coefficient_errors: tuple[float, float] = (0.0, 0.0)
    moment_errors: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def resolving(cls, phi: Activation, q: Tensor, tolerance: float, bases: HermiteBases) -> "HermiteRule":
        """The smallest rule, within limits, that settles the coefficients and leaves out less than the tolerance.

        Args:
            phi: the activation.
            q: variances, any shape, float64; a few quantiles stand for all.
            tolerance: share of E[φ²] and of E[φ'²] that may be left out at |ρ| = 1.
            bases: where polynomials are kept.

        Returns:
            The rule.
        """
        q = some_of(q)
        rule = cls(phi, _FEWEST_NODES, _FEWEST_TERMS, bases)
        while max(map(max, rule._errors(q))) > _SETTLED and rule.n_nodes < _MOST_NODES:
            rule = cls(phi, 2 * rule.n_nodes, _FEWEST_TERMS, bases)
        n_nodes, n_terms = rule.n_nodes, _FEWEST_TERMS
        while True:
            # A third of the nodes must still resolve products of two of the polynomials.
            while 2.0 * math.pi * n_nodes / 3.0 < 24.0 * (2.0 * math.sqrt(n_terms) + 20.0):
                n_nodes *= 2
            rule = cls(phi, n_nodes, n_terms, bases)
            enough = rule._terms_within(q, tolerance)
            if enough is not None or n_terms == MOST_TERMS:
                break
            n_terms *= 2
        rule._check_derivative(q)
        n_terms = enough or MOST_TERMS
        return cls(phi, n_nodes, n_terms, bases, *cls(phi, n_nodes, n_terms, bases)._errors(q))

    def coefficients(self, q: Tensor) -> HermiteCoefficients:
        """Returns h_k of φ and φ' at variances q."""
        series, _ = self._sums(q)
        return HermiteCoefficients(series[0], series[1])

    def moments(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Returns E[φ²] and E[φ'²] at variances q, on the nodes."""
        _, squares = self._sums(q, series=False)
        return squares[0], squares[1]

    def _sums(self, q: Tensor, *, series: bool = True, every: int = 1) -> tuple[Tensor, Tensor]:
        # Coefficients (2, n_terms, *q.shape) and second moments (2, *q.shape), on every node or every third one, which
        # make a midpoint grid again.
        grid = Grid.of(self.n_nodes, q.device)
        chosen = slice(every // 2, None, every)
        z, weight = grid.z[chosen], every * grid.weight[chosen]
        basis = self.bases.get(self.n_nodes, self.n_terms, q.device)[:, chosen] if series else None
        found, summed = [], []
        for block in q.flatten().split(max(1, _CHUNK // len(z))):
            both = torch.stack(self.phi.with_slope(block.sqrt()[:, None] * z))
            summed.append(both**2 @ weight)
            if basis is not None:
                found.append((both * (math.sqrt(every) * weight.sqrt())) @ basis.T)
        squares = torch.cat(summed, dim=1)
        if not torch.isfinite(squares).all():
            raise ActivationOverflowError(
                f"the activation overflows within 12 standard deviations at variance {float(q.max()):.3g}: its "
                "infinite-width kernel is not finite in double precision; lower init_scale or rescale the inputs"
            )
        together = torch.cat(found, dim=1).mT.reshape(2, self.n_terms, *q.shape) if series else squares
        return together, squares.reshape(2, *q.shape)

    def _errors(self, q: Tensor) -> tuple[tuple[float, float], tuple[float, float]]:
        (series, squares), (few_series, few_squares) = self._sums(q), self._sums(q, every=3)
        size = squares.clamp(min=torch.finfo(q.dtype).tiny)
        coefficients = torch.linalg.vector_norm(series - few_series, dim=1) / size.sqrt()
        moments = (squares - few_squares).abs() / size
        return tuple(coefficients.amax(1).tolist()), tuple(moments.amax(1).tolist())

    def _terms_within(self, q: Tensor, tolerance: float) -> int | None:
        # The number of terms after which the largest share left out is below the tolerance.
        series, squares = self._sums(q)
        left = 1.0 - (series**2).cumsum(1) / squares[:, None].clamp(min=torch.finfo(q.dtype).tiny)
        left = torch.where(squares[:, None] > 0, left, 0.0).amax(dim=(0, 2))
        met = (left <= tolerance).nonzero()
        return int(met[0]) + 1 if len(met) else None

    def _check_derivative(self, q: Tensor) -> None:
        # Stein's lemma: E[z φ(√q z)] = √q E[φ'(√q z)].
        series, squares = self._sums(q)
        gap = (series[0, 1] - q.sqrt() * series[1, 0]).abs()
        wrong = gap > 1e-2 * squares[0].sqrt() + 1e-300
        if not bool(wrong.any()):
            return
        if not bool((q[wrong] <= 1.0).any()):
            self._check_derivative(torch.ones_like(q[:1]))
            raise ActivationOverflowError(
                f"at variance {float(q[wrong].min()):.3g} the activation is steeper, beside the Gaussian, than "
                "quadrature resolves: scale the inputs (dataset.normalization), or lower init_scale"
            )
        raise ActivationError(
            "the activation's derivative (by automatic differentiation) does not integrate to the activation: it "
            "jumps, or part of it is detached; the NTK needs a continuous activation"
        )


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
