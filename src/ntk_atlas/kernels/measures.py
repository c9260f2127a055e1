r"""What is measured on Gram matrices: change, alignment with targets, spectrum, block structure.

All functions work on the last two axes and keep the leading ones. A kernel that is not finite gives NaN.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def relative_drift(k_t: Tensor, k_0: Tensor) -> Tensor:
    """Relative change ‖K_t − K_0‖_F / ‖K_0‖_F.

    Args:
        k_t: kernels `(..., n1, n2)`.
        k_0: what they are compared with, same shape up to broadcasting.

    Returns:
        `(...)`.
    """
    return _norm(k_t - k_0) / _norm(k_0)


def kernel_distance(k1: Tensor, k2: Tensor) -> Tensor:
    """Angle distance S = 1 − ⟨K₁, K₂⟩_F / (‖K₁‖_F ‖K₂‖_F) of Fort et al. (2020), blind to scale.

    It is evaluated as half the squared distance of the normalized kernels, which is the same number without
    the cancellation between kernels that are close.

    Args:
        k1: kernels `(..., n1, n2)`.
        k2: same shape up to broadcasting.

    Returns:
        `(...)`, between 0 and 1 for kernels with a positive inner product.
    """
    return 0.5 * _norm(_normalized(k1) - _normalized(k2)) ** 2


def kernel_velocity(k_t: Tensor, k_later: Tensor, elapsed: float) -> Tensor:
    """Velocity S(K_t, K_{t+Δ}) / Δ of Fort et al. (2020), with S the `kernel_distance`.

    Args:
        k_t: kernels `(..., n1, n2)` at time t.
        k_later: kernels at t + Δ.
        elapsed: Δ, in epochs or whatever time is counted in.

    Returns:
        `(...)`.

    Raises:
        ValueError: if no time has elapsed.
    """
    if not elapsed > 0:
        raise ValueError(f"a velocity needs a positive elapsed time, got {elapsed}")
    return kernel_distance(k_t, k_later) / elapsed


def target_alignment(k: Tensor, y: Tensor) -> Tensor:
    r"""Kernel-target alignment Σ_c y_cᵀ K y_c / (‖y‖² Tr K) (Atanasov, Bordelon & Pehlevan 2022).

    Args:
        k: kernels `(..., n, n)`.
        y: targets `(n,)` or `(..., n, C)`, leading axes broadcast with those of `k`.

    Returns:
        `(...)`: 1 if K ∝ y yᵀ, 1/n for the identity.
    """
    y = y.to(k)
    y = y[:, None] if y.dim() == 1 else y
    return (y * (k @ y)).sum((-2, -1)) / ((y**2).sum((-2, -1)) * _trace(k))


def spectrum(k: Tensor) -> Tensor:
    """Returns descending eigenvalues `(..., n)` of symmetric kernels `(..., n, n)`; NaN for one not finite."""
    finite = torch.isfinite(k).all(-1).all(-1)
    # A zero matrix takes the place of a kernel that eigvalsh would raise on.
    eigenvalues = torch.linalg.eigvalsh(torch.where(finite[..., None, None], k, 0.0)).flip(-1)
    return torch.where(finite[..., None], eigenvalues, torch.nan)


def effective_rank(k: Tensor) -> Tensor:
    r"""Effective rank exp(−Σ_i p_i log p_i), p_i = λ_i / Tr K (Roy & Vetterli 2007).

    Args:
        k: positive semidefinite kernels `(..., n, n)`; eigenvalues below 0 are rounding and count as 0.

    Returns:
        `(...)`, between 1 (K of rank one) and n (K ∝ identity); NaN for the zero kernel.
    """
    eigenvalues = spectrum(k).clamp(min=0.0)
    shares = eigenvalues / eigenvalues.sum(-1, keepdim=True)
    return torch.exp(-torch.xlogy(shares, shares).sum(-1))


@dataclass(frozen=True)
class ClassBlockRatios:
    """Class-block structure of kernels.

    Attributes:
        within: mean entry between samples of one class, over the mean diagonal, `(...)`.
        between: mean entry between samples of different classes, over the mean diagonal, `(...)`.
    """

    within: Tensor
    between: Tensor


def class_block_ratios(k: Tensor, labels: Tensor | None) -> ClassBlockRatios:
    """Block structure as in Seleznova & Kutyniok (2022), figure 4.

    The within-class mean takes whole blocks, with their diagonal.

    Args:
        k: kernels `(..., n, n)`.
        labels: class of each sample, `(n,)`.

    Returns:
        Both ratios; `between` is NaN if there is one class only.

    Raises:
        ValueError: if there is not one label a sample, or labels are not classes but None or real numbers.
    """
    if labels is None or not torch.equal(torch.as_tensor(labels), torch.as_tensor(labels).round()):
        raise ValueError(
            "class-block ratios need the class of each sample, and regression data have none: leave them out there, "
            "kernel_drift and target_alignment need no classes"
        )
    labels = torch.as_tensor(labels, device=k.device)
    if labels.shape != k.shape[-1:]:
        raise ValueError(f"{tuple(labels.shape)} labels for a kernel of {tuple(k.shape[-2:])}: give one a sample")
    same = labels[:, None] == labels[None, :]
    diagonal = k.diagonal(dim1=-2, dim2=-1).mean(-1)
    return ClassBlockRatios(k[..., same].mean(-1) / diagonal, k[..., ~same].mean(-1) / diagonal)


def _norm(k: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(k)


def _normalized(k: Tensor) -> Tensor:
    return k / _norm(k)[..., None, None]


def _trace(k: Tensor) -> Tensor:
    return k.diagonal(dim1=-2, dim2=-1).sum(-1)
