"""What every solver, measure and path asks of its arguments: one message each, nothing broadcasts, no sample twice."""

import math
from collections.abc import Sequence
from itertools import chain, pairwise
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.numerics import Given, real_number, real_tensor

Axes = Sequence[tuple[str, int | None]]
"""Name and size of each axis; None accepts any size."""

PRECISIONS = (torch.float64, torch.float32)
"""Precisions in which kernels are computed and systems solved."""

PRODUCT = "`lambda v: k @ v` of a matrix k"
"""How a product with a kernel is written."""

_ASYMMETRY = 1e3
"""Roundings, in units of the largest diagonal entry, by which the two halves of a symmetric kernel may differ."""
_BLOCK = 256


def checked_matrix(
    name: str, value: Given, expected: Axes, device: torch.device, dtype: torch.dtype | None = torch.float64
) -> Tensor:
    """An argument in `dtype` on `device`, without a graph, after its shape has been checked; a copy only if needed.

    Args:
        name: the argument's name, for the message.
        value: tensor or array.
        expected: its axes, in order.
        device: where it goes.
        dtype: precision; None keeps that of `value`.

    Returns:
        The tensor.

    Raises:
        ValueError: no real numbers, another number of axes, or another size.
    """
    tensor = real_tensor(value, name)
    fits = tensor.dim() == len(expected) and all(
        size is None or size == found for (_, size), found in zip(expected, tensor.shape, strict=True)
    )
    if not fits:
        axes = ", ".join(axis if size is None else f"{axis} = {size}" for axis, size in expected)
        column = f": of one output give {name}[:, None]" if _lacks_outputs(tensor, expected) else ""
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected ({axes}){column}")
    return tensor.detach().to(device=device, dtype=tensor.dtype if dtype is None else dtype)


def _lacks_outputs(tensor: Tensor, expected: Axes) -> bool:
    return tensor.dim() == 1 and [axis for axis, _ in expected[1:]] == ["n_outputs"] and expected[0][1] in (
        None, len(tensor),
    )  # fmt: skip


def checked_targets(name: str, value: Given, expected: Axes, device: torch.device) -> Tensor:
    """Like `checked_matrix`, for targets in float64, which must be finite too and have an output.

    Args:
        name: the argument's name, for the message.
        value: tensor or array.
        expected: its axes, in order.
        device: where it goes.

    Returns:
        The tensor.

    Raises:
        ValueError: wrong shape, no output, or entries that are NaN or infinite.
    """
    targets = checked_matrix(name, value, expected, device)
    if targets.shape[-1] == 0:
        raise ValueError(f"{name} has shape {tuple(targets.shape)}: it is empty, give a column for each output")
    n_bad = int((~torch.isfinite(targets)).sum())
    if n_bad:
        raise ValueError(
            f"{name}, of shape {tuple(targets.shape)}, has {n_bad} entries that are NaN or infinite; targets "
            "must be finite: repair or drop those samples"
        )
    return targets


def checked_block(
    name: str, value: Given, expected: Axes, device: torch.device, dtype: torch.dtype | None = torch.float64
) -> Tensor:
    """Like `checked_matrix`, for kernels, which half precision does not hold.

    Args:
        name: the argument's name, for the message.
        value: tensor or array.
        expected: its axes, in order.
        device: where it goes.
        dtype: precision; None keeps that of `value`, float64 for integers.

    Returns:
        The tensor.

    Raises:
        ValueError: wrong shape, or half precision.
    """
    block = checked_matrix(name, value, expected, device, dtype=None)
    if block.is_floating_point() and block.dtype not in PRECISIONS:
        raise ValueError(
            f"{name} is a kernel in {block.dtype}, whose rounding ({torch.finfo(block.dtype).eps:.0e}) hides its small "
            "eigenvalues: compute it in torch.float32 or torch.float64"
        )
    if dtype is None:
        dtype = block.dtype if block.is_floating_point() else torch.float64
    return block.to(dtype)


