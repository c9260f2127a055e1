"""What is taken as a tensor, and precision, threads and memory: set for a block of code and restored after it.

Torch tensors and NumPy arrays are taken, and one message says what is not.
"""

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import Context, ContextVar, copy_context
from numbers import Real
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Result = TypeVar("Result")

_fast_path_lock = Lock()
_blocks_without_fast_path = 0
_fast_path_before = True
_limit: ContextVar[int | None] = ContextVar("memory_limit", default=None)
# Just below the size (32 MiB) up to which glibc follows, and the one that it starts with.
_LARGEST_KEPT = 28 * 2**20
_SMALLEST_MAPPED = 128 * 2**10
# Numbers of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


@contextmanager
def precise_math(*, threads: int | None = None) -> Iterator[None]:
    """Full-precision matrix products (TF32, bfloat16 and autocast off) and a fixed number of threads inside the block.

    Args:
        threads: threads of torch's CPU kernels; None leaves them as they are.

    Yields:
        Nothing; the former settings come back at the end of the block.
    """
    precision, former_threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    cudnn_tf32 = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with ExitStack() as stack:
            for device in ("cpu", "cuda"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = cudnn_tf32
        torch.set_num_threads(former_threads)


@contextmanager
def kept_settings() -> Iterator[None]:
    """After the block torch records gradients and makes tensors as it did before it, whatever a user's code has set.

    Kept are the gradient mode, the default dtype and device, and whether algorithms must be deterministic.

    Yields:
        Nothing.
    """
    grad, dtype, device = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        torch.set_grad_enabled(grad)
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


@contextmanager
def no_fast_path() -> Iterator[None]:
    """Inside the block, attention and transformer layers of torch do the same with and without gradients.

    Without gradients and in evaluation mode torch.nn takes another path, which gives padded positions other outputs.
    The whole process has one switch: the last of several threads to leave a block sets it back.

    Yields:
        Nothing.
    """
    global _blocks_without_fast_path, _fast_path_before
    with _fast_path_lock:
        if _blocks_without_fast_path == 0:
            _fast_path_before = torch.backends.mha.get_fastpath_enabled()
            torch.backends.mha.set_fastpath_enabled(False)
        _blocks_without_fast_path += 1
    try:
        yield
    finally:
        with _fast_path_lock:
            _blocks_without_fast_path -= 1
            if _blocks_without_fast_path == 0:
                torch.backends.mha.set_fastpath_enabled(_fast_path_before)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention as separate products: its fused forms have no rules for tangents, nor for batches of gradients."""
    with no_fast_path(), sdpa_kernel(SDPBackend.MATH):
        yield


def in_turn_or_at_once(task: Callable[..., Result], *arguments: Iterable[Any], workers: int) -> list[Result]:
    """Runs a task for each set of arguments, several at a time if asked.

    Operations on small tensors gain little from the threads of torch; whole tasks beside each other gain all of them.
    A task computes on one thread then, and gives the same numbers whatever the number of workers. Whether gradients
    are recorded, and variables of the caller's context, are as they are for the caller.

    Args:
        task: what to run.
        *arguments: one iterable an argument of the task, of equal lengths.
        workers: tasks at a time; 1 runs them in turn, on the threads that are set.

    Returns:
        What the tasks return, in order.
    """
    calls = list(zip(*arguments, strict=True))
    if workers <= 1:
        return [task(*values) for values in calls]
    threads, inference, grad = torch.get_num_threads(), torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def as_the_caller(context: Context, values: tuple[Any, ...]) -> Result:
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):
            return context.run(task, *values)

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(as_the_caller, [copy_context() for _ in calls], calls))
    finally:
        torch.set_num_threads(threads)


def compute_device() -> torch.device:
    """The accelerator that has double precision, if there is one; else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")


@contextmanager
def memory_limited(limit: int) -> Iterator[None]:
    """Makes `limit` the default of every `memory_limit` inside the block.

    Args:
        limit: bytes.

    Yields:
        Nothing; the former default comes back at the end of the block.
    """
    token = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(token)


def default_memory_limit(device: torch.device) -> int:
    """Returns the limit that `memory_limited` set, else half of the memory that is free on `device`, in bytes."""
    limit = _limit.get()
    if limit is not None:
        return limit
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    return psutil.virtual_memory().available // 2


def release_freed_memory() -> None:
    """Gives freed memory back to the system, where the C library can be asked to (glibc keeps tens of MiB)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


@contextmanager
def freed_memory(*, kept: bool) -> Iterator[None]:
    """Decides whether the C library keeps what is freed in the block, where it is glibc; elsewhere it does nothing.

    By default glibc gives blocks back that are asked for again an instant later, and each page of them costs a fault:
    a tenth of the time of an empirical NTK. Kept, up to 64 MiB a thread stay, in pieces that fit what comes next or
    do not: how much is chance, and too much beside a memory limit that binds.

    Args:
        kept: keep blocks of up to 28 MiB, and go on so after the block; else give each of more than 128 KiB back at
            once, and keep them again after the block.

    Yields:
        Nothing.
    """
    _set_largest_kept(_LARGEST_KEPT if kept else _SMALLEST_MAPPED)
    try:
        yield
    finally:
        _set_largest_kept(_LARGEST_KEPT)


def _set_largest_kept(size: int) -> None:
    option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if option is not None:
        option(_M_MMAP_THRESHOLD, size)
        option(_M_TRIM_THRESHOLD, 2 * size)


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error says that memory ran out; on CPUs torch raises a plain RuntimeError."""
    named = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return named or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


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
