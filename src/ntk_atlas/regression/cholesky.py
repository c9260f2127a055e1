"""Cholesky factors that say how much of a matrix is sound, and how much jitter cured the rest."""

import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.regression.arguments import (
    check_symmetric,
    checked_block,
    checked_ridge,
    checked_working_dtype,
    precision_of,
)
from ntk_atlas.status import Status
from ntk_atlas.tensors import real_tensor

MAX_JITTER = 1e-6
"""Largest jitter ever added, relative to the mean diagonal: beyond it one solves another problem."""

MAX_JITTER_FLOAT32 = 1e-4
"""The same for a factorization in float32, whose own rounding is of that order."""

# Pivots above these shares of the mean diagonal are not looked at: no sum of rounding errors reaches them.
_SUSPICIOUS_PIVOT = {torch.float64: 1e-7, torch.float32: 1e-4}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Factor:
    """A Cholesky factor and what it cost.

    Attributes:
        lower: L with L Lᵀ = A + (diag_reg + jitter) · mean diagonal · I, `(n, n)`; all NaN where the status
            is SINGULAR.
        jitter: what was added to the diagonal, relative to the mean diagonal; NaN where nothing helped.
        status: CONVERGED, JITTERED or SINGULAR.
    """

    lower: Tensor
    jitter: float
    status: Status


def default_jitter(dtype: torch.dtype) -> float:
    """Returns the smallest jitter worth trying on a matrix whose entries were rounded to `dtype`."""
    return 1e-12 if dtype == torch.float64 else 1e-8


def jitter_ladder(
    first: float | None, dtype: torch.dtype = torch.float64, *, working: torch.dtype = torch.float64
) -> tuple[float, ...]:
    """Jitters to try after 0: `first` × 10, × 100, ... up to `MAX_JITTER`.

    Args:
        first: smallest jitter, relative to the mean diagonal; None or 0 takes the default of `dtype`.
        dtype: precision in which the matrix was computed.
        working: precision of the factorization; in float32 the ladder starts at 1e-6 at least and ends at
            `MAX_JITTER_FLOAT32`.

    Returns:
        Ascending jitters; a `first` above the largest jitter is the only one.
    """
    first, largest = first or default_jitter(dtype), MAX_JITTER
    if working == torch.float32:
        first, largest = max(first, 1e-6), MAX_JITTER_FLOAT32
    n_steps = max(0, math.floor(math.log10(largest / first) + 1e-9))
    return tuple(first * 10.0**step for step in range(n_steps + 1))


def leading_factor(
    matrix: Tensor,
    *,
    shift: float = 0.0,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float64,
    symmetric: bool = False,
    kernel_dtype: torch.dtype = torch.float64,
) -> Tensor:
    r"""Cholesky factor of the largest leading block of A + shift · I that is positive definite to rounding.

    `cholesky_ex` says at which pivot it failed: the block before it is factored. That pivots are positive is
    not enough, since the pivot of a duplicated sample is rounding noise of either sign. Row i of L⁻¹ gives a
    vector whose Rayleigh quotient 1/‖(L⁻¹)_i‖² bounds λ_min of the leading block of order i from above; the
    block is sound where that exceeds i · eps (in float32 4 √i · eps) and the rounding of the entries of A, times
    the largest diagonal entry. Rows are looked at only where the pivot is small.

    The result is the only array as large as A that is held: the copy is factored in place.

    Args:
        matrix: symmetric A, `(n, n)`, finite (only its lower triangle is read); left untouched.
        shift: added to the diagonal.
        scale: mean diagonal of A, the unit in which a pivot is small.
        dtype: precision of the factorization.
        symmetric: whether the upper triangle is known to equal the lower one, and may be read instead.
        kernel_dtype: precision in which the entries of A were computed.

    Returns:
        L, `(k, k)` with 0 ≤ k ≤ n.
    """
    size = matrix.shape[0]
    while size:
        block = matrix[:size, :size]
        work = torch.tril(block) if block.dtype == dtype and not symmetric else block.to(dtype, copy=True)
        work.diagonal().add_(shift)
        diagonal = work.diagonal().clone()
        failed_pivot = torch.empty((), dtype=torch.int32, device=work.device)
        # The transpose of a row-major triangle is LAPACK's column-major other one: no copy either way.
        torch.linalg.cholesky_ex(work.mT, upper=not symmetric, out=(work.mT, failed_pivot))
        if failed_pivot == 0:
            lower = work.mT if symmetric else work
            sound = _sound_size(lower, diagonal, scale, kernel_dtype)
            return lower[:sound, :sound]
        size = int(failed_pivot) - 1
    return matrix.new_empty(0, 0, dtype=dtype)


