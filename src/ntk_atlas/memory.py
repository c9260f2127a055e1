"""How much memory kernels may take: set for a block of code, or half of what is free."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import psutil
import torch

_limit: ContextVar[int | None] = ContextVar("memory_limit", default=None)
# Just below the size (32 MiB) up to which glibc follows.
_LARGEST_KEPT = 28 * 2**20


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


def keep_freed_memory() -> None:
    """Has glibc keep up to 64 MiB a thread of what is freed, where it is the C library; elsewhere it does nothing.

    By default it gives blocks back that are asked for again an instant later, and each page of them costs a fault:
    a tenth of the time of an empirical NTK. Freeing a large block raises the size from which it does so; the block is
    never written to and takes no memory.
    """
    if sys.platform == "linux":
        torch.empty(_LARGEST_KEPT, dtype=torch.uint8)


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error says that memory ran out; on CPUs torch raises a plain RuntimeError."""
    named = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return named or (isinstance(error, RuntimeError) and "allocate memory" in str(error))
