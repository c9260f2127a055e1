r"""What is measured on Gram matrices: change, alignment with targets, spectrum, block structure.

All functions work on the last two axes and keep the leading ones. A kernel that is not finite gives NaN. Kernels are
torch tensors or NumPy arrays; those of half precision are measured in float32, integers in float64. The last two axes
never broadcast.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ntk_atlas.numerics import Given, real_number, real_tensor


def relative_drift(k_t: Given, k_0: Given) -> Tensor:
    """Relative change ‖K_t − K_0‖_F / ‖K_0‖_F.

    Args:
        k_t: kernels `(..., n1, n2)`.
        k_0: what they are compared with, `(..., n1, n2)`; leading axes broadcast.

    Returns:
        `(...)`; NaN or infinite where K_0 is zero.

    Raises:
        ValueError: if these are no kernels of the same samples.
    """
    k_t, k_0 = _pair(k_t, k_0, "k_t", "k_0")
    return _norm(k_t - k_0) / _norm(k_0)


def kernel_distance(k1: Given, k2: Given) -> Tensor:
    """Angle distance S = 1 − ⟨K₁, K₂⟩_F / (‖K₁‖_F ‖K₂‖_F) of Fort et al. (2020), blind to scale.

    It is evaluated as half the squared distance of the normalized kernels, which is the same number without
    the cancellation between kernels that are close.

    Args:
        k1: kernels `(..., n1, n2)`.
        k2: kernels `(..., n1, n2)`; leading axes broadcast.

    Returns:
        `(...)`, between 0 and 1 for kernels with a positive inner product; NaN where one is zero.

    Raises:
        ValueError: if these are no kernels of the same samples.
    """
    k1, k2 = _pair(k1, k2, "k1", "k2")
    return 0.5 * _norm(_normalized(k1) - _normalized(k2)) ** 2


def kernel_velocity(k_t: Given, k_later: Given, elapsed: float) -> Tensor:
    """Velocity S(K_t, K_{t+Δ}) / Δ of Fort et al. (2020), with S the `kernel_distance`.

    Args:
        k_t: kernels `(..., n1, n2)` at time t.
        k_later: kernels at t + Δ.
        elapsed: Δ, in epochs or whatever time is counted in.

    Returns:
        `(...)`.

    Raises:
        ValueError: if no time has elapsed, or an endless one, or these are no kernels of the same samples.
    """
    if not 0 < real_number(elapsed, "the elapsed time") < math.inf:
        raise ValueError(f"a velocity needs a positive elapsed time, got {elapsed}")
    return kernel_distance(k_t, k_later) / elapsed


def target_alignment(k: Given, y: Given) -> Tensor:
    r"""Kernel-target alignment Σ_c y_cᵀ K y_c / (‖y‖² Tr K) (Atanasov, Bordelon & Pehlevan 2022).

    Args:
        k: symmetric kernels `(..., n, n)`.
        y: targets `(n,)` or `(..., n, C)`, floating-point numbers; leading axes broadcast with those of `k`.

    Returns:
        `(...)`: 1 if K ∝ y yᵀ, 1/n for the identity; NaN where the kernel or all targets are zero.

    Raises:
        ValueError: if the kernels are not symmetric, or targets are classes, not finite, or not of the n samples.
    """
    k, y = _symmetric(k, "k"), real_tensor(y, "y")
    if not y.is_floating_point():
        raise ValueError(
            f"y is {y.dtype}: classes have no order and no distance. Give targets, one column per class (one-hot) or "
            "±1; if y holds numbers, convert them to floating-point ones"
        )
    if y.dim() == 0 or y.shape[-2 if y.dim() > 1 else -1] != k.shape[-1]:
        raise ValueError(
            f"y has shape {tuple(y.shape)}, the kernel {tuple(k.shape)}: give (n = {k.shape[-1]},) or (..., n, C)"
        )
    if not torch.isfinite(y).all():
        raise ValueError("y has NaN or infinite entries: drop those samples")
    y = y.to(k)
    y = y[:, None] if y.dim() == 1 else y
    _check_leading(k, y, "k", "y")
    return (y * (k @ y)).sum((-2, -1)) / ((y**2).sum((-2, -1)) * _trace(k))


def spectrum(k: Given) -> Tensor:
    """Descending eigenvalues of kernels.

    Args:
        k: symmetric kernels `(..., n, n)`.

    Returns:
        `(..., n)`; NaN for a kernel that is not finite.

    Raises:
        ValueError: if a kernel is not symmetric.
    """
    k = _symmetric(k, "k")
    finite = torch.isfinite(k).all(-1).all(-1)
    # A zero matrix takes the place of a kernel that eigvalsh would raise on.
    eigenvalues = torch.linalg.eigvalsh(torch.where(finite[..., None, None], k, 0.0)).flip(-1)
    return torch.where(finite[..., None], eigenvalues, torch.nan)


def effective_rank(k: Given) -> Tensor:
    r"""Effective rank exp(−Σ_i p_i log p_i), p_i = λ_i / Tr K (Roy & Vetterli 2007).

    Args:
        k: positive semidefinite kernels `(..., n, n)`; eigenvalues below 0 are rounding and count as 0.

    Returns:
        `(...)`, between 1 (K of rank one) and n (K ∝ identity); NaN for the zero kernel.

    Raises:
        ValueError: if a kernel is not symmetric, or has a negative eigenvalue that is no rounding.
    """
    eigenvalues = spectrum(k)
    rounding = torch.finfo(eigenvalues.dtype).eps ** 0.5 * eigenvalues.abs().amax(-1)
    if bool((eigenvalues[..., -1] < -rounding).any()):
        raise ValueError(
            f"k has an eigenvalue of {float(eigenvalues[..., -1].nan_to_num(0.0).min()):.3g} below 0: it is no kernel, "
            "and its effective rank is not defined"
        )
    eigenvalues = eigenvalues.clamp(min=0.0)
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


def class_block_ratios(k: Given, labels: Given | None) -> ClassBlockRatios:
    """Block structure as in Seleznova & Kutyniok (2022), figure 4.

    The within-class mean takes whole blocks, with their diagonal.

    Args:
        k: symmetric kernels `(..., n, n)`.
        labels: class of each sample, `(n,)`.

    Returns:
        Both ratios; `between` is NaN if there is one class only.

    Raises:
        ValueError: if a kernel is not symmetric, there is not one label per sample, or labels are no classes but None
            or real numbers.
    """
    k = _symmetric(k, "k")
    labels = None if labels is None else real_tensor(labels, "labels")
    if labels is None or not torch.equal(labels.double(), labels.double().round()):
        raise ValueError(
            "class-block ratios need the class of each sample, and regression data have none: leave them out there, "
            "kernel_drift and target_alignment need no classes"
        )
    labels = labels.to(k.device)
    if labels.shape != k.shape[-1:]:
        raise ValueError(f"{tuple(labels.shape)} labels for a kernel of {tuple(k.shape[-2:])}: give one a sample")
    same = labels[:, None] == labels[None, :]
    diagonal = k.diagonal(dim1=-2, dim2=-1).mean(-1)
    return ClassBlockRatios(k[..., same].mean(-1) / diagonal, k[..., ~same].mean(-1) / diagonal)


def _kernels(k: Given, name: str) -> Tensor:
    k = real_tensor(k, name)
    if k.dim() < 2 or 0 in k.shape[-2:]:
        raise ValueError(f"{name} has shape {tuple(k.shape)}: kernels are (..., n1, n2), of at least one sample")
    if k.dtype in (torch.float16, torch.bfloat16):
        return k.float()
    return k if k.is_floating_point() else k.double()


def _pair(k1: Given, k2: Given, name1: str, name2: str) -> tuple[Tensor, Tensor]:
    k1, k2 = _kernels(k1, name1), _kernels(k2, name2)
    if k1.shape[-2:] != k2.shape[-2:]:
        raise ValueError(
            f"{name1} has shape {tuple(k1.shape)}, {name2} {tuple(k2.shape)}: kernels are compared on the same "
            "samples, so their last two axes must be equal"
        )
    _check_leading(k1, k2, name1, name2)
    return k1, k2


def _check_leading(first: Tensor, second: Tensor, name1: str, name2: str) -> None:
    if first.device != second.device:
        raise ValueError(f"{name1} is on {first.device}, {name2} on {second.device}: move one to the other")
    try:
        torch.broadcast_shapes(first.shape[:-2], second.shape[:-2])
    except RuntimeError:
        raise ValueError(
            f"{name1} has shape {tuple(first.shape)}, {name2} {tuple(second.shape)}: their leading axes do not match"
        ) from None


def _symmetric(k: Given, name: str) -> Tensor:
    k = _kernels(k, name)
    if k.shape[-1] != k.shape[-2]:
        raise ValueError(f"{name} has shape {tuple(k.shape)}: a kernel of one set of samples is (..., n, n)")
    # A kernel that is not finite has no gap, and is NaN in what is measured.
    gap = (k - k.mT).abs().amax((-2, -1))
    if bool((gap > torch.finfo(k.dtype).eps ** 0.5 * k.abs().amax((-2, -1))).any()):
        raise ValueError(
            f"{name} is not symmetric (a pair of entries differs by {float(gap.nan_to_num(0.0).max()):.3g}): give the "
            "kernel of one set of samples"
        )
    return k


def _norm(k: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.matrix_norm(k)
    lost = ~(torch.isfinite(norm) & (norm > 0))
    if lost.any():  # squares overflow long before entries do
        largest = k.abs().amax((-2, -1))
        unit = torch.where(torch.isfinite(largest) & (largest > 0), largest, 1.0)
        norm = torch.where(lost, unit * torch.linalg.matrix_norm(k / unit[..., None, None]), norm)
    return norm


def _normalized(k: Tensor) -> Tensor:
    return k / _norm(k)[..., None, None]


def _trace(k: Tensor) -> Tensor:
    return k.diagonal(dim1=-2, dim2=-1).sum(-1)
