"""Precision and threads: set for a block of code, restored after it, never left to chance."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import Context, copy_context
from threading import Lock
from typing import Any, TypeVar

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

Result = TypeVar("Result")

_fast_path_lock = Lock()
_blocks_without_fast_path = 0
_fast_path_before = True


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
