"""Kernel regression at many nested sample counts from one Cholesky factorization."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ntk_atlas.regression.arguments import checked_ridge
from ntk_atlas.regression.back_substitution import nested_coefficients, nested_products, nested_residuals
from ntk_atlas.regression.cholesky import jitter_ladder, leading_factor
from ntk_atlas.regression.report import SolveReport
from ntk_atlas.regression.system import KernelSystem, checked_system
from ntk_atlas.status import Status

_COLUMNS = 1024
"""Right-hand sides of one back-substitution: enough for full speed, few beside a kernel."""


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
        jitter: smallest jitter tried, relative likewise; None or 0 takes the default of the dtype. A size
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