def checked_kernel(
    k_train_train: Given, name: str = "k_train_train", *, kernel_dtype: torch.dtype | None = None
) -> tuple[Tensor, tuple[tuple[str, int], ...]]:
    """The Gram matrix with the axes that its arguments must share.

    Args:
        k_train_train: `(n_train, n_train)`, or the full kernel `(n_train, n_train, n_outputs, n_outputs)`.
        name: the argument's name, for the message.
        kernel_dtype: precision in which it was computed, None for its own.

    Returns:
        The tensor, in its own precision unless that is not a floating one, and its output axes: none, or two.

    Raises:
        ValueError: another shape, no samples, half precision, or entries that are not symmetric to the rounding of the
            precision in which it was computed.
    """
    given = real_tensor(k_train_train, name)
    axis = "n" if name.startswith("ntk") else "n_train"
    n_train = given.shape[0] if given.dim() in (2, 4) else None
    outputs = (("n_outputs", given.shape[-1]),) * 2 if given.dim() == 4 else ()
    gram = checked_block(name, given, ((axis, n_train), (axis, n_train), *outputs), given.device, dtype=None)
    if gram.numel() == 0:
        raise ValueError(f"{name} is empty (shape {tuple(gram.shape)}): a regression needs at least one sample")
    check_symmetric(name, sample_major(gram), precision_of(gram, kernel_dtype))
    return gram, outputs


def precision_of(kernel: Tensor, kernel_dtype: torch.dtype | None) -> torch.dtype:
    """The precision that the entries of a kernel have.

    A float64 kernel whose entries are float32 numbers, every one of them, was computed in float32 and cast since.

    Args:
        kernel: the kernel.
        kernel_dtype: precision in which it was computed, None for what its entries say.

    Returns:
        float64 or float32; a kernel held in float32 has no other.

    Raises:
        ValueError: that is no precision of kernels.
    """
    if kernel_dtype is not None and kernel_dtype not in PRECISIONS:
        raise ValueError(f"kernel_dtype is {kernel_dtype}, expected torch.float64 or torch.float32")
    if kernel.dtype == torch.float32 or kernel_dtype == torch.float32:
        return torch.float32
    if kernel_dtype is None and kernel.dtype == torch.float64 and len(kernel) > 1:
        # The first row says it of nearly every kernel.
        cast = all(bool((rows.float() == rows).all()) for rows in chain([kernel[0]], kernel.split(_BLOCK)))
        return torch.float32 if cast else torch.float64
    return torch.float64


def rounding_in(kernel: Tensor, precision: torch.dtype) -> float:
    """What rounding may make of an eigenvalue of 0, as a multiple of the largest diagonal entry.

    Args:
        kernel: `(n, n)`.
        precision: of its entries.

    Returns:
        n · eps, the worst case, in float64; √n · eps, the size of a random matrix of rounding errors, in float32, where
        the worst case would take small eigenvalues for rounding.
    """
    n = len(kernel)
    return (n if precision == torch.float64 else n**0.5) * torch.finfo(precision).eps


