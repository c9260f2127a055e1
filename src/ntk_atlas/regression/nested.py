"""Kernel regression and posterior variance at many nested sample counts from one Cholesky factorization.

The leading block of the Cholesky factor of K + λI is the factor of the leading block, so that one factorization serves
all sizes. Ridges are in units of the mean diagonal of the largest Gram matrix.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ntk_atlas.arrays import Status
from ntk_atlas.numerics import real_tensor
from ntk_atlas.regression.arguments import (
    checked_block,
    checked_kernel,
    checked_ridge,
    checked_sizes,
    checked_targets,
    checked_working_dtype,
    precision_of,
    sample_major,
)
from ntk_atlas.regression.cholesky import SolveReport, jitter_ladder, leading_factor, mean_diagonal

_BLOCK = 256
_COLUMNS = 1024
"""Right-hand sides of one back-substitution: enough for full speed, few beside a kernel."""


@dataclass(frozen=True)
class KernelSystem:
    """Gram matrix, evaluation rows and targets of the largest size; a full kernel is a matrix here.

    Attributes:
        gram: K of the largest size as it was given, `(n, n)`; solvers read its lower triangle.
        evaluation: K(x, X) of the points predicted at, `(n_eval, n)` in the precision of the solve.
        targets: what is regressed, `(n, n_outputs)`.
        sizes: nested sizes of the matrix, the last is n: sample counts, times outputs for a full kernel.
        scale: mean diagonal of `gram`, the unit of ridge and jitter; NaN where it is not finite and positive.
        n_mixed: outputs that a full kernel mixes, None for a kernel that all outputs share.
        kernel_dtype: precision of the entries of the kernel.
    """

    gram: Tensor
    evaluation: Tensor
    targets: Tensor
    sizes: tuple[int, ...]
    scale: float
    n_mixed: int | None = None
    kernel_dtype: torch.dtype = torch.float64

    @property
    def solvable(self) -> bool:
        """Whether the kernel is finite and its mean diagonal positive."""
        return not math.isnan(self.scale)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the solve."""
        return self.targets.dtype

    def of_columns(self, columns: slice) -> "KernelSystem":
        """The system of some of the targets."""
        return replace(self, targets=self.targets[:, columns])


def checked_system(
    k_train_train: Tensor,
    y_train: Tensor,
    k_eval_train: Tensor,
    *,
    sizes: Sequence[int],
    dtype: torch.dtype = torch.float64,
    kernel_dtype: torch.dtype | None = None,
) -> KernelSystem:
    """Checks the inputs of a nested solve.

    Args:
        k_train_train: Gram matrix, `(n_train, n_train)`, or the full kernel `(n_train, n_train, n_outputs,
            n_outputs)`.
        y_train: targets, `(n_train, n_outputs)`.
        k_eval_train: kernel of the evaluation points with the training points, `(n_eval, n_train)` or
            `(n_eval, n_train, n_outputs, n_outputs)`.
        sizes: nested sample counts.
        dtype: precision of the solve.
        kernel_dtype: precision in which the kernel was computed, None for that of `k_train_train`.

    Returns:
        The system of the largest size; the Gram matrix is not copied unless it is a full kernel.

    Raises:
        ValueError: a shape does not fit, a target is not finite, the kernel is not symmetric, `sizes` does not fit,
            or the precision.
    """
    dtype = checked_working_dtype(dtype)
    gram, outputs = checked_kernel(k_train_train, kernel_dtype=kernel_dtype)
    n_train, n_outputs = gram.shape[0], outputs[0][1] if outputs else None
    targets = checked_targets("y_train", y_train, (("n_train", n_train), ("n_outputs", n_outputs)), gram.device)
    axes = (("n_eval", None), ("n_train", n_train), *outputs)
    rows = checked_block("k_eval_train", k_eval_train, axes, gram.device, dtype)
    return kernel_system(gram, targets, rows, sizes=sizes, dtype=dtype, kernel_dtype=kernel_dtype)


