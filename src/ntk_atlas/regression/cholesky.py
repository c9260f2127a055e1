"""One kernel system (K + λI) α = y by a Cholesky factor, with a report of how it was solved.

The factor says how much of a matrix is sound, and takes the least jitter that cures the rest. A large, well-conditioned
system is factored in float32 and refined to the accuracy of float64,

    r_k = y − (K + sI) α_k  in float64,      α_{k+1} = α_k + (L Lᵀ)⁻¹ r_k  with the float32 factor L.

Each step shrinks the error by about eps₃₂ · κ(K + sI) (Wilkinson 1963; Higham, Accuracy and Stability of Numerical
Algorithms, 2002, theorem 12.1; LAPACK's `dsposv`). A factorization in float32 takes half the time of one in float64 and
a step costs n² only.
"""

import logging
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ntk_atlas.arrays import Status
from ntk_atlas.numerics import real_tensor
from ntk_atlas.regression.arguments import (
    check_symmetric,
    checked_block,
    checked_kernel,
    checked_ridge,
    checked_targets,
    checked_working_dtype,
    precision_of,
    sample_major,
)

logger = logging.getLogger(__name__)

MAX_JITTER = 1e-6
"""Largest jitter ever added, relative to the mean diagonal: beyond it one solves another problem."""

MAX_JITTER_FLOAT32 = 1e-4
"""The same for a factorization in float32, whose own rounding is of that order."""

# Pivots above these shares of the mean diagonal are not looked at: no sum of rounding errors reaches them.
_SUSPICIOUS_PIVOT = {torch.float64: 1e-7, torch.float32: 1e-4}

_COLUMNS = 8
_ROWS = 512
LARGEST_CONDITION = 1e7
"""Condition number beyond which a float32 factor is not worth the attempt: eps₃₂ κ ≈ 1."""

_MOST_STEPS = 12
_PROBED_ROWS = 16
_LEAST_SIZE = 512  # below it the factorization takes no longer than the steps


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


@dataclass(frozen=True)
class SolveReport:
    """How a kernel system (K + (diag_reg + jitter) m I) α = y, m the mean diagonal, was solved.

    Attributes:
        diag_reg: ridge, relative to the mean diagonal of the largest Gram matrix.
        jitter: what had to be added to it, relative to the mean diagonal; NaN where the status is SINGULAR.
        residual: ‖(K + shift) α − y‖_F / ‖y‖_F with the K that was given, in float64 whatever the precision
            of the solve; NaN where it was not asked for.
        status: CONVERGED, JITTERED or SINGULAR.
        lambda_min: smallest eigenvalue of the matrix that was solved (shift included), absolute.
        condition_number: its largest eigenvalue over its smallest; inf where the smallest is not positive.
    """

    diag_reg: float
    jitter: float
    residual: float
    status: Status
    lambda_min: float = math.nan
    condition_number: float = math.nan

    def with_extremes(self, smallest: float, largest: float, *, scale: float) -> "SolveReport":
        """The report with the eigenvalues of the shifted matrix filled in.

        Args:
            smallest: smallest eigenvalue of the Gram matrix K, without any shift.
            largest: largest eigenvalue of K.
            scale: mean diagonal m that `diag_reg` and `jitter` are relative to.

        Returns:
            A new report.
        """
        jitter = 0.0 if math.isnan(self.jitter) else self.jitter
        shift = (0.0 if math.isnan(self.diag_reg) else self.diag_reg) + jitter
        added = shift * scale if shift else 0.0  # a kernel that cannot be solved has no unit
        low, high = smallest + added, largest + added
        condition = math.nan if math.isnan(low + high) else high / low if low > 0 else math.inf
        return replace(self, lambda_min=low, condition_number=condition)


def solve_misfit(gram: Tensor, coefficients: Tensor, targets: Tensor, *, shift: float) -> Tensor:
    """(K + shift · I) α − y with the given matrix, accumulated in float64.

    Args:
        gram: K, `(n, n)`, any floating precision; cast to float64 a block of rows at a time.
        coefficients: α, `(n, n_columns)`.
        targets: y, `(n, n_columns)`.
        shift: absolute.

    Returns:
        `(n, n_columns)`, float64.
    """
    alpha = coefficients.to(torch.float64)
    if gram.dtype == torch.float64:
        product = _product(gram, alpha)
    else:
        product = torch.cat([_product(rows.to(torch.float64), alpha) for rows in gram.split(_ROWS)])
    return product.add_(alpha, alpha=shift).sub_(targets)


def _product(gram: Tensor, alpha: Tensor) -> Tensor:
    """Returns K α; BLAS takes up to four times as long if columns are no multiple of eight, or stand to the right."""
    n_columns = alpha.shape[1]
    if n_columns == 1:
        return gram @ alpha
    rows = torch.nn.functional.pad(alpha.mT, (0, 0, 0, -n_columns % _COLUMNS))
    return torch.nn.functional.linear(rows, gram)[:n_columns].mT


