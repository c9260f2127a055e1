"""Posterior variance of a Gaussian process, e.g. of the NNGP, at nested sample counts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.regression.arguments import checked_block, checked_kernel, checked_ridge, precision_of
from ntk_atlas.regression.nested import nested_factors
from ntk_atlas.regression.report import SolveReport
from ntk_atlas.regression.system import kernel_system
from ntk_atlas.status import Status
from ntk_atlas.tensors import real_tensor


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
        jitter: smallest jitter tried where it is singular, relative likewise.
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
