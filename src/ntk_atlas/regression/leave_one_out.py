"""A path of ridges with closed-form leave-one-out errors and marginal likelihoods, from one eigendecomposition."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.regression.arguments import checked_kernel, checked_number, checked_targets, precision_of, rounding_in
from ntk_atlas.tensors import real_tensor


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
    k_train_train: Tensor,
    y_train: Tensor,
    *,
    diag_reg: Sequence[float],
    scale: float | None = None,
    kernel_dtype: torch.dtype | None = None,
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
        diag_reg: ridges, relative to `scale`.
        scale: None takes the mean diagonal of `k_train_train`.
        kernel_dtype: precision in which the kernel was computed, where it has been cast since; None takes its own.

    Returns:
        The path, in float64. A kernel that is not finite, or an eigendecomposition that fails, gives NaN, and so does
        a ridge at which K + λI is singular to the rounding of the precision in which K was computed.

    Raises:
        ValueError: a shape does not fit, a target is not finite, the kernel is not symmetric or of half precision, or a
            ridge or the scale is negative or not finite.
    """
    gram, outputs = checked_kernel(k_train_train, kernel_dtype=kernel_dtype)
    n_train = len(gram)
    if outputs:
        raise ValueError(
            f"k_train_train has shape {tuple(gram.shape)}, expected (n_train = {n_train}, n_train = {n_train}): the "
            "path is of a kernel that all outputs share"
        )
    targets = checked_targets("y_train", y_train, (("n_train", n_train), ("n_outputs", None)), gram.device)
    if scale is not None:
        checked_number("scale", scale, positive=True)
    ridges = real_tensor(diag_reg, "diag_reg").flatten().tolist()
    for ridge in ridges:
        checked_number("diag_reg", ridge)
    precision = precision_of(gram, kernel_dtype)
    smallest = rounding_in(gram, precision) * float(gram.diagonal().abs().max())
    return path_of(gram, targets, diag_reg=ridges, scale=scale, smallest=smallest)


def path_of(
    gram: Tensor,
    targets: Tensor,
    *,
    diag_reg: Sequence[float],
    scale: float | None = None,
    smallest: float = 0.0,
) -> RidgePath:
    """`ridge_path` of arguments that have been checked.

    Args:
        gram: `(n, n)`.
        targets: `(n, n_outputs)`.
        diag_reg: ridges; NaN gives NaN.
        scale: their unit, None for the mean diagonal.
        smallest: an eigenvalue of K + λI that is not above gives NaN.

    Returns:
        The path.
    """
    gram, targets = gram.to(torch.float64), targets.to(torch.float64)
    scale = float(gram.diagonal().mean()) if scale is None else scale
    ridges = torch.tensor(list(diag_reg), dtype=torch.float64, device=gram.device)
    eigenvalues, vectors = _eigendecomposition(gram)
    shifted = eigenvalues + scale * ridges[:, None]
    inverse = torch.where((shifted > smallest).all(1, keepdim=True), 1.0 / shifted, math.nan)
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
            eigenvalues, vectors = torch.linalg.eigh(gram)
            return eigenvalues, vectors
        except torch.linalg.LinAlgError:
            pass
    return gram.new_full((gram.shape[0],), math.nan), torch.full_like(gram, math.nan)
