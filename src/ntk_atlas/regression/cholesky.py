"""Cholesky factors that say how much of a matrix is sound, and how much jitter cured the rest."""

import logging
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.status import Status

MAX_JITTER = 1e-6
"""Largest jitter ever added, relative to the mean diagonal: beyond it one solves another problem."""

_SUSPICIOUS_PIVOT = 1e-7
_EPS = torch.finfo(torch.float64).eps

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Factor:
    """A Cholesky factor and what it cost.

    Attributes:
        lower: L with L Lᵀ = A + jitter · mean diagonal · I, `(n, n)` float64; all NaN where the status is
            SINGULAR.
        jitter: what was added to the diagonal, relative to the mean diagonal; NaN where nothing helped.
        status: CONVERGED, JITTERED or SINGULAR.
    """

    lower: Tensor
    jitter: float
    status: Status


def default_jitter(dtype: torch.dtype) -> float:
    """Returns the smallest jitter worth trying on a matrix whose entries were rounded to `dtype`."""
    return 1e-12 if dtype == torch.float64 else 1e-8


def jitter_ladder(first: float | None, dtype: torch.dtype = torch.float64) -> tuple[float, ...]:
    """Jitters to try after 0: `first` × 10, × 100, ... up to `MAX_JITTER`.

    Args:
        first: smallest jitter, relative to the mean diagonal; None or 0 takes the default of `dtype`.
        dtype: precision in which the matrix was computed.

    Returns:
        Ascending jitters; a `first` above `MAX_JITTER` is the only one.
    """
    first = first or default_jitter(dtype)
    n_steps = max(0, math.floor(math.log10(MAX_JITTER / first) + 1e-9))
    return tuple(first * 10.0**step for step in range(n_steps + 1))


def leading_factor(matrix: Tensor, *, shift: float = 0.0) -> Tensor:
    r"""Cholesky factor of the largest leading block of A + shift · I that is positive definite to rounding.

    `cholesky_ex` says at which pivot it failed: the block before it is factored. That pivots are positive is
    not enough, since the pivot of a duplicated sample is rounding noise of either sign. Row i of L⁻¹ gives a
    vector whose Rayleigh quotient 1/‖(L⁻¹)_i‖² bounds λ_min of the leading block of order i from above; the
    block is sound where that exceeds i · eps · (largest diagonal entry). Rows are looked at only where the
    pivot is small.

    Args:
        matrix: symmetric A, `(n, n)` float64, finite, with a mean diagonal of order one (only its lower
            triangle is read).
        shift: added to the diagonal.

    Returns:
        L, `(k, k)` with 0 ≤ k ≤ n.
    """
    size = matrix.shape[0]
    while size:
        shifted = matrix[:size, :size].clone()
        shifted.diagonal().add_(shift)
        lower, info = torch.linalg.cholesky_ex(shifted)
        failed_pivot = int(info)
        if failed_pivot == 0:
            sound = _sound_size(lower, shifted.diagonal())
            return lower[:sound, :sound]
        size = failed_pivot - 1
    return matrix[:0, :0]


def _sound_size(lower: Tensor, diagonal: Tensor) -> int:
    """Returns the order of the largest leading block of `lower` that is not singular to rounding."""
    rows = torch.nonzero(~(lower.diagonal() ** 2 > _SUSPICIOUS_PIVOT)).flatten()
    if len(rows) == 0:
        return lower.shape[0]
    unit = torch.zeros(lower.shape[0], len(rows), dtype=lower.dtype, device=lower.device)
    unit[rows, torch.arange(len(rows), device=lower.device)] = 1.0
    inverse_rows = torch.linalg.solve_triangular(lower.mT, unit, upper=True)
    quotient = 1.0 / (inverse_rows**2).sum(0)
    tolerance = (rows + 1) * _EPS * torch.cummax(diagonal, 0).values[rows]
    unsound = rows[~(quotient > tolerance)]
    return int(unsound[0]) if len(unsound) else lower.shape[0]


def safe_cholesky(matrix: Tensor, *, jitter: float | None = None) -> Factor:
    """Cholesky factor of a symmetric matrix, with as little jitter as makes it positive definite.

    Args:
        matrix: A, `(n, n)`; factored in float64.
        jitter: smallest jitter tried, relative to the mean diagonal; None or 0 takes the default of its
            dtype.

    Returns:
        The factor, jitter and status. A matrix that is not finite, or that a jitter of `MAX_JITTER` does not
        cure, has status SINGULAR; nothing is raised.
    """
    size, exact = matrix.shape[0], matrix.to(torch.float64)
    scale = float(exact.diagonal().mean()) if size else math.nan
    if bool(torch.isfinite(exact).all()) and math.isfinite(scale) and scale > 0:
        exact = exact / scale
        for tried in (0.0, *jitter_ladder(jitter, matrix.dtype)):
            lower = leading_factor(exact, shift=tried)
            if lower.shape[0] == size:
                if tried:
                    logger.info("added %.0e of the mean diagonal to factor a %d × %d matrix", tried, size, size)
                return Factor(lower * math.sqrt(scale), tried, Status.JITTERED if tried else Status.CONVERGED)
    return Factor(torch.full_like(exact, math.nan), math.nan, Status.SINGULAR)
