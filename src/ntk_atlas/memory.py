"""How much memory kernels may take: set for a block of code, or half of what is free."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import psutil
import torch

_limit: ContextVar[int | None] = ContextVar("memory_limit", default=None)
# Just below the size (32 MiB) up to which glibc follows, and the one that it starts with.
_LARGEST_KEPT = 28 * 2**20
_SMALLEST_MAPPED = 128 * 2**10
# Numbers of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


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
