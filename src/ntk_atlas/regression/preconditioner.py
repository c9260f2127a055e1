r"""Low-rank preconditioners for kernel systems that are too large to be factored.

K ≈ UΛUᵀ leaves a remainder of size ε; P = UΛUᵀ + μI with μ = λ + ε is inverted by the Woodbury identity,

    P⁻¹v = (v − U (Λ/(Λ + μ)) Uᵀv)/μ,

which costs 4 n · rank flops a vector, beside 2n² for a product with K.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.regression.arguments import PRODUCT, check_function, checked_count, checked_ridge
from ntk_atlas.tensors import real_tensor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LowRankPreconditioner:
    """P⁻¹ as a function of vectors.

    Attributes:
        vectors: orthonormal U, `(n, rank)`.
        eigenvalues: Λ, `(rank,)`, not negative.
        shift: μ, positive.
    """

    vectors: Tensor
    eigenvalues: Tensor
    shift: float

    def __call__(self, v: Tensor) -> Tensor:
        """P⁻¹v.

        Args:
            v: `(n, k)`.

        Returns:
            `(n, k)`, in the precision of `v`, float64 for integers.
        """
        v = v if v.is_floating_point() else v.double()
        vectors = self.vectors.to(v)
        share = (self.eigenvalues / (self.eigenvalues + self.shift)).to(v)
        return (v - vectors @ (share[:, None] * (vectors.mT @ v))) / self.shift


def pivoted_cholesky_factor(diagonal: Tensor, columns: Callable[[Tensor], Tensor], *, rank: int) -> Tensor:
    """Partial Cholesky factor of a kernel from a few of its columns, the largest remaining diagonal entry first.

    Harbrecht, Peters & Schneider 2012; the remainder K − FFᵀ is positive semi-definite, and its trace the sum of
    its diagonal bounds its size.

    Args:
        diagonal: of K, `(n,)`.
        columns: indices `(k,)` → those columns of K, `(n, k)`.
        rank: columns at most; fewer where the remainder vanishes to rounding, or is not finite.

    Returns:
        F with FFᵀ ≈ K, `(n, k)`, k ≤ rank, float64.
    """
    rounding = _rounding(diagonal)
    left = diagonal.to(torch.float64).clone()
    largest = float(left.max())
    factor = left.new_zeros(len(left), min(rank, len(left)))
    for k in range(factor.shape[1]):
        pivot = left.argmax()
        # A comparison that NaN fails too.
        if not left[pivot] > 10.0 * len(left) * rounding * largest:
            return factor[:, :k]
        given = columns(pivot[None])
        rounding = max(rounding, _rounding(given))
        column = given[:, 0].to(factor)
        column = (column - factor[:, :k] @ factor[pivot, :k]) / left[pivot].sqrt()
        if not bool(torch.isfinite(column).all()):
            return factor[:, :k]
        factor[:, k] = column
        left = (left - column**2).clamp_(min=0.0)
        left[pivot] = 0.0
    return factor


def pivoted_cholesky_preconditioner(
    diagonal: Tensor, columns: Callable[[Tensor], Tensor], *, rank: int, diag_reg: float = 0.0
) -> LowRankPreconditioner:
    """Preconditioner from columns of the kernel (Gardner et al. 2018, section 4.2).

    Args:
        diagonal: of K, `(n,)`.
        columns: indices `(k,)` → those columns of K, `(n, k)`.
        rank: columns to take.
        diag_reg: the system's ridge, relative to the mean diagonal.

    Returns:
        The preconditioner; ε is the mean diagonal of the remainder.
    """
    checked_ridge(diag_reg)
    factor = pivoted_cholesky_factor(diagonal, columns, rank=rank)
    scale = float(diagonal.to(torch.float64).mean())
    vectors, singular_values, _ = torch.linalg.svd(factor, full_matrices=False)
    eigenvalues = singular_values**2
    remainder = max(scale - float(eigenvalues.sum()) / len(diagonal), 0.0)
    return _preconditioner(vectors, eigenvalues, diag_reg * scale + remainder, scale, _rounding(diagonal))


def nystrom_preconditioner(
    matvec: Callable[[Tensor], Tensor],
    n: int,
    *,
    rank: int,
    generator: torch.Generator,
    diag_reg: float = 0.0,
    mean_diagonal: float | None = None,
) -> LowRankPreconditioner:
    r"""Preconditioner from products only: randomized Nyström approximation (Frangella, Tropp & Udell 2023).

    With an orthonormal random Ω and Y = KΩ the approximation is Y(ΩᵀY)⁻¹Yᵀ, evaluated with a small shift that is
    taken off again.

    Args:
        matvec: v `(n, k)` → Kv `(n, k)`.
        n: order of K.
        rank: random vectors, all in one product.
        generator: stream they are drawn from.
        diag_reg: the system's ridge, relative to the mean diagonal.
        mean_diagonal: of K; None takes its estimate mean diag(ΩᵀY).

    Returns:
        The preconditioner; ε is the smallest eigenvalue found. One without vectors, which changes nothing, where
        the products are not those of a positive semi-definite kernel.
    """
    checked_ridge(diag_reg)
    check_function("matvec", matvec, PRODUCT)
    n, rank = checked_count("n", n), checked_count("rank", rank)
    omega = torch.randn(n, min(rank, n), generator=generator, dtype=torch.float64, device=generator.device)
    omega = torch.linalg.qr(omega).Q
    product = real_tensor(matvec(omega), "the product that matvec gives")
    # Products may come in single precision: then that is the rounding of the core.
    rounding = _rounding(product)
    product = product.to(torch.float64)
    omega = omega.to(product.device)
    core = omega.mT @ product
    scale = float(core.diagonal().mean()) if mean_diagonal is None else mean_diagonal
    core = (core + core.mT) / 2
    for small in float(torch.linalg.norm(product)) * n**0.5 * rounding * torch.tensor([1.0, 10.0, 100.0]):
        shifted = core.clone()
        shifted.diagonal().add_(float(small))
        lower, info = torch.linalg.cholesky_ex(shifted)
        if not int(info):
            break
    small = float(small)
    if int(info) or not bool(torch.isfinite(lower).all()):
        logger.warning("no preconditioner: the kernel's products are not those of a positive semi-definite matrix")
        return LowRankPreconditioner(omega[:, :0], omega.new_zeros(0), 1.0)
    half = torch.linalg.solve_triangular(lower.mT, product + small * omega, upper=True, left=False)
    vectors, singular_values, _ = torch.linalg.svd(half, full_matrices=False)
    eigenvalues = (singular_values**2 - small).clamp(min=0.0)
    return _preconditioner(vectors, eigenvalues, diag_reg * scale + float(eigenvalues[-1]), scale, rounding)


def _rounding(kernel: Tensor) -> float:
    """Relative rounding of numbers in the precision in which a kernel gives them."""
    return torch.finfo(kernel.dtype if kernel.is_floating_point() else torch.float64).eps


def _preconditioner(
    vectors: Tensor, eigenvalues: Tensor, shift: float, scale: float, rounding: float
) -> LowRankPreconditioner:
    # A kernel that is of low rank to rounding leaves no remainder; the rounding itself is what is left then.
    floor = rounding * max(float(eigenvalues.sum()), scale)
    return LowRankPreconditioner(vectors, eigenvalues, max(shift, floor) if floor > 0 else 1.0)
