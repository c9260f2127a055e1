r"""Hermite coefficients h_k(q) = E[φ(√q z) He_k(z)] / √k! of an activation and of its derivative.

The trapezoidal rule on [−12, 12] converges geometrically for activations that are analytic near the real line. The
weighted polynomials He_k(z) e^{−z²/4} / √k! follow from their three-term recursion, which is stable.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ntk_atlas.activations import Activation, ActivationError, ActivationOverflowError

MOST_TERMS = 2048
_FEWEST_TERMS = 64
_FEWEST_NODES, _MOST_NODES = 768, 6144
_CHUNK = 2**18
_SETTLED = 1e-13


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
        moment_errors: largest relative errors of E[φ²] and E[φ'²] on the nodes, likewise.
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