def check_symmetric(name: str, matrix: Tensor, precision: torch.dtype) -> None:
    """Refuses a matrix whose two halves differ by more than rounding; entries that are not finite are left alone.

    Args:
        name: the argument's name, for the message.
        matrix: `(n, n)`.
        precision: of its entries.

    Raises:
        ValueError: it is not symmetric.
    """
    rounding = torch.finfo(precision).eps
    limit = _ASYMMETRY * rounding * float(matrix.diagonal().abs().nan_to_num(nan=0.0, posinf=math.inf).max())
    n = len(matrix)
    for rows in (slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)):
        for columns in (slice(start, min(start + _BLOCK, n)) for start in range(0, rows.stop, _BLOCK)):
            apart = matrix[rows, columns] - matrix[columns, rows].mT
            low, high = (float(extreme) for extreme in apart.aminmax())
            if -limit <= low and high <= limit:
                continue
            # What is NaN or infinite has a status of its own.
            skewed = (apart.abs_() > limit) & (apart < math.inf)
            if bool(skewed.any()):
                i, j = (int(index[0]) for index in skewed.nonzero(as_tuple=True))
                i, j = i + rows.start, j + columns.start
                raise ValueError(
                    f"{name} is not symmetric: entry [{i}, {j}] is {float(matrix[i, j]):.6g}, entry [{j}, {i}] is "
                    f"{float(matrix[j, i]):.6g}, which is more than rounding (relative {rounding:.0e}) apart; give the "
                    f"whole kernel, ({name} + {name}.mT) / 2 where the difference is known to be noise, or "
                    "kernel_dtype=torch.float32 if it was computed in that"
                )


def check_symmetric_pair(k12: Tensor, k21: Tensor, name: str = "kernel") -> None:
    """Refuses a kernel function that is not symmetric.

    Args:
        k12: K(x1, x2), `(n1, n2)`.
        k21: K(x2, x1), `(n2, n1)`.
        name: what to call the function, for the message.

    Raises:
        ValueError: one is not the transpose of the other, to the rounding of their precision.
    """
    apart, size = (k12 - k21.mT).abs(), k12.abs().nan_to_num(nan=0.0, posinf=0.0)
    limit = _ASYMMETRY * torch.finfo(precision_of(k12, None)).eps * float(size.max())
    if bool(((apart > limit) & (apart < math.inf)).any()):
        raise ValueError(
            f"{name} is not symmetric: K(x1, x2) and the transpose of K(x2, x1) are up to "
            f"{float(apart.nan_to_num(0.0, 0.0).max()):.3g} apart, with entries up to {float(size.max()):.3g}"
        )


def sample_major(kernel: Tensor) -> Tensor:
    """The full kernel `(n1, n2, n_outputs, n_outputs)` as a matrix whose index runs over samples, then outputs.

    Args:
        kernel: that, or a matrix `(n1, n2)`, which is returned as it is.

    Returns:
        `(n1 · n_outputs, n2 · n_outputs)`.

    Raises:
        ValueError: another shape.
    """
    kernel = real_tensor(kernel, "kernel")
    if kernel.dim() == 2:
        return kernel
    if kernel.dim() != 4 or kernel.shape[2] != kernel.shape[3]:
        raise ValueError(f"kernel has shape {tuple(kernel.shape)}, expected (n1, n2) or (n1, n2, n_outputs, n_outputs)")
    n1, n2, n_outputs, _ = kernel.shape
    return kernel.transpose(1, 2).reshape(n1 * n_outputs, n2 * n_outputs)


