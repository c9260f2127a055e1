"""The log of one job: progress, warnings and, if it fails, the traceback under the name of its cell."""

import errno
import gc
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def job_log(path: str | Path, job: str) -> Iterator[None]:
    """Sends all logging and warnings of the block to a file.

    What is imported by then lives as long as the process: it is kept from the garbage collector, which else walks it,
    mostly when the process ends: more than half a second of a job with Lightning.

    Args:
        path: the log file; its folder is made.
        job: what is done, cell included; a failure is logged under this name.

    Yields:
        Nothing.

    Raises:
        SystemExit: with status 1 after a failure; its traceback is in the log.
    """
    gc.freeze()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    try:
        root.info("%s: started", job)
        yield
        root.info("%s: done", job)
    except BaseException as error:  # code of the user's may end the process, which must not look like success
        root.exception("%s: failed", job)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        said = "the disk is full: make room and run again; finished work is kept" if full else error
        if not isinstance(error, Exception):
            said = f"it was ended by {type(error).__name__}"
        sys.stderr.write(f"{job} failed: {said}\n(the traceback is in {path})\n")
        raise SystemExit(1) from error
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()
