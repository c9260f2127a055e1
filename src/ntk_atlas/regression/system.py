"""The linear system of a kernel regression, its ridges in units of its mean diagonal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ntk_atlas.regression.arguments import (
    checked_block,
    checked_kernel,
    checked_sizes,
    checked_targets,
    checked_working_dtype,
    precision_of,
    sample_major,
)
from ntk_atlas.regression.cholesky import mean_diagonal


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
        kernel_dtype: precision of the entries of the kernel.
    """

    gram: Tensor
    evaluation: Tensor
    targets: Tensor
    sizes: tuple[int, ...]
    scale: float
    n_mixed: int | None = None
    kernel_dtype: torch.dtype = torch.float64

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


def checked_system(
    k_train_train: Tensor,
    y_train: Tensor,
    k_eval_train: Tensor,
    *,
    sizes: Sequence[int],
    dtype: torch.dtype = torch.float64,
    kernel_dtype: torch.dtype | None = None,
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
        kernel_dtype: precision in which the kernel was computed, None for that of `k_train_train`.

    Returns:
        The system of the largest size; the Gram matrix is not copied unless it is a full kernel.

    Raises:
        ValueError: a shape does not fit, a target is not finite, the kernel is not symmetric, `sizes` does not fit,
            or the precision.
    """
    dtype = checked_working_dtype(dtype)
    gram, outputs = checked_kernel(k_train_train, kernel_dtype=kernel_dtype)
    n_train, n_outputs = gram.shape[0], outputs[0][1] if outputs else None
    targets = checked_targets("y_train", y_train, (("n_train", n_train), ("n_outputs", n_outputs)), gram.device)
    axes = (("n_eval", None), ("n_train", n_train), *outputs)
    rows = checked_block("k_eval_train", k_eval_train, axes, gram.device, dtype)
    return kernel_system(gram, targets, rows, sizes=sizes, dtype=dtype, kernel_dtype=kernel_dtype)


def kernel_system(
    gram: Tensor,
    targets: Tensor,
    rows: Tensor,
    *,
    sizes: Sequence[int],
    dtype: torch.dtype = torch.float64,
    kernel_dtype: torch.dtype | None = None,
) -> KernelSystem:
    """The system of arguments that have been checked; targets may be NaN here.

    Args:
        gram: as `k_train_train` of `checked_system`.
        targets: as `y_train`.
        rows: as `k_eval_train`.
        sizes: nested sample counts.
        dtype: precision of the solve.
        kernel_dtype: precision in which the kernel was computed, None for that of `gram`.

    Returns:
        The system of the largest size.

    Raises:
        ValueError: `sizes` does not fit.
    """
    kernel_dtype = precision_of(gram, kernel_dtype)
    sizes = checked_sizes(sizes, len(gram))
    largest, n_outputs = sizes[-1], gram.shape[-1] if gram.dim() == 4 else None
    rows, targets = rows.to(gram.device, dtype), targets.to(gram.device, dtype)
    gram, rows, targets = gram[:largest, :largest], rows[:, :largest], targets[:largest]
    if n_outputs is not None:
        gram, rows, targets = sample_major(gram), sample_major(rows), targets.reshape(-1, 1)
        sizes = tuple(size * n_outputs for size in sizes)
    return KernelSystem(gram, rows, targets, sizes, mean_diagonal(gram), n_outputs, kernel_dtype)
