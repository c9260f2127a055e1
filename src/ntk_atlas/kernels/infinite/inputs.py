"""Checks of what infinite-width kernels are asked for."""

import math
import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from ntk_atlas.kernels.errors import KernelInputError


def checked_depths(depths: Sequence[int]) -> tuple[int, ...]:
    """Returns numbers of hidden layers.

    Raises:
        KernelInputError: if there are none, or one is negative.
    """
    depths = tuple(operator.index(depth) for depth in depths)
    if not depths or min(depths) < 0:
        raise KernelInputError(f"depths are numbers of hidden layers, at least one and none below 0; got {depths}")
    return depths


def checked_scale(init_scale: float) -> float:
    """Returns σ_w².

    Raises:
        KernelInputError: if it is not positive and finite.
    """
    if not 0.0 < init_scale < math.inf:
        raise KernelInputError(f"init_scale is σ_w², positive and finite; got {init_scale}")
    return init_scale


def checked_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the precision.

    Raises:
        KernelInputError: if it is not one that kernels are computed in.
    """
    if dtype not in (torch.float64, torch.float32):
        raise KernelInputError(f"dtype is torch.float64 or torch.float32, got {dtype}")
    return dtype


def checked_inputs(x: Tensor, name: str, dtype: torch.dtype, *, sample_dim: int = 1) -> Tensor:
    """Returns inputs flattened to `(n, n_inputs)` (or `sample_dim` dimensions a sample, kept), in a precision.

    Raises:
        KernelInputError: if they are empty, complex or not finite, or have other dimensions than asked for.
    """
    if not isinstance(x, Tensor):
        raise KernelInputError(f"{name} is a {type(x).__name__}: give a torch tensor of shape (n, *shape)")
    if x.dim() == 0 or x.numel() == 0:
        raise KernelInputError(f"{name} is empty (shape {tuple(x.shape)}): a kernel needs at least one sample")
    if x.is_complex():
        raise KernelInputError(f"{name} is complex ({x.dtype}): kernels are of real inputs")
    if sample_dim > 1 and x.dim() != sample_dim + 1:
        raise KernelInputError(f"{name} has shape {tuple(x.shape)}: images are (n, channels, height, width)")
    x = x.detach().to(dtype)
    # The sum is quick, and finite unless an entry is not (or it overflows).
    if not (torch.isfinite(x.sum()) or torch.isfinite(x).all()):
        raise KernelInputError(f"{name} has a NaN or infinite entry: clean the inputs")
    return x if sample_dim > 1 else x.reshape(len(x), -1)
