"""The linear system of a kernel regression: checked, in float64, divided by its mean diagonal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Axes = Sequence[tuple[str, int | None]]
"""Name and size of each axis; None accepts any size."""


def checked_matrix(name: str, value: Tensor, expected: Axes, device: torch.device) -> Tensor:
    """Float64 copy of an argument on `device`, after its shape has been checked.

    Args:
        name: the argument's name, for the message.
        value: tensor or array.
        expected: its axes, in order.
        device: where it goes.

    Returns:
        The tensor.

    Raises:
        ValueError: another number of axes, or another size.
    """
    tensor = torch.as_tensor(value, device=device).to(torch.float64)
    fits = tensor.dim() == len(expected) and all(
        size is None or size == found for (_, size), found in zip(expected, tensor.shape, strict=True)
    )
    if not fits:
        axes = ", ".join(axis if size is None else f"{axis} = {size}" for axis, size in expected)
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected ({axes})")
    return tensor


def checked_targets(name: str, value: Tensor, expected: Axes, device: torch.device) -> Tensor:
    """Like `checked_matrix`, for targets, which must be finite too.

    Args:
        name: the argument's name, for the message.
        value: tensor or array.
        expected: its axes, in order.
        device: where it goes.

    Returns:
        The tensor.

    Raises:
        ValueError: wrong shape, or entries that are NaN or infinite.
    """
    targets = checked_matrix(name, value, expected, device)
    n_bad = int((~torch.isfinite(targets)).sum())
    if n_bad:
        raise ValueError(
            f"{name}, of shape {tuple(targets.shape)}, has {n_bad} entries that are NaN or infinite; targets "
            "must be finite: repair or drop those samples"
        )
    return targets


def checked_sizes(sizes: Sequence[int], n_train: int) -> tuple[int, ...]:
    """The nested sample counts as integers.

    Args:
        sizes: strictly increasing, from 1 to `n_train`.
        n_train: samples of the Gram matrix.

    Returns:
        The sizes.

    Raises:
        ValueError: none, not increasing, or out of range.
    """
    checked = tuple(int(size) for size in sizes)
    increasing = all(left < right for left, right in pairwise(checked))
    if not checked or not increasing or checked[0] < 1 or checked[-1] > n_train:
        raise ValueError(
            f"sizes is {list(checked)}, expected strictly increasing sample counts between 1 and the "
            f"{n_train} rows of k_train_train"
        )
    return checked


@dataclass(frozen=True)
class KernelSystem:
    """Gram matrix, evaluation rows and targets; kernels are divided by the mean diagonal `scale`.

    Attributes:
        gram: K/m of the largest size, `(n, n)` float64; solvers read its lower triangle.
        evaluation: K(x, X)/m of the points predicted at, `(n_eval, n)` float64.
        targets: what is regressed, `(n, n_outputs)` float64.
        sizes: nested sample counts, the last is n.
        scale: mean diagonal m of the largest Gram matrix.
        solvable: whether kernel and scale are finite and the scale is positive.
        dtype: precision the Gram matrix came in.
    """

    gram: Tensor
    evaluation: Tensor
    targets: Tensor
    sizes: tuple[int, ...]
    scale: float
    solvable: bool
    dtype: torch.dtype


def kernel_system(
    k_train_train: Tensor, y_train: Tensor, k_eval_train: Tensor, *, sizes: Sequence[int]
) -> KernelSystem:
    """Checks and normalizes the inputs of a nested solve.

    Args:
        k_train_train: Gram matrix, `(n_train, n_train)`.
        y_train: targets, `(n_train, n_outputs)`.
        k_eval_train: kernel of the evaluation points with the training points, `(n_eval, n_train)`.
        sizes: nested sample counts.

    Returns:
        The system of the largest size.

    Raises:
        ValueError: a shape does not fit, or `sizes` does not.
    """
    k_train_train = torch.as_tensor(k_train_train)
    device, dtype = k_train_train.device, k_train_train.dtype
    n_train = k_train_train.shape[0] if k_train_train.dim() == 2 else None
    gram = checked_matrix("k_train_train", k_train_train, (("n_train", n_train), ("n_train", n_train)), device)
    targets = checked_matrix("y_train", y_train, (("n_train", n_train), ("n_outputs", None)), device)
    rows = checked_matrix("k_eval_train", k_eval_train, (("n_eval", None), ("n_train", n_train)), device)
    sizes = checked_sizes(sizes, n_train)
    largest = sizes[-1]
    gram, rows, targets = gram[:largest, :largest], rows[:, :largest], targets[:largest]
    scale = float(gram.diagonal().mean())
    # The extremes are NaN or infinite if any entry is, without an array of flags as large as the kernel.
    finite = all(math.isfinite(float(extreme)) for extreme in gram.aminmax())
    solvable = finite and math.isfinite(scale) and scale > 0
    if solvable:
        gram, rows = gram / scale, rows / scale
    return KernelSystem(gram, rows, targets, sizes, scale, solvable, dtype)
