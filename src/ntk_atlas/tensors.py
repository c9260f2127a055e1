"""What a caller gives as a tensor: torch tensors and NumPy arrays are taken, and one message says what is not."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NUMBER = Real | np.bool
Given = Tensor | np.ndarray | Sequence[Any]
"""A torch tensor, a NumPy array, or numbers in lists."""


def real_tensor(value: Given, name: str, error: type[ValueError] = ValueError) -> Tensor:
    """A tensor of real numbers, on the device and in the precision of what was given.

    Args:
        value: a torch tensor, returned as it is; a NumPy array or numbers in lists, which become a tensor on the CPU.
        name: the argument's name, for the message.
        error: what to raise.

    Returns:
        The tensor.

    Raises:
        ValueError: of type `error`, if the value is no array of numbers, is complex or sparse, or has a precision that
            torch lacks.
    """
    if isinstance(value, Tensor):
        tensor = value
    else:
        array = _as_array(value, name, error)
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:
            raise error(
                f"{name} has dtype {array.dtype}, which torch lacks: give {name}.astype(numpy.float64), whose digits "
                "are all that is computed with"
            )
        if array.dtype.kind not in "biufc":
            odd = (f": {v!r}" for v in array.flat if array.dtype == object and not isinstance(v, _NUMBER))
            raise error(
                f"{name} has dtype {array.dtype}: give numbers, as a torch tensor or a NumPy array{next(odd, '')[:60]}"
            )
        # A copy only where torch has none of that layout: another byte order, negative strides, read-only memory.
        array = np.require(array, array.dtype.newbyteorder("="), ["C", "W"])
        tensor = torch.from_numpy(array)
    if tensor.is_complex():
        raise error(f"{name} is complex ({tensor.dtype}): give real numbers")
    if tensor.layout != torch.strided:
        raise error(f"{name} is sparse ({tensor.layout}): give {name}.to_dense()")
    return tensor


def real_number(value: float, name: str, error: type[ValueError] = ValueError) -> float:
    """A real number as it was given, of a tensor or an array without axes its entry.

    Args:
        value: the number.
        name: the argument's name, for the message.
        error: what to raise.

    Returns:
        The number.

    Raises:
        ValueError: of type `error`, if it is none.
    """
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, Real) or isinstance(value, bool | np.bool):
        raise error(f"{name} is {value!r}: give one number")
    return value


def _as_array(value: Given, name: str, error: type[ValueError]) -> np.ndarray:
    kind = type(value).__name__
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise error(f"{name} has {int(np.ma.getmaskarray(value).sum())} masked entries: drop or impute those samples")
    if isinstance(value, np.ndarray | np.generic | list | tuple | int | float) or hasattr(value, "__array__"):
        try:
            array = np.asarray([np.asarray(v) for v in value] if _holds_tensors(value) else value)
            # NumPy has no type for integers beyond 64 bits, and none for numbers in columns of several types.
            return array.astype(np.float64) if _are_numbers(array) else array
        except (ValueError, TypeError) as problem:
            raise error(f"{name} is a {kind} that is no array of numbers: {problem}") from None
    raise error(f"{name} is a {kind}: give a torch tensor or a NumPy array")


def _holds_tensors(value: Given) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(v, Tensor) for v in value)


def _are_numbers(array: np.ndarray) -> bool:
    return array.dtype == object and array.size > 0 and all(isinstance(v, _NUMBER) for v in array.flat)


def equal_tensors(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are of one kind and have equal entries, NaN being equal to NaN."""
    if (a.device, a.layout, a.shape, a.dtype) != (b.device, b.layout, b.shape, b.dtype):
        return False
    a, b = (t.detach() if t.layout == torch.strided else t.detach().to_dense() for t in (a, b))
    return bool(((a == b) | ((a != a) & (b != b))).all())