def _sound_size(lower: Tensor, diagonal: Tensor, scale: float, kernel_dtype: torch.dtype) -> int:
    """Returns the order of the largest leading block of `lower` that is not singular to rounding."""
    unit = math.sqrt(scale)
    rows = torch.nonzero(~((lower.diagonal() / unit) ** 2 > _SUSPICIOUS_PIVOT[lower.dtype])).flatten()
    if len(rows) == 0:
        return lower.shape[0]
    units = torch.zeros(lower.shape[0], len(rows), dtype=lower.dtype, device=lower.device)
    units[rows, torch.arange(len(rows), device=lower.device)] = unit
    inverse_rows = torch.linalg.solve_triangular(lower.mT, units, upper=True)
    quotient = 1.0 / (inverse_rows**2).sum(0)
    order = (rows + 1).to(lower.dtype)
    # The worst case n · eps would condemn most float32 matrices, whose errors grow like a random walk.
    growth = order if lower.dtype == torch.float64 else 4.0 * order.sqrt()
    tolerance = (growth * torch.finfo(lower.dtype).eps).clamp(min=torch.finfo(kernel_dtype).eps)
    tolerance = tolerance * torch.cummax(diagonal / scale, 0).values[rows]
    unsound = rows[~(quotient > tolerance)]
    return int(unsound[0]) if len(unsound) else lower.shape[0]


def mean_diagonal(matrix: Tensor) -> float:
    """Mean diagonal of a symmetric matrix, the unit of its ridge and jitter.

    Args:
        matrix: `(n, n)`.

    Returns:
        The mean; NaN if it is not positive, if any entry is not finite, or without entries.
    """
    if matrix.shape[0] == 0:
        return math.nan
    scale = float(matrix.diagonal().mean(dtype=torch.float64))
    # The extremes are NaN or infinite if any entry is, without an array of flags as large as the matrix.
    finite = all(math.isfinite(float(extreme)) for extreme in matrix.aminmax())
    return scale if finite and math.isfinite(scale) and scale > 0 else math.nan


def safe_cholesky(
    matrix: Tensor,
    *,
    diag_reg: float = 0.0,
    jitter: float | None = None,
    dtype: torch.dtype = torch.float64,
    kernel_dtype: torch.dtype | None = None,
) -> Factor:
    """Cholesky factor of a symmetric matrix, with as little jitter as makes it positive definite.

    Args:
        matrix: A, `(n, n)`, symmetric; its lower triangle is read.
        diag_reg: ridge on the diagonal, relative to the mean diagonal; not counted as jitter.
        jitter: smallest jitter tried, relative to the mean diagonal; None or 0 takes the default of A's
            dtype.
        dtype: precision of the factorization, float64 or float32.
        kernel_dtype: precision in which A was computed, None for its own.

    Returns:
        The factor, jitter and status. A matrix that is not finite, or that the largest jitter of
        `jitter_ladder` does not cure, has status SINGULAR.

    Raises:
        ValueError: A is not square, not symmetric or of half precision, or the ridge or jitter is negative.
    """
    dtype = checked_working_dtype(dtype)
    matrix = real_tensor(matrix, "matrix")
    axes = (("n", len(matrix) if matrix.dim() else None),) * 2
    matrix = checked_block("matrix", matrix, axes, matrix.device, dtype=None)
    kernel_dtype = precision_of(matrix, kernel_dtype)
    if len(matrix):
        check_symmetric("matrix", matrix, kernel_dtype)
    checked_ridge(diag_reg, jitter)
    return factored(matrix, diag_reg=diag_reg, jitter=jitter, dtype=dtype, kernel_dtype=kernel_dtype)


def factored(
    matrix: Tensor, *, diag_reg: float, jitter: float | None, dtype: torch.dtype, kernel_dtype: torch.dtype
) -> Factor:
    """`safe_cholesky` of a matrix that has been checked.

    Args:
        matrix: A.
        diag_reg: relative ridge.
        jitter: smallest relative jitter.
        dtype: precision of the factorization.
        kernel_dtype: precision of the entries of A.

    Returns:
        The factor, jitter and status.
    """
    size, scale = matrix.shape[0], mean_diagonal(matrix)
    if not math.isnan(scale):
        for tried in (0.0, *jitter_ladder(jitter, kernel_dtype, working=dtype)):
            shift = (diag_reg + tried) * scale
            lower = leading_factor(matrix, shift=shift, scale=scale, dtype=dtype, kernel_dtype=kernel_dtype)
            if lower.shape[0] == size:
                if tried:
                    logger.info("added %.0e of the mean diagonal to factor a %d × %d matrix", tried, size, size)
                return Factor(lower, tried, Status.JITTERED if tried else Status.CONVERGED)
    return Factor(torch.full_like(matrix, math.nan, dtype=dtype), math.nan, Status.SINGULAR)
