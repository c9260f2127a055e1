"""One kernel system, solved once: coefficients to predict with anywhere, and a report."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.regression.arguments import (
    checked_block,
    checked_kernel,
    checked_ridge,
    checked_targets,
    checked_working_dtype,
    precision_of,
    sample_major,
)
from ntk_atlas.regression.cholesky import factored, mean_diagonal
from ntk_atlas.regression.refinement import is_worth_refining, refined_solution
from ntk_atlas.regression.report import SolveReport, relative_residual, solve_misfit
from ntk_atlas.status import Status
from ntk_atlas.tensors import real_tensor


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
    refined to the accuracy of float64 (`refinement`).

    Args:
        k_train_train: Gram matrix, `(n_train, n_train)`, shared by all outputs, or the full kernel `(n_train,
            n_train, n_outputs, n_outputs)`; symmetric.
        y_train: targets, `(n_train, n_outputs)`.
        diag_reg: λ relative to the mean diagonal of K.
        jitter: smallest jitter tried where the matrix is singular, relative likewise; None or 0 takes the
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