def relative_residual(misfit: Tensor, targets: Tensor) -> float:
    """Returns ‖misfit‖_F / ‖y‖_F, 0 for targets that are zero throughout."""
    norm = float(torch.linalg.norm(targets))
    return float(torch.linalg.norm(misfit)) / norm if norm > 0 else 0.0


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
    rows = gram[:: max(1, len(gram) // _PROBED_ROWS)]
    return float(torch.linalg.vector_norm(rows)) * math.sqrt(len(gram) / len(rows))


def _is_symmetric(gram: Tensor) -> bool:
    """Whether rows equal columns to rounding, looked at in some of them."""
    step = max(1, len(gram) // _PROBED_ROWS)
    tolerance = 1e3 * torch.finfo(gram.dtype).eps * float(gram.diagonal().abs().max())
    return bool(((gram[::step] - gram[:, ::step].mT).abs() <= tolerance).all())


@dataclass(frozen=True)
class KernelSolution:
    """Coefficients α of f(x) = K(x, X) α.

    Attributes:
        coefficients: `(n_train, n_outputs)`, NaN where the status is SINGULAR.
        report: ridge, jitter, residual and status.
    """

    coefficients: Tensor
    report: SolveReport

    def predict(self, k_eval_train: Tensor) -> Tensor:
        """Predictions f(x) = K(x, X) α.

        Args:
            k_eval_train: `(n_eval, n_train)`, or the full kernel `(n_eval, n_train, n_outputs, n_outputs)`.

        Returns:
            `(n_eval, n_outputs)`, in the precision of the coefficients.

        Raises:
            ValueError: the shape does not fit.
        """
        alpha = self.coefficients
        n_train, n_outputs = alpha.shape
        k_eval_train = real_tensor(k_eval_train, "k_eval_train")
        full = (("n_outputs", n_outputs),) * 2 if k_eval_train.dim() == 4 else ()
        axes = (("n_eval", None), ("n_train", n_train), *full)
        rows = checked_block("k_eval_train", k_eval_train, axes, alpha.device, alpha.dtype)
        if not full:
            return rows @ alpha
        return (sample_major(rows) @ alpha.reshape(-1, 1)).reshape(-1, n_outputs)


def solve(
    k_train_train: Tensor,
    y_train: Tensor,
    *,
    diag_reg: float = 0.0,
    jitter: float | None = None,
    residual: bool = True,
    dtype: torch.dtype = torch.float64,
    kernel_dtype: torch.dtype | None = None,
) -> KernelSolution:
    """Solves (K + λI) α = y by one Cholesky factorization.

    Beside the kernel one array of its size is held. Where outputs mix, the kernel is the full one and the
    system has n_train · n_outputs unknowns. A large system that its ridge conditions well is factored in float32 and
    refined to the accuracy of float64.

    Args:
        k_train_train: Gram matrix, `(n_train, n_train)`, shared by all outputs, or the full kernel `(n_train,
            n_train, n_outputs, n_outputs)`; symmetric.
        y_train: targets, `(n_train, n_outputs)`.
        diag_reg: λ relative to the mean diagonal of K.
        jitter: smallest jitter tried where the matrix is singular, relative to the mean diagonal; None or 0 takes the
            default of its dtype.
        residual: False leaves it NaN, one product with K less; a solve in float32 reports it always.
        dtype: precision of the factorization, float64 or (half the time and memory) float32.
        kernel_dtype: precision in which K was computed, where it has been cast since; None takes its own. Eigenvalues
            below the rounding of that precision are noise, and get a jitter.

    Returns:
        Coefficients and report. A kernel that is not finite or not positive semi-definite is SINGULAR, with
        NaN coefficients.

    Raises:
        ValueError: a shape does not fit, a target is not finite, the kernel is not symmetric or of half precision, the
            ridge or jitter is negative or not finite, or the precision is neither of the two.
    """
    dtype = checked_working_dtype(dtype)
    checked_ridge(diag_reg, jitter)
    gram, outputs = checked_kernel(k_train_train, kernel_dtype=kernel_dtype)
    kernel_dtype = precision_of(gram, kernel_dtype)
    axes = (("n_train", gram.shape[0]), ("n_outputs", outputs[0][1] if outputs else None))
    y = checked_targets("y_train", y_train, axes, gram.device)
    gram, targets = sample_major(gram), y.reshape(-1, 1) if outputs else y
    if dtype == torch.float64 and is_worth_refining(len(gram), diag_reg):
        # Entries that are not finite end in no refined solution: one pass over the kernel less than `mean_diagonal`.
        scale = float(gram.diagonal().mean(dtype=torch.float64))
        refined = refined_solution(gram, targets, shift=diag_reg * scale, scale=scale)
        if refined is not None:
            found = relative_residual(refined[1], targets) if residual else math.nan
            return KernelSolution(refined[0].reshape(y.shape), SolveReport(diag_reg, 0.0, found, Status.CONVERGED))
    factor = factored(gram, diag_reg=diag_reg, jitter=jitter, dtype=dtype, kernel_dtype=kernel_dtype)
    whitened = torch.linalg.solve_triangular(factor.lower, targets.to(dtype), upper=False)
    alpha = torch.linalg.solve_triangular(factor.lower.mT, whitened, upper=True)
    status, found = factor.status, math.nan
    if status != Status.SINGULAR and (residual or dtype == torch.float32):
        shift = (diag_reg + factor.jitter) * mean_diagonal(gram)
        found = relative_residual(solve_misfit(gram, alpha, targets, shift=shift), targets)
    if not bool(torch.isfinite(alpha).all()):
        status, found = Status.SINGULAR, math.nan
    jitter_used = math.nan if status == Status.SINGULAR else factor.jitter
    return KernelSolution(alpha.reshape(y.shape), SolveReport(diag_reg, jitter_used, found, status))
