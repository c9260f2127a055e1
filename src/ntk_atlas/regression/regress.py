"""Kernel regression at all nested sample counts, under both ridge policies, and how its systems are conditioned."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

import numpy as np
import scipy.linalg
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor

from ntk_atlas.arrays import Status
from ntk_atlas.config.regression import SolveSettings
from ntk_atlas.numerics import real_tensor
from ntk_atlas.regression.arguments import checked_block, checked_kernel
from ntk_atlas.regression.nested import kernel_system
from ntk_atlas.regression.selection import checked_data, choose, chosen_arrays, solve_path, solve_table
from ntk_atlas.regression.tiled import products_of_matrix

logger = logging.getLogger(__name__)

_DENSE = 768
"""Samples up to which all eigenvalues cost no more than the two."""

_TOLERANCE = 1e-6
"""Of the eigenvectors; eigenvalues are accurate to its square."""


@dataclass(frozen=True)
class NestedRegression:
    """What kernel regression gives at each sample count; arrays are `(2, n_sizes)` but the last two.

    The first axis is the ridge policy: `zero` is ridge → 0, with jitter only where the Gram matrix is
    singular; `tuned` is the ridge chosen for each size by validation or leave-one-out. Where a status is
    SINGULAR, the values are NaN (eigenvalues are kept where the kernel is finite).

    Attributes:
        test_mse: mean over test samples and outputs of (f − y)².
        test_error: share of test samples in the wrong class; NaN for regression data.
        validation_mse: as `test_mse`.
        diag_reg: ridge, relative to the mean diagonal of the largest Gram matrix.
        jitter: what a singular matrix needed besides, relative to the same mean diagonal.
        lambda_min: smallest eigenvalue of the matrix solved (ridge and jitter included), absolute; NaN of an iterative
            solve.
        condition_number: of the matrix solved; NaN of an iterative solve.
        residual: ‖(K + shift) α − y‖_F / ‖y‖_F.
        status: codes of `Status`, int8: CONVERGED, JITTERED, SINGULAR, or BUDGET_SPENT of an iterative solve.
        test_mse_folds: `test_mse` over the test samples of each fold, `(2, n_sizes, N_FOLDS)`; NaN without any.
        test_predictions: `(2, n_sizes, n_test, n_outputs)`, float32; None unless `keep_predictions`.
    """

    RIDGE_POLICIES: ClassVar[tuple[str, str]] = ("zero", "tuned")

    test_mse: np.ndarray
    test_error: np.ndarray
    validation_mse: np.ndarray
    diag_reg: np.ndarray
    jitter: np.ndarray
    lambda_min: np.ndarray
    condition_number: np.ndarray
    residual: np.ndarray
    status: np.ndarray
    test_mse_folds: np.ndarray
    test_predictions: np.ndarray | None = field(default=None, kw_only=True)


Offset = tuple[Tensor, Tensor, Tensor] | None
"""Outputs of a network at the training, validation and test samples, or None for zero."""


def regress_nested(
    k_train_train: Tensor,
    k_validation_train: Tensor,
    k_test_train: Tensor,
    *,
    y_train: Tensor,
    y_validation: Tensor,
    y_test: Tensor,
    sizes: Sequence[int],
    settings: SolveSettings,
    test_labels: Tensor | None = None,
    test_folds: np.ndarray | None = None,
    offset: Offset = None,
    kernel_dtype: torch.dtype | None = None,
) -> NestedRegression:
    r"""Kernel regression with the first n samples, for all n, under both ridge policies.

    f_n(x) = f₀(x) + K(x, X_n)(K_n + λI)⁻¹(y_n − f₀(X_n)) with λ = diag_reg × mean diagonal of the largest
    Gram matrix (that of `sizes[-1]`). Each ridge costs one Cholesky factorization for all sizes. The tuned
    ridge of a size has the lowest validation MSE, or leave-one-out MSE on the n samples; test data never
    enter the choice.

    Args:
        k_train_train: Gram matrix, `(n_train, n_train)`, symmetric, float64 or float32; solved in float64.
        k_validation_train: `(n_validation, n_train)`.
        k_test_train: `(n_test, n_train)`.
        y_train: encoded targets, `(n_train, n_outputs)`.
        y_validation: `(n_validation, n_outputs)`.
        y_test: `(n_test, n_outputs)`.
        sizes: strictly increasing sample counts.
        settings: ridge grid, rule of choice and jitter.
        test_labels: class indices, `(n_test,)`; None for regression data.
        test_folds: fold of each test sample, `(n_test,)`, see `ntk_atlas.folds`; None for no errors by fold.
        offset: f₀ at the training, validation and test samples (the network's outputs, for
            `predictor_center: network`), or None for zero.
        kernel_dtype: precision in which the kernels were computed, where they have been cast since; None takes that of
            `k_train_train`.

    Returns:
        Errors and reports of both policies. Kernels that are not finite or not positive semi-definite give
        the status SINGULAR, they never raise.

    Raises:
        ValueError: a shape or `sizes` does not fit, a target is NaN, or the kernel is not symmetric or of half
            precision.
    """
    return regress_around(
        k_train_train,
        k_validation_train,
        k_test_train,
        y_train=y_train,
        y_validation=y_validation,
        y_test=y_test,
        sizes=sizes,
        settings=settings,
        test_labels=test_labels,
        test_folds=test_folds,
        offsets=[offset],
        kernel_dtype=kernel_dtype,
    )[0]


def regress_around(
    k_train_train: Tensor,
    k_validation_train: Tensor,
    k_test_train: Tensor,
    *,
    y_train: Tensor,
    y_validation: Tensor,
    y_test: Tensor,
    sizes: Sequence[int],
    settings: SolveSettings,
    offsets: Sequence[Offset],
    test_labels: Tensor | None = None,
    test_folds: np.ndarray | None = None,
    kernel_dtype: torch.dtype | None = None,
) -> tuple[NestedRegression, ...]:
    """`regress_nested` around several offsets: they share factorizations and eigenvalues, as further targets.

    Args:
        k_train_train: see `regress_nested`.
        k_validation_train: kernel of validation and training samples, `(n_validation, n)`.
        k_test_train: kernel of test and training samples, `(n_test, n)`.
        y_train: targets, `(n, n_outputs)`.
        y_validation: targets, `(n_validation, n_outputs)`.
        y_test: targets, `(n_test, n_outputs)`.
        sizes: numbers of training samples, ascending.
        settings: how systems are solved.
        offsets: f₀ of each regression.
        test_labels: see `regress_nested`.
        test_folds: fold of each test sample, see `regress_nested`.
        kernel_dtype: precision in which the kernel was computed, see `finite_time_mean`.

    Returns:
        One regression an offset; `residual` is that of the system of all of them.

    Raises:
        ValueError: see `regress_nested`.
    """
    given = real_tensor(k_train_train, "k_train_train")
    if given.dim() == 4:
        raise ValueError(
            f"k_train_train has shape {tuple(given.shape)}, expected (n_train, n_train): a full kernel, whose outputs "
            "mix, is solved by `solve_nested`"
        )
    device, n_train = given.device, given.shape[-1] if given.dim() else None
    rows = [
        checked_block(name, value, ((axis, None), ("n_train", n_train)), device)
        for name, value, axis in (
            ("k_validation_train", k_validation_train, "n_validation"),
            ("k_test_train", k_test_train, "n_test"),
        )
    ]
    k_train_train, _ = checked_kernel(given, kernel_dtype=kernel_dtype)
    targets = [
        checked_data(
            y_train,
            y_validation,
            y_test,
            test_labels=test_labels,
            test_folds=test_folds,
            offset=offset,
            n_samples=(len(k_train_train), len(rows[0]), len(rows[1])),
            select_ridge=settings.select_ridge,
            device=device,
        )
        for offset in offsets
    ]
    residues = [t.train - t.offset_train for t in targets]
    evaluation = torch.cat(rows)

    iterative = settings.solver == "iterative"

    @cache
    def extremes(position: int) -> tuple[float, float]:
        if iterative:
            return math.nan, math.nan
        n = sizes[position]
        return extreme_eigenvalues(k_train_train[:n, :n])

    # An offset that is not finite makes its own solve fail; it must not reach the others.
    together = len(targets) if all(bool(torch.isfinite(residue).all()) for residue in residues) else 1
    regressions = []
    for start in range(0, len(targets), together):
        held = kernel_system(
            k_train_train,
            torch.cat(residues[start : start + together], dim=1),
            evaluation,
            sizes=sizes,
            kernel_dtype=kernel_dtype,
        )
        system = products_of_matrix(held) if iterative else held
        solutions = solve_path(system, settings)
        for index, target in enumerate(targets[start : start + together]):
            n_outputs = target.train.shape[1]
            columns = slice(index * n_outputs, (index + 1) * n_outputs)
            own = [solution.of_columns(columns) for solution in solutions]
            table = solve_table(system.of_columns(columns), own, target, settings)
            arrays = chosen_arrays(table, choose(table), lambda _, position: extremes(position), scale=system.scale)
            n_singular = int((arrays["status"] == Status.SINGULAR).sum())
            if n_singular:
                logger.info("%d of %d solves were singular (sizes %s)", n_singular, arrays["status"].size, system.sizes)
            regressions.append(NestedRegression(**arrays))
    return tuple(regressions)


def extreme_eigenvalues(matrix: Tensor) -> tuple[float, float]:
    """The smallest and largest eigenvalue of a symmetric matrix.

    Of a large positive definite matrix they come from Lanczos iterations (ARPACK) with the matrix and with its inverse,
    by one Cholesky factor: n³/3 flops in products of blocks instead of the 4n³/3 of all eigenvalues, half of which are
    bound by memory. Of one that is singular to rounding all eigenvalues are evaluated.

    Args:
        matrix: `(n, n)`, n ≥ 1.

    Returns:
        Both, NaN if an entry is not finite.
    """
    if not bool(torch.isfinite(matrix).all()):
        return math.nan, math.nan
    matrix = matrix.to(torch.float64)
    if len(matrix) > _DENSE:
        ends = _by_iteration(matrix.cpu())
        if ends is not None:
            return ends
    try:
        eigenvalues = torch.linalg.eigvalsh(matrix)
    except torch.linalg.LinAlgError:
        return math.nan, math.nan
    return float(eigenvalues[0]), float(eigenvalues[-1])


def _by_iteration(matrix: Tensor) -> tuple[float, float] | None:
    n, values = len(matrix), matrix.numpy()
    lower, failed_pivot = torch.linalg.cholesky_ex(matrix)  # several times as fast as that of scipy's wheels
    if int(failed_pivot):
        return None
    factor = (lower.numpy(), True)
    inverse = LinearOperator((n, n), lambda x: scipy.linalg.cho_solve(factor, x, check_finite=False), dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n)
    try:
        largest, of_inverse = (
            float(eigsh(operator, k=1, which="LA", v0=start, tol=_TOLERANCE, return_eigenvectors=False)[0])
            for operator in (values, inverse)
        )
    except ArpackError:
        return None
    smallest = 1.0 / of_inverse
    # Below the rounding errors of the factor its inverse says nothing of the matrix.
    return (smallest, largest) if smallest > n * np.finfo(np.float64).eps * largest else None