def kernel_system(
    gram: Tensor,
    targets: Tensor,
    rows: Tensor,
    *,
    sizes: Sequence[int],
    dtype: torch.dtype = torch.float64,
    kernel_dtype: torch.dtype | None = None,
) -> KernelSystem:
    """The system of arguments that have been checked; targets may be NaN here.

    Args:
        gram: as `k_train_train` of `checked_system`.
        targets: as `y_train`.
        rows: as `k_eval_train`.
        sizes: nested sample counts.
        dtype: precision of the solve.
        kernel_dtype: precision in which the kernel was computed, None for that of `gram`.

    Returns:
        The system of the largest size.

    Raises:
        ValueError: `sizes` does not fit.
    """
    kernel_dtype = precision_of(gram, kernel_dtype)
    sizes = checked_sizes(sizes, len(gram))
    largest, n_outputs = sizes[-1], gram.shape[-1] if gram.dim() == 4 else None
    rows, targets = rows.to(gram.device, dtype), targets.to(gram.device, dtype)
    gram, rows, targets = gram[:largest, :largest], rows[:, :largest], targets[:largest]
    if n_outputs is not None:
        gram, rows, targets = sample_major(gram), sample_major(rows), targets.reshape(-1, 1)
        sizes = tuple(size * n_outputs for size in sizes)
    return KernelSystem(gram, rows, targets, sizes, mean_diagonal(gram), n_outputs, kernel_dtype)


def nested_coefficients(lower: Tensor, whitened: Tensor, sizes: Sequence[int]) -> Tensor:
    r"""α_n = L_n⁻ᵀ z[:n] at every size n, L_n being the leading block of L.

    All sizes are columns of one right-hand side, z cut off after n. Blocks of rows are solved from the last
    upwards, and each is subtracted from the rows above it; a size takes part from its own last block on, so no
    work is done on the zeros below it: C Σ n² flops in matrix products.

    Args:
        lower: L, `(m, m)`, its order at least the largest size.
        whitened: z = L⁻¹y, `(m, n_outputs)`.
        sizes: increasing.

    Returns:
        `(sizes[-1], n_sizes, n_outputs)`, zeros beyond each size.
    """
    largest, n_outputs = sizes[-1], whitened.shape[1]
    alpha = whitened.new_zeros(largest, len(sizes), n_outputs)
    for position, n in enumerate(sizes):
        alpha[:n, position] = whitened[:n]
    columns = alpha.flatten(1)
    for start in reversed(range(0, largest, _BLOCK)):
        rows = slice(start, min(start + _BLOCK, largest))
        active = slice(_first_beyond(sizes, start) * n_outputs, None)
        triangle = lower[rows, rows].mT
        columns[rows, active] = torch.linalg.solve_triangular(triangle, columns[rows, active], upper=True)
        columns[:start, active].addmm_(lower[rows, :start].mT, columns[rows, active], alpha=-1.0)
    return alpha


def nested_products(rows: Tensor, alpha: Tensor, sizes: Sequence[int]) -> Tensor:
    """K(x, X_n) α_n at every size n.

    Args:
        rows: K(x, X), `(n_eval, n)`; NaN beyond a size does not concern that size.
        alpha: coefficients, `(n, n_sizes, n_outputs)`, zeros beyond each size.
        sizes: increasing.

    Returns:
        `(n_sizes, n_eval, n_outputs)`.
    """
    largest, n_sizes, n_outputs = alpha.shape
    if not bool(torch.isfinite(rows[:, :largest].sum())):
        return torch.stack([rows[:, :n] @ alpha[:n, position] for position, n in enumerate(sizes)])
    total = alpha.new_zeros(len(rows), n_sizes * n_outputs)
    for start in range(0, largest, _BLOCK):
        block = slice(start, min(start + _BLOCK, largest))
        active = slice(_first_beyond(sizes, start) * n_outputs, None)
        total[:, active].addmm_(rows[:, block], alpha[block].flatten(1)[:, active])
    products: Tensor = total.unflatten(1, (n_sizes, n_outputs))
    return products.transpose(0, 1)


