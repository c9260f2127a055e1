"""One launcher a folder: a lock that is released with the process that holds it, however that ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def locked(folder: Path) -> Iterator[TextIO]:
    """Holds the lock of a folder.

    Args:
        folder: where results are computed.

    Yields:
        The lock's file, in which a run leaves the name of its machine.

    Raises:
        BlockingIOError: if another process on this machine holds it.
    """
    path = folder / ".snakemake" / "ntk-atlas.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
