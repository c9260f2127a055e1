r"""Solutions in float64 from a factorization in float32, by iterative refinement.

    r_k = y − (K + sI) α_k  in float64,      α_{k+1} = α_k + (L Lᵀ)⁻¹ r_k  with the float32 factor L

Each step shrinks the error by about eps₃₂ · κ(K + sI) (Wilkinson 1963; Higham, Accuracy and Stability of Numerical
Algorithms, 2002, theorem 12.1; LAPACK's `dsposv`). A factorization in float32 takes half the time of one in float64 and
a step costs n² only, so that a well-conditioned system is solved in about half the time, to the same accuracy.
"""

import math

import torch
from torch import Tensor

from ntk_atlas.regression.cholesky import leading_factor
from ntk_atlas.regression.report import solve_misfit

LARGEST_CONDITION = 1e7
"""Condition number beyond which a float32 factor is not worth the attempt: eps₃₂ κ ≈ 1."""

_MOST_STEPS = 12
_ROWS = 16
_LEAST_SIZE = 512  # below it the factorization takes no longer than the steps


def is_worth_refining(n: int, diag_reg: float) -> bool:
    """Whether a system of n samples with a relative ridge is large enough, and conditioned well enough.

    λ_max of a positive semi-definite K is at most its trace, n mean diagonals, hence κ ≤ 1 + n / diag_reg.
    """
    return n >= _LEAST_SIZE and diag_reg * LARGEST_CONDITION >= n


def refined_solution(gram: Tensor, targets: Tensor, *, shift: float, scale: float) -> tuple[Tensor, Tensor] | None:
    """Solves (K + sI) α = y to the accuracy of float64.

    Args:
        gram: K, `(n, n)`, symmetric, float64 or float32.
        targets: y, `(n, n_columns)`, float64.
        shift: s, absolute.
        scale: mean diagonal of K.

    Returns:
        α `(n, n_columns)` and the misfit (K + sI) α − y, both float64; None where that is not to be had this way: the
        float32 factor breaks down, steps do not converge, K has entries that are not finite, or K is not symmetric, so
        that its factor solves another system than the one that the misfit is taken of.
    """
    if not (scale > 0 and _is_symmetric(gram)):
        return None
    lower = leading_factor(gram, shift=shift, scale=scale, dtype=torch.float32, symmetric=True)
    n = gram.shape[0]
    if lower.shape[0] < n:
        return None
    rounding, norm = torch.finfo(torch.float64).eps, _frobenius_norm(gram) + shift
    size = torch.linalg.vector_norm(targets, dim=0)
    unit = torch.where(size > 0, size, 1.0)  # numbers of any unit fit float32
    alpha, misfit = torch.zeros_like(targets), -targets
    error = torch.full_like(size, math.inf)
    for _ in range(_MOST_STEPS):
        whitened = torch.linalg.solve_triangular(lower, (misfit / unit).to(torch.float32), upper=False)
        step = torch.linalg.solve_triangular(lower.mT, whitened, upper=True)
        candidate = alpha - unit * step.to(torch.float64)
        found = solve_misfit(gram, candidate, targets, shift=shift)
        former, error = error, torch.linalg.vector_norm(found, dim=0)
        if not bool(torch.isfinite(error).all()):
            return None
        if not bool((error < 0.5 * former).any()):  # nothing left but rounding
            break
        alpha, misfit = candidate, found
        if bool((error <= rounding * (norm * torch.linalg.vector_norm(alpha, dim=0) + size)).all()):
            break
    # Backward stable: the misfit is what n roundings of the matrix make at most.
    bound = n * rounding * (norm * torch.linalg.vector_norm(alpha, dim=0) + size)
    accurate = torch.linalg.vector_norm(misfit, dim=0) <= bound
    return (alpha, misfit) if bool(accurate.all()) else None


def _frobenius_norm(gram: Tensor) -> float:
    """An estimate from some of the rows: a pass over all of K takes a tenth of the time of a solve."""
    rows = gram[:: max(1, len(gram) // _ROWS)]
    return float(torch.linalg.vector_norm(rows)) * math.sqrt(len(gram) / len(rows))


def _is_symmetric(gram: Tensor) -> bool:
    """Whether rows equal columns to rounding, looked at in some of them."""
    step = max(1, len(gram) // _ROWS)
    tolerance = 1e3 * torch.finfo(gram.dtype).eps * float(gram.diagonal().abs().max())
    return bool(((gram[::step] - gram[:, ::step].mT).abs() <= tolerance).all())
