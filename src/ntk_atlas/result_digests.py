"""What the bytes of a result were when its job ended: a digest in a hidden folder beside it.

Programs read a file with flipped bits, or another file under its name, without a word: text has no checksums, and
NetCDF has some at most. So each job notes the digests of what it wrote (`.digests/<name>` beside the file), and
whoever reads a result can ask whether it is still that. A result without a note was not written by a job, or by a job
of a version that took no notes.
"""

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

from ntk_atlas.arrays import whole_file

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
