"""One launcher a folder: a lock that is released with the process that holds it, however that ends."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

log = logging.getLogger("ntk-atlas")


class FolderLockError(Exception):
    """The lock cannot be had: mostly since another process on this machine holds it. The message is for the user."""


@contextmanager
def locked(folder: Path) -> Iterator[TextIO]:
    """Holds the lock of a folder.

    Args:
        folder: where results are computed.

    Yields:
        The lock's file, in which a run leaves the name of its machine.

    Raises:
        FolderLockError: if another process on this machine holds it, or it is another user's file.
    """
    path = folder / ".snakemake" / "ntk-atlas.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+")
    except OSError as error:
        raise FolderLockError(f"cannot open {path} ({error.strerror}): make it writable for you") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderLockError(f"another run is under way in {folder}: wait for it, or end it") from None
        except OSError as error:
            # Some file systems of clusters have no locks; Snakemake has one of its own.
            log.warning("the file system cannot lock a file (%s): start only one run in %s", error.strerror, folder)
        yield lock
