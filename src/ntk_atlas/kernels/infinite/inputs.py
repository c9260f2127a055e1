"""Checks of what infinite-width kernels are asked for."""

import math
import operator
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.tensors import Given, real_number, real_tensor

_LARGEST_SCALE = 1e150
"""Kernels have squares of σ_w²."""


def checked_depths(depths: Sequence[int]) -> tuple[int, ...]:
    """Returns numbers of hidden layers.

    Raises:
        KernelInputError: if there are none, or one is negative.
    """
    listed = isinstance(depths, Iterable) and not isinstance(depths, str | bytes)
    given = tuple(depths) if listed and getattr(depths, "ndim", 1) != 0 else ()
    try:
        checked = tuple(operator.index(depth) for depth in given)
    except TypeError:
        checked = ()
    if not checked or min(checked) < 0:
        raise KernelInputError(
            f"depths are numbers of hidden layers, at least one and none below 0; got {given if listed else depths!r}"
        )
    return checked


def checked_width(width: int | None) -> int | None:
    """Returns the number of hidden units.

    Raises:
        KernelInputError: if it is no whole number from 1 on.
    """
    if width is None:
        return None
    try:
        checked = operator.index(width)
    except TypeError:
        checked = 0
    if checked < 1:
        raise KernelInputError(f"width is a number of hidden units, from 1 on; got {width!r}")
    return checked


def checked_scale(init_scale: float, dtype: torch.dtype = torch.float64) -> float:
    """Returns σ_w².

    Raises:
        KernelInputError: if it is not positive and finite, or no number of the kernels' precision.
    """
    if not 0.0 < real_number(init_scale, "init_scale", KernelInputError) < math.inf:
        raise KernelInputError(f"init_scale is σ_w², positive and finite; got {init_scale!r}")
    limits = torch.finfo(dtype)
    if not limits.tiny <= init_scale <= min(limits.max / 16, _LARGEST_SCALE):
        raise KernelInputError(f"init_scale is {init_scale:g}, which {dtype} does not hold: take a number nearer to 1")
    return init_scale


def checked_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the precision.

    Raises:
        KernelInputError: if it is not one that kernels are computed in.
    """
    if dtype not in (torch.float64, torch.float32):
        raise KernelInputError(f"dtype is torch.float64 or torch.float32, got {dtype}")
    return dtype


def checked_inputs(x: Given, name: str, dtype: torch.dtype, *, sample_dim: int = 1) -> Tensor:
    """Returns inputs flattened to `(n, n_inputs)` (or `sample_dim` dimensions a sample, kept), in a precision.

    Raises:
        KernelInputError: if they are empty, complex or not finite, or have other dimensions than asked for.
    """
    x = real_tensor(x, name, KernelInputError)
    if x.dim() == 0 or x.numel() == 0:
        raise KernelInputError(f"{name} is empty (shape {tuple(x.shape)}): a kernel needs at least one sample")
    if sample_dim > 1 and x.dim() != sample_dim + 1:
        raise KernelInputError(f"{name} has shape {tuple(x.shape)}: images are (n, channels, height, width)")
    given, x = x, x.detach().to(dtype)
    # The sum is quick, and finite unless an entry is not (or it overflows).
    if not (torch.isfinite(x.sum()) or torch.isfinite(x).all()):
        if torch.isfinite(given).all():
            raise KernelInputError(
                f"{name} overflows {dtype}: its largest entry is {float(given.abs().max()):.3g}; scale the inputs, or "
                "take dtype=torch.float64"
            )
        raise KernelInputError(f"{name} has a NaN or infinite entry: clean the inputs")
    return x if sample_dim > 1 else x.reshape(len(x), -1)