def nested_residuals(
    gram: Tensor, alpha: Tensor, targets: Tensor, sizes: Sequence[int], *, shift: float
) -> list[float]:
    """‖(K_n + shift · I) α_n − y_n‖_F / ‖y_n‖_F at every size n, in float64.

    Args:
        gram: K as it was given, `(m, m)`, any floating precision.
        alpha: coefficients, `(n, n_sizes, n_outputs)`, zeros beyond each size.
        targets: y, `(m, n_outputs)`.
        sizes: increasing.
        shift: absolute.

    Returns:
        One a size; 0 where the targets are zero throughout.
    """
    largest, n_outputs = len(alpha), alpha.shape[2]
    alpha = alpha.to(torch.float64)
    squares = alpha.new_zeros(len(sizes))
    for start in range(0, largest, _BLOCK):
        rows = slice(start, min(start + _BLOCK, largest))
        first = _first_beyond(sizes, start)
        ours = alpha[rows, first:]
        misfit = gram[rows, :largest].to(torch.float64) @ alpha[:, first:].flatten(1)
        misfit = misfit.unflatten(1, (-1, n_outputs)).add_(ours, alpha=shift).sub_(targets[rows, None])
        inside = torch.arange(rows.start, rows.stop, device=gram.device)[:, None] < torch.tensor(
            sizes[first:], device=gram.device
        )
        squares[first:] += torch.where(inside, (misfit**2).sum(2), 0.0).sum(0)
    norms = [float(torch.linalg.norm(targets[:n])) for n in sizes]
    return [math.sqrt(square) / norm if norm > 0 else 0.0 for square, norm in zip(squares.tolist(), norms, strict=True)]


def _first_beyond(sizes: Sequence[int], start: int) -> int:
    """Returns the position of the first size that has rows from `start` on."""
    return next(position for position, n in enumerate(sizes) if n > start)


@dataclass(frozen=True)
class NestedSolution:
    """Predictions at all sizes, with one report each.

    Attributes:
        predictions: `(n_sizes, n_eval, n_outputs)`, NaN where a size could not be solved.
        reports: one a size; eigenvalues are left out (`SolveReport.with_extremes` adds them).
    """

    predictions: Tensor
    reports: tuple[SolveReport, ...]

    def of_columns(self, columns: slice) -> "NestedSolution":
        """The predictions of some of the targets, with the reports of the whole."""
        return replace(self, predictions=self.predictions[:, :, columns])


