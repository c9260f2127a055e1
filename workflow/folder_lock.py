"""One launcher a folder: a lock that is released with the process that holds it, however that ends."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger("ntk-atlas")
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
"""What file systems of clusters answer that have no locks."""


class FolderLockError(Exception):
    """The lock cannot be had: mostly since another process on this machine holds it. The message is for the user."""


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Holds the lock of a folder.

    Args:
        folder: where results are computed.

    Yields:
        The lock's file, in which a run leaves the name of its machine.

    Raises:
        FolderLockError: if another process on this machine holds it, or it is another user's file.
    """
    path = folder / ".snakemake" / "ntk-atlas.lock"
    lock = FileLock(path, timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise FolderLockError(f"another run is under way in {folder}: wait for it, or end it") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise FolderLockError(f"cannot open {path} ({error.strerror}): make it writable for you") from None
        path.touch()
        log.warning("the file system cannot lock a file (%s): start only one run in %s", error.strerror, folder)
    try:
        yield path
    finally:
        lock.release()