def checked_working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns `dtype`.

    Args:
        dtype: precision of a factorization.

    Returns:
        The same.

    Raises:
        ValueError: neither float64 nor float32.
    """
    if dtype not in PRECISIONS:
        raise ValueError(f"dtype is {dtype}, but systems are solved in torch.float64 or torch.float32")
    return dtype


def checked_sizes(sizes: Sequence[int], n_train: int) -> tuple[int, ...]:
    """The nested sample counts as integers.

    Args:
        sizes: strictly increasing, from 1 to `n_train`.
        n_train: samples of the Gram matrix.

    Returns:
        The sizes.

    Raises:
        ValueError: none, not increasing, not whole, or out of range.
    """
    listed = isinstance(sizes, Sequence | np.ndarray | Tensor) and not isinstance(sizes, str | bytes)
    checked = tuple(sizes) if listed and getattr(sizes, "ndim", 1) == 1 else ()
    whole = all(isinstance(size, Real | Tensor) and size % 1 == 0 for size in checked)  # NaN and infinity are not
    increasing = whole and all(left < right for left, right in pairwise(checked))
    if not checked or not increasing or checked[0] < 1 or checked[-1] > n_train:
        raise ValueError(
            f"sizes is {list(sizes) if listed else sizes!r}, expected strictly increasing sample counts between 1 and "
            f"the {n_train} rows of k_train_train"
        )
    return tuple(int(size) for size in checked)


def check_function(name: str, value: object, of: str) -> None:
    """Refuses what cannot be called.

    Args:
        name: the argument's name, for the message.
        value: what was given.
        of: how one is written.

    Raises:
        ValueError: it is no function.
    """
    if not callable(value):
        raise ValueError(f"{name} is a {type(value).__name__}: give a function, as {of}")


def checked_count(name: str, value: int) -> int:
    """Returns a whole number that is not negative.

    Raises:
        ValueError: it is none.
    """
    number = checked_number(name, value)
    if number % 1:
        raise ValueError(f"{name} is {number}, expected a whole number ≥ 0")
    return int(number)


def checked_number(name: str, value: float, *, positive: bool = False) -> float:
    """Returns a finite number that is not negative.

    Args:
        name: the argument's name, for the message.
        value: the number.
        positive: whether 0 is refused too.

    Returns:
        The number.

    Raises:
        ValueError: it is no number, NaN, infinite, negative, or 0 where that is refused.
    """
    value = real_number(value, name)
    if not (0.0 <= value < math.inf) or (positive and value == 0.0):
        raise ValueError(f"{name} is {value}, expected a finite number {'> 0' if positive else '≥ 0'}")
    return value


def checked_ridge(diag_reg: float, jitter: float | None = None) -> float:
    """Returns the relative ridge, after it and the jitter have been checked.

    Raises:
        ValueError: one is NaN, infinite or negative.
    """
    if jitter is not None:
        checked_number("jitter", jitter)
    return checked_number("diag_reg", diag_reg)


class DuplicateSamplesError(ValueError):
    """Some samples are equal, so that their kernel is singular.

    Attributes:
        pairs: (first occurrence, copy) of every copy, in the order of the copies.
    """

    def __init__(self, message: str, pairs: tuple[tuple[int, int], ...]):
        super().__init__(message)
        self.pairs = pairs


def duplicate_pairs(x: Tensor) -> tuple[tuple[int, int], ...]:
    """Samples that are equal in every entry to an earlier one.

    Args:
        x: inputs `(n, *shape)`.

    Returns:
        (first occurrence, copy) of every copy; 0.0 equals −0.0, NaN equals itself.

    Raises:
        ValueError: they are no samples with an axis of their own.
    """
    rows = real_tensor(x, "x").detach().cpu()
    if rows.dim() < 2:
        raise ValueError(f"x has shape {tuple(rows.shape)}, expected (n, *shape): one number per sample is x[:, None]")
    rows = rows.flatten(1)
    bits = (rows + 0).contiguous().view(torch.uint8).reshape(len(rows), -1).numpy()
    first: dict[bytes, int] = {}
    pairs = ((first.setdefault(row.tobytes(), i), i) for i, row in enumerate(bits))
    return tuple(pair for pair in pairs if pair[0] != pair[1])


def check_distinct(x: Tensor, name: str = "x_train") -> None:
    """Refuses inputs with duplicated samples.

    Args:
        x: inputs `(n, *shape)`.
        name: the argument's name, for the message.

    Raises:
        DuplicateSamplesError: some samples are equal.
    """
    pairs = duplicate_pairs(x)
    if pairs:
        shown = ", ".join(f"{copy} = {first}" for first, copy in pairs[:5]) + (", ..." if len(pairs) > 5 else "")
        raise DuplicateSamplesError(
            f"{name} has {len(pairs)} of {len(x)} samples that repeat an earlier one (indices {shown}): a kernel is "
            "singular on equal samples; drop the copies, or regress with a ridge (diag_reg > 0)",
            pairs,
        )