def solve_nested(
    k_train_train: Tensor,
    y_train: Tensor,
    k_eval_train: Tensor,
    *,
    sizes: Sequence[int],
    diag_reg: float = 0.0,
    jitter: float | None = None,
    residuals: bool = True,
    dtype: torch.dtype = torch.float64,
    kernel_dtype: torch.dtype | None = None,
) -> NestedSolution:
    r"""Predicts f_n(x) = K(x, X_n) (K_n + λI)⁻¹ y_n at every size n, X_n being the first n samples.

    The leading block of the Cholesky factor L of K + λI is the factor of the leading block, so one
    factorization serves all sizes. With z = L⁻¹y and V = L⁻¹K(X, x) the prediction is the running sum V[:n]ᵀ
    z[:n], n² n_eval flops for all sizes together. The coefficients α_n = L_n⁻ᵀ z_n, from which predictions
    come too, cost n_outputs Σ n²: they are taken where that is less, and where residuals are wanted.

    Args:
        k_train_train: Gram matrix, `(n_train, n_train)`, or the full kernel `(n_train, n_train, n_outputs,
            n_outputs)` of outputs that mix.
        y_train: targets, `(n_train, n_outputs)`.
        k_eval_train: kernel of the evaluation points with the training points, `(n_eval, n_train)` or
            `(n_eval, n_train, n_outputs, n_outputs)`.
        sizes: strictly increasing sample counts.
        diag_reg: λ relative to the mean diagonal of the largest Gram matrix.
        jitter: smallest jitter tried, relative to the mean diagonal; None or 0 takes the default of the dtype. A size
            gets the smallest jitter that makes its own block positive definite, and none if it needs none.
        residuals: False leaves them NaN: cheaper for learning curves with dozens of sizes. A solve in float32
            reports them always.
        dtype: precision of the solve, float64 or (half the time and memory) float32.
        kernel_dtype: precision in which the kernel was computed, see `solve`.

    Returns:
        Predictions and reports; a size that cannot be solved is SINGULAR, with NaN predictions.

    Raises:
        ValueError: as `solve`; `sizes` does not fit.
    """
    checked_ridge(diag_reg, jitter)
    system = checked_system(k_train_train, y_train, k_eval_train, sizes=sizes, dtype=dtype, kernel_dtype=kernel_dtype)
    solution = solve_system(
        system, diag_reg=diag_reg, jitter=jitter, residuals=residuals or system.dtype == torch.float32
    )
    if system.n_mixed is None:
        return solution
    shape = (len(system.sizes), system.evaluation.shape[0] // system.n_mixed, system.n_mixed)
    return NestedSolution(solution.predictions.reshape(shape), solution.reports)


def solve_system(
    system: KernelSystem, *, diag_reg: float, jitter: float | None = None, residuals: bool = True
) -> NestedSolution:
    """`solve_nested` for a system that was checked before, e.g. for the ridges of a path.

    Args:
        system: kernels and targets.
        diag_reg: relative ridge.
        jitter: smallest relative jitter.
        residuals: whether to compute them.

    Returns:
        Predictions and reports.
    """
    shape = (len(system.sizes), system.evaluation.shape[0], system.targets.shape[1])
    predictions = system.evaluation.new_full(shape, math.nan)
    reports = [SolveReport(diag_reg, math.nan, math.nan, Status.SINGULAR) for _ in system.sizes]
    for positions, lower, used in nested_factors(system, diag_reg, jitter):
        sizes, shift = [system.sizes[p] for p in positions], (diag_reg + used) * system.scale
        whitened = torch.linalg.solve_triangular(lower, system.targets[: lower.shape[0]], upper=False)
        predict = _by_coefficients if residuals or _coefficients_are_cheaper(system, sizes) else _by_running_sum
        solved = predict(system, lower, whitened, sizes, shift if residuals else None)
        for position, (prediction, residual) in zip(positions, solved, strict=True):
            if bool(torch.isfinite(prediction).all()):
                status = Status.JITTERED if used else Status.CONVERGED
                reports[position] = SolveReport(diag_reg, used, residual, status)
            predictions[position] = prediction
    return NestedSolution(predictions, tuple(reports))


def nested_factors(
    system: KernelSystem, diag_reg: float, jitter: float | None
) -> Iterator[tuple[list[int], Tensor, float]]:
    """Factors of K + (diag_reg + jitter) m I that together serve all sizes which can be solved.

    Args:
        system: kernels, with their mean diagonal m.
        diag_reg: relative ridge.
        jitter: smallest relative jitter.

    Yields:
        Positions of sizes, the factor (not smaller than the largest of them) that serves them, its jitter.
    """
    remaining = list(range(len(system.sizes))) if system.solvable else []
    for used in (0.0, *jitter_ladder(jitter, system.kernel_dtype, working=system.dtype)):
        if not remaining:
            return
        largest = system.sizes[remaining[-1]]
        lower = leading_factor(
            system.gram[:largest, :largest],
            shift=(diag_reg + used) * system.scale,
            scale=system.scale,
            dtype=system.dtype,
            kernel_dtype=system.kernel_dtype,
        )
        served = [position for position in remaining if system.sizes[position] <= lower.shape[0]]
        if served:
            yield served, lower, used
        remaining = remaining[len(served) :]


def _coefficients_are_cheaper(system: KernelSystem, sizes: list[int]) -> bool:
    n_eval, n_outputs = system.evaluation.shape[0], system.targets.shape[1]
    return n_outputs * sum(n * (n + 2 * n_eval) for n in sizes) < sizes[-1] ** 2 * n_eval


def _by_coefficients(
    system: KernelSystem, lower: Tensor, whitened: Tensor, sizes: list[int], shift: float | None
) -> Iterator[tuple[Tensor, float]]:
    """Prediction and relative residual at each size; residuals are NaN without a `shift`."""
    n_sizes = max(1, _COLUMNS // whitened.shape[1])
    for group in (sizes[start : start + n_sizes] for start in range(0, len(sizes), n_sizes)):
        alpha = nested_coefficients(lower, whitened, group)
        found = [math.nan] * len(group)
        if shift is not None:
            found = nested_residuals(system.gram, alpha, system.targets, group, shift=shift)
        yield from zip(nested_products(system.evaluation, alpha, group), found, strict=True)


def _by_running_sum(
    system: KernelSystem, lower: Tensor, whitened: Tensor, sizes: list[int], shift: float | None
) -> Iterator[tuple[Tensor, float]]:
    """Prediction at each size as a running sum over blocks of samples; residuals are NaN."""
    del shift
    largest = sizes[-1]
    values = torch.linalg.solve_triangular(lower[:largest, :largest], system.evaluation[:, :largest].mT, upper=False)
    prediction = system.evaluation.new_zeros(system.evaluation.shape[0], whitened.shape[1])
    for start, stop in zip([0, *sizes], sizes, strict=False):
        prediction = prediction + values[start:stop].mT @ whitened[start:stop]
        yield prediction, math.nan


@dataclass(frozen=True)
class PosteriorVariance:
    """Variances at all sizes, with one report each.

    Attributes:
        variance: `(n_sizes, n_test)`, NaN where a size could not be solved.
        reports: one a size; residual and eigenvalues are left out.
    """

    variance: Tensor
    reports: tuple[SolveReport, ...]


def posterior_variance(
    k_train_train: Tensor,
    k_test_train: Tensor,
    k_test_test: Tensor,
    *,
    sizes: Sequence[int] | None = None,
    diag_reg: float = 0.0,
    jitter: float | None = None,
    kernel_dtype: torch.dtype | None = None,
) -> PosteriorVariance:
    r"""k(x, x) − K(x, X_n)(K_n + λI)⁻¹K(X_n, x) at every size n, X_n being the first n samples.

    Rasmussen & Williams 2006, eq. 2.26; noise of the targets, if λ stands for it, is not added. With V =
    L⁻¹K(X, x), L the Cholesky factor of K + λI, the variance at size n is k(x, x) − Σ_{i<n} V_i², a running
    sum.

    Args:
        k_train_train: covariance of one output at the training samples, `(n_train, n_train)`.
        k_test_train: `(n_test, n_train)`.
        k_test_test: prior variances, `(n_test,)`, or the matrix `(n_test, n_test)` whose diagonal they are.
        sizes: strictly increasing sample counts; None takes all samples.
        diag_reg: λ relative to the mean diagonal of the largest training matrix.
        jitter: smallest jitter tried where it is singular, relative to the mean diagonal.
        kernel_dtype: precision in which the kernels were computed, see `solve`.

    Returns:
        Variances in float64 (rounding below zero is set to zero), and reports.

    Raises:
        ValueError: a shape does not fit, or `sizes` does not; the covariance is not symmetric or of half precision, or
            the ridge or jitter is negative or not finite.
    """
    checked_ridge(diag_reg, jitter)
    given = real_tensor(k_train_train, "k_train_train")
    axis = ("n_train", len(given) if given.dim() else None)
    checked_block("k_train_train", given, (axis, axis), given.device)
    gram, _ = checked_kernel(given, kernel_dtype=kernel_dtype)
    n_train = len(gram)
    rows = checked_block("k_test_train", k_test_train, (("n_test", None), ("n_train", n_train)), gram.device)
    prior = real_tensor(k_test_test, "k_test_test")
    axes = (("n_test", len(rows)),) * max(1, min(2, prior.dim()))
    kernels = (gram, real_tensor(k_test_train, "k_test_train"), prior)
    rounding = max(torch.finfo(precision_of(kernel, kernel_dtype)).eps for kernel in kernels)
    prior = checked_block("k_test_test", prior, axes, gram.device)
    system = kernel_system(
        gram,
        gram.new_zeros(n_train, 1),
        rows,
        sizes=(n_train,) if sizes is None else sizes,
        kernel_dtype=kernel_dtype,
    )
    n_test = len(system.evaluation)
    prior = prior.diagonal() if prior.dim() == 2 else prior
    variance = prior.new_full((len(system.sizes), n_test), math.nan)
    reports = [SolveReport(diag_reg, math.nan, math.nan, Status.SINGULAR) for _ in system.sizes]
    for positions, lower, used in nested_factors(system, diag_reg, jitter):
        served = [system.sizes[position] for position in positions]
        largest = served[-1]
        rows = system.evaluation[:, :largest].mT
        explained = torch.linalg.solve_triangular(lower[:largest, :largest], rows, upper=False).square_().cumsum(0)
        for position, n in zip(positions, served, strict=True):
            left = prior - explained[n - 1]
            is_rounding = (left < 0) & (left > -100.0 * n * rounding * prior)
            variance[position] = left.masked_fill(is_rounding, 0.0)
            if bool(torch.isfinite(variance[position]).all()):
                status = Status.JITTERED if used else Status.CONVERGED
                reports[position] = SolveReport(diag_reg, used, math.nan, status)
    return PosteriorVariance(variance, tuple(reports))
