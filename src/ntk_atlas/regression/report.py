"""What a solve reports about itself."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ntk_atlas.status import Status

_COLUMNS = 8
_ROWS = 512


@dataclass(frozen=True)
class SolveReport:
    """How a kernel system (K + (diag_reg + jitter) m I) α = y, m the mean diagonal, was solved.

    Attributes:
        diag_reg: ridge, relative to the mean diagonal of the largest Gram matrix.
        jitter: what had to be added to it, relative likewise; NaN where the status is SINGULAR.
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
