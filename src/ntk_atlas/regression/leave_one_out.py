"""A path of ridges with closed-form leave-one-out errors and marginal likelihoods, from one eigendecomposition."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RidgePath:
    """Solutions of one kernel system at many ridges.

    Attributes:
        diag_reg: ridges relative to `scale`, `(n_ridges,)`.
        coefficients: α with f(x) = K(x, X) α, `(n_ridges, n, n_outputs)`.
        leave_one_out_mse: mean squared leave-one-out residual, `(n_ridges,)`; NaN where K + λI is not
            positive definite.
        log_marginal_likelihood: of a Gaussian process with covariance s²(K + λI) at its best s², `(n_ridges,)`; NaN
            likewise.
        eigenvalues: of K, ascending, `(n,)`.
    """

    diag_reg: Tensor
    coefficients: Tensor
    leave_one_out_mse: Tensor
    log_marginal_likelihood: Tensor
    eigenvalues: Tensor


def ridge_path(
    k_train_train: Tensor, y_train: Tensor, *, diag_reg: Sequence[float], scale: float | None = None
) -> RidgePath:
    r"""Kernel regression at all ridges, and its error on each sample when that sample is left out.

    With K = QΛQᵀ and G = (K + λI)⁻¹, the residual of sample i of the fit without sample i is
    (y_i − f_i)/(1 − h_ii) = (Gy)_i / G_ii, where H = KG is the hat matrix (Rasmussen & Williams 2006, eq.
    5.12; Allen's PRESS). Gy = Q(Λ + λ)⁻¹Qᵀy and G_ii = Σ_j Q_ij²/(Λ_j + λ) cost two products for all ridges
    together.

    The marginal likelihood of targets y_c ~ N(0, s²(K + λI)), C outputs of n samples, is largest at s² = tr(YᵀGY)/(nC),
    where its logarithm is −½ nC (log 2πs² + 1) − ½ C Σ_j log(Λ_j + λ) (Rasmussen & Williams 2006, eq. 5.8).

    Args:
        k_train_train: Gram matrix, `(n, n)`.
        y_train: targets, `(n, n_outputs)`.
        diag_reg: ridges, relative to `scale`; NaN gives NaN.
        scale: None takes the mean diagonal of `k_train_train`.

    Returns:
        The path, in float64. A kernel that is not finite, or an eigendecomposition that fails, gives NaN.
    """
    gram, targets = k_train_train.to(torch.float64), y_train.to(torch.float64)
    scale = float(gram.diagonal().mean()) if scale is None else scale
    ridges = torch.tensor(list(diag_reg), dtype=torch.float64, device=gram.device)
    eigenvalues, vectors = _eigendecomposition(gram)
    shifted = eigenvalues + scale * ridges[:, None]
    inverse = torch.where((shifted > 0).all(1, keepdim=True), 1.0 / shifted, math.nan)
    # Ridges and outputs are the columns of one product: a batch of products would copy Q for every ridge.
    scores = inverse.mT[:, :, None] * (vectors.mT @ targets)[:, None, :]
    coefficients = (vectors @ scores.flatten(1)).unflatten(1, scores.shape[1:]).transpose(0, 1)
    diagonal = inverse @ (vectors**2).mT
    loo_mse = ((coefficients / diagonal[:, :, None]) ** 2).mean((1, 2))
    n_values, n_outputs = targets.numel(), targets.shape[1]
    variance = (coefficients * targets).sum((1, 2)) / n_values
    log_determinant = torch.where(torch.isfinite(inverse), -inverse.log(), math.nan).sum(1)
    likelihood = -0.5 * (n_values * ((2 * math.pi * variance).log() + 1.0) + n_outputs * log_determinant)
    return RidgePath(ridges, coefficients, loo_mse, likelihood, eigenvalues)


def _eigendecomposition(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ascending eigenvalues and eigenvectors, NaN if `gram` is not finite or the iteration fails."""
    if bool(torch.isfinite(gram).all()):
        try:
            return torch.linalg.eigh(gram)
        except torch.linalg.LinAlgError:
            pass
    return gram.new_full((gram.shape[0],), math.nan), torch.full_like(gram, math.nan)
