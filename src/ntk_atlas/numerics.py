"""Precision and threads: set for a block of code, restored after it, never left to chance."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import torch


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


def in_turn_or_at_once(task: Callable[..., None], *arguments: Iterable, workers: int) -> None:
    """Runs a task for each set of arguments, several at a time if asked.

    Operations on small tensors gain little from the threads of torch; whole tasks beside each other gain all of them.
    A task computes on one thread then, and gives the same numbers whatever the number of workers.

    Args:
        task: what to run; it changes the results in place.
        *arguments: one iterable an argument of the task, as for `map`.
        workers: tasks at a time; 1 runs them in turn, on the threads that are set.
    """
    if workers <= 1:
        for values in zip(*arguments, strict=True):
            task(*values)
        return
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in pool.map(task, *arguments):
                pass
    finally:
        torch.set_num_threads(threads)


def compute_device() -> torch.device:
    """The accelerator that has double precision, if there is one; else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")
