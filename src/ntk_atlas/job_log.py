"""The log of one job, with the digests of what it wrote: progress, warnings and, if it fails, the traceback.

Programs read a file with flipped bits, or another file under its name, without a word: text has no checksums, and
NetCDF has some at most. So each job notes the digests of what it wrote (`.digests/<name>` beside the file), and
whoever reads a result can ask whether it is still that. A result without a note was not written by a job, or by a job
of a version that took no notes.
"""

import contextlib
import errno
import gc
import hashlib
import linecache
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ntk_atlas.arrays import is_passing, whole_file
from ntk_atlas.user_code import is_own

FOLDER = ".digests"


class ChangedResultError(ValueError):
    """A result is not what its job wrote."""


def note_of(path: Path) -> Path:
    """Where the digest of a result is noted."""
    return path.parent / FOLDER / path.name


def note_digest(path: Path) -> None:
    """Notes what a file is now."""
    note = note_of(path)
    with whole_file(note) as temporary:
        temporary.write_text(_digest(path) + "\n")


def forget_digest(path: Path) -> None:
    """Removes the note of a file that is removed, or about to be written anew."""
    note_of(path).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        note_of(path).parent.rmdir()  # if it is empty now


def is_as_noted(path: Path) -> bool | None:
    """Whether a file is what its job wrote, read from beginning to end; None if nothing is noted."""
    try:
        noted = note_of(path).read_text().strip()
    except FileNotFoundError:
        return None
    return _digest(path) == noted


def check_as_noted(paths: Iterable[Path]) -> None:
    """Checks that files are what their jobs wrote; those without a note are believed.

    Raises:
        ChangedResultError: naming the first that is not.
    """
    for path in paths:
        if is_as_noted(path) is False:
            raise ChangedResultError(
                f"{path} is not what its job wrote: it was damaged or changed, or another file was put in its place. "
                "`make run` removes it and makes it again"
            )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def job_log(path: str | Path, job: str, made_of: Iterable[str] = (), makes: Iterable[str] = ()) -> Iterator[None]:
    """Sends all logging and warnings of the block to a file, and holds what the job reads against what was written.

    What is imported by then lives as long as the process: it is kept from the garbage collector, which else walks it,
    mostly when the process ends: more than half a second of a job with Lightning.

    Args:
        path: the log file; its folder is made.
        job: what is done, cell included; a failure is logged under this name.
        made_of: files that the job reads: each must be what its own job wrote.
        makes: files that the block writes: what they are is noted.

    Yields:
        Nothing.

    Raises:
        SystemExit: with status 1 after a failure, whatever ended the block; its traceback is in the log.
    """
    gc.freeze()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    outputs = [Path(file) for file in makes]
    try:
        root.info("%s: started", job)
        check_as_noted(map(Path, made_of))
        for output in outputs:
            forget_digest(output)
        yield
        for output in outputs:
            note_digest(output)
        # Snakemake's own record of a job's CPU time lacks up to half a minute: it samples no more often.
        root.info("%s: done, %.2f s of CPU time", job, sum(os.times()[:4]))
    except BaseException as error:  # a user's code may end the process, or raise what is no Exception
        root.error("%s: failed: %s", job, why(error), exc_info=True)
        sys.stderr.write(f"{job} failed: {why(error)}\n(the traceback is in {path})\n")
        raise SystemExit(1) from error
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()


def log_of(record: Path, logs: Path) -> Path:
    """The log of a job.

    Args:
        record: Snakemake's of its time and memory, `.../costs/<rule>/<name>.tsv`, `all` for a rule of one job.
        logs: the folder of the experiment's logs.
    """
    rule = record.parent.name
    return logs / f"{rule}.log" if record.stem == "all" else logs / rule / f"{record.stem}.log"


def cpu_seconds(log: Path) -> float | None:
    """CPU seconds that a job took, its start and its children included, by its log; None of a job that is not done."""
    try:
        found = re.findall(r": done, ([\d.]+) s of CPU time$", log.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return float(found[-1]) if found else None


def why(error: BaseException) -> str:
    """What an error says, in one paragraph that is never empty.

    An error out of the user's own code (network factory, activation, kernel) comes with its type and the last line of
    that code; so does an error without a text, with the last line of whatever raised it.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full: make room and run again; finished work is kept"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_own(frame.filename)]
    if isinstance(error, SystemExit):
        return f"your code ended the process{_place(own[-1:])}: let it raise an error instead"
    text = str(error).strip()
    if isinstance(error, OSError) and error.filename and not own and not is_passing(error):
        text = (
            f"{error.filename} is damaged and cannot be read ({error.strerror}): delete it and run again, which makes "
            "it again"
        )
    if isinstance(error, MemoryError):
        text = f"the memory of this machine does not suffice{f' ({text})' if text else ''}"
    elif isinstance(error, KeyboardInterrupt):
        text = "it was interrupted"
    elif own or not text or isinstance(error, LookupError):
        text = f"{type(error).__name__}{f': {text}' if text else ''}"
    return text + _place(own[-1:] or ([] if str(error).strip() else frames[-1:]))


def _place(frames: list[traceback.FrameSummary]) -> str:
    if not frames:
        return ""
    (frame,) = frames
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f" ({frame.filename}, line {frame.lineno}{f': {line}' if line else ''})"
