"""One launcher a folder: a lock that is released with the process that holds it, however that ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


class FolderInUseError(Exception):
    """Another process on this machine holds the lock; the message is for the user."""


@contextmanager
def locked(folder: Path) -> Iterator[TextIO]:
    """Holds the lock of a folder.

    Args:
        folder: where results are computed.

    Yields:
        The lock's file, in which a run leaves the name of its machine.

    Raises:
        FolderInUseError: if another process on this machine holds it.
    """
    path = folder / ".snakemake" / "ntk-atlas.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUseError(f"another run is under way in {folder}: wait for it, or end it") from None
        yield lock
