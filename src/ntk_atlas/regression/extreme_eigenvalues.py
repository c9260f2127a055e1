"""The smallest and largest eigenvalue of a kernel, which say how well its system is conditioned."""

import math

import numpy as np
import scipy.linalg
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor

_DENSE = 768
"""Samples up to which all eigenvalues cost no more than the two."""

_TOLERANCE = 1e-6
"""Of the eigenvectors; eigenvalues are accurate to its square."""


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
