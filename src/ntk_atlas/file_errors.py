"""Errors in reading a file that say nothing of the file itself."""

import errno


def is_passing(error: BaseException) -> bool:
    """Whether an error in reading comes from what lies around the file, so that its contents may well be right.

    Such are no rights, no free descriptors or memory, a disk or a file server that does not answer. Readers of
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
