"""The linear system of a kernel regression: checked, its ridges in units of its mean diagonal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from ntk_atlas.regression.cholesky import mean_diagonal

Axes = Sequence[tuple[str, int | None]]
"""Name and size of each axis; None accepts any size."""


def checked_matrix(
    name: str,
    value: Tensor,
    expected: Axes,
    device: torch.device,
    dtype: torch.dtype | None = torch.float64,
) -> Tensor:
    """An argument in `dtype` on `device`, after its shape has been checked; a copy only if one is needed.

    Args:
        name: the argument's name, for the message.
        value: tensor or array.
        expected: its axes, in order.
        device: where it goes.
        dtype: precision; None keeps that of `value`.

    Returns:
        The tensor.

    Raises:
        ValueError: another number of axes, or another size.
    """
    tensor = torch.as_tensor(value, device=device, dtype=dtype)
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


def checked_working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns `dtype`.

    Args:
        dtype: precision of a factorization.

    Returns:
        The same.

    Raises:
        ValueError: neither float64 nor float32.
    """
    if dtype not in (torch.float64, torch.float32):
        raise ValueError(f"dtype is {dtype}, but systems are solved in torch.float64 or torch.float32")
    return dtype


def sample_major(kernel: Tensor) -> Tensor:
    """The full kernel `(n1, n2, n_outputs, n_outputs)` as a matrix whose index runs over samples, then outputs.

    Args:
        kernel: that, or a matrix `(n1, n2)`, which is returned as it is.

    Returns:
        `(n1 · n_outputs, n2 · n_outputs)`.
    """
    if kernel.dim() == 2:
        return kernel
    n1, n2, n_outputs, _ = kernel.shape
    return kernel.transpose(1, 2).reshape(n1 * n_outputs, n2 * n_outputs)


def checked_kernel(k_train_train: Tensor) -> tuple[Tensor, Axes]:
    """The Gram matrix with the axes that its arguments must share.

    Args:
        k_train_train: `(n_train, n_train)`, or the full kernel `(n_train, n_train, n_outputs, n_outputs)`.

    Returns:
        The tensor, in its own precision unless that is not a floating one, and its output axes: none, or two.

    Raises:
        ValueError: another shape.
    """
    gram = torch.as_tensor(k_train_train)
    gram = gram if gram.is_floating_point() else gram.to(torch.float64)
    n_train = gram.shape[0] if gram.dim() in (2, 4) else None
    outputs = (("n_outputs", gram.shape[-1]),) * 2 if gram.dim() == 4 else ()
    expected = (("n_train", n_train), ("n_train", n_train), *outputs)
    return checked_matrix("k_train_train", gram, expected, gram.device, dtype=None), outputs


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
    """Gram matrix, evaluation rows and targets of the largest size; a full kernel is a matrix here.

    Attributes:
        gram: K of the largest size as it was given, `(n, n)`; solvers read its lower triangle.
        evaluation: K(x, X) of the points predicted at, `(n_eval, n)` in the precision of the solve.
        targets: what is regressed, `(n, n_outputs)` likewise.
        sizes: nested sizes of the matrix, the last is n: sample counts, times outputs for a full kernel.
        scale: mean diagonal of `gram`, the unit of ridge and jitter; NaN where it is not finite and positive.
        n_mixed: outputs that a full kernel mixes, None for a kernel that all outputs share.
    """

    gram: Tensor
    evaluation: Tensor
    targets: Tensor
    sizes: tuple[int, ...]
    scale: float
    n_mixed: int | None = None

    @property
    def solvable(self) -> bool:
        """Whether the kernel is finite and its mean diagonal positive."""
        return not math.isnan(self.scale)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the solve."""
        return self.targets.dtype

    def of_columns(self, columns: slice) -> "KernelSystem":
        """The system of some of the targets."""
        return replace(self, targets=self.targets[:, columns])


def kernel_system(
    k_train_train: Tensor,
    y_train: Tensor,
    k_eval_train: Tensor,
    *,
    sizes: Sequence[int],
    dtype: torch.dtype = torch.float64,
) -> KernelSystem:
    """Checks the inputs of a nested solve.

    Args:
        k_train_train: Gram matrix, `(n_train, n_train)`, or the full kernel `(n_train, n_train, n_outputs,
            n_outputs)`.
        y_train: targets, `(n_train, n_outputs)`.
        k_eval_train: kernel of the evaluation points with the training points, `(n_eval, n_train)` or
            `(n_eval, n_train, n_outputs, n_outputs)`.
        sizes: nested sample counts.
        dtype: precision of the solve.

    Returns:
        The system of the largest size; the Gram matrix is not copied unless it is a full kernel.

    Raises:
        ValueError: a shape does not fit, `sizes` does not, or the precision.
    """
    dtype = checked_working_dtype(dtype)
    gram, outputs = checked_kernel(k_train_train)
    device, n_train = gram.device, gram.shape[0]
    n_outputs = outputs[0][1] if outputs else None
    targets = checked_matrix("y_train", y_train, (("n_train", n_train), ("n_outputs", n_outputs)), device, dtype)
    rows = checked_matrix(
        "k_eval_train", k_eval_train, (("n_eval", None), ("n_train", n_train), *outputs), device, dtype
    )
    sizes = checked_sizes(sizes, n_train)
    largest = sizes[-1]
    gram, rows, targets = gram[:largest, :largest], rows[:, :largest], targets[:largest]
    if outputs:
        gram, rows, targets = sample_major(gram), sample_major(rows), targets.reshape(-1, 1)
        sizes = tuple(size * n_outputs for size in sizes)
    return KernelSystem(gram, rows, targets, sizes, mean_diagonal(gram), n_outputs)
