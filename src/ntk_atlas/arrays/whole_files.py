"""Files that are there whole or not at all, and errors in reading that say nothing of the file."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to write, which takes the name `path` when the block ends without an error.

    It is new: whatever has its name, such as a link that somebody put there, is removed and not written through.

    Args:
        path: the file; its folder is made.

    Yields:
        Path of an empty file beside it, `.<name>.<process>.tmp`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_passing(error: BaseException) -> bool:
    """Whether an error in reading comes from what lies around the file, so that its contents may well be right.

    Examples: missing rights, no free descriptors or memory, a disk or a file server that does not answer. Readers of
    damaged files raise OSError without a number, with the number of an invalid argument (a position before the start),
    or with a negative number (NetCDF).

    Args:
        error: what was raised.

    Returns:
        True for errors of the system.
    """
    if isinstance(error, OSError):
        return error.errno is not None and error.errno > 0 and error.errno != errno.EINVAL
    return isinstance(error, MemoryError)
