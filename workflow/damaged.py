"""Results that are not whole: truncated by a full disk or a copy that was cut off, half written, or another file."""

import csv
import io
import logging
import re
from pathlib import Path

log = logging.getLogger("ntk-atlas")
_HALF_WRITTEN = re.compile(r"\..+\.\d+\.(tmp|partial)")
"""`.<name>.<process>.tmp`: under such a name everything is written here until it is whole."""
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_END = {2: slice(28, 36), 3: slice(28, 36)}
"""Where the head of an HDF5 file says how long the file is, by version of the head; NetCDF-4 writes version 2."""


def is_whole(path: Path) -> bool:
    """Whether a file is what its name says, to its end; one with a name of another kind is believed.

    NetCDF-4 is as long as its head says (a head of another version is believed), PNG and SVG end as they must, and
    every line of a table has as many values as its first.
    """
    check = _CHECKS.get(path.suffix)
    return check is None or check(path)


def _is_whole_netcdf(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(48)
    if not head.startswith(_SIGNATURE) or len(head) < 48:
        return False
    end = _END.get(head[8])
    return end is None or path.stat().st_size >= int.from_bytes(head[end], "little")


def _is_whole_table(path: Path) -> bool:
    with path.open(newline="", errors="replace") as file:
        text = file.read()
    return text.endswith("\n") and len({len(line) for line in csv.reader(io.StringIO(text))}) == 1


def _is_whole_png(path: Path) -> bool:
    contents = path.read_bytes()
    return contents.startswith(b"\x89PNG") and b"IEND" in contents[-12:]


def _is_whole_svg(path: Path) -> bool:
    return path.read_bytes().rstrip().endswith(b"</svg>")


_CHECKS = {".nc": _is_whole_netcdf, ".csv": _is_whole_table, ".png": _is_whole_png, ".svg": _is_whole_svg}


def remove_half_written(results: Path) -> list[Path]:
    """Removes what processes that were killed while they wrote have left: files not yet under their own name.

    Args:
        results: the folder; nothing may be at work in it.

    Returns:
        What was removed.
    """
    left = [path for path in sorted(results.glob("**/.*")) if _HALF_WRITTEN.fullmatch(path.name)]
    for path in left:
        path.unlink(missing_ok=True)
    return left


def remove_damaged(results: Path) -> list[Path]:
    """Names and removes the files of a folder that are not whole: Snakemake then makes them again.

    Args:
        results: the folder.

    Returns:
        What was removed.
    """
    damaged = [path for path in sorted(results.glob("**/*")) if path.suffix in _CHECKS and not is_whole(path)]
    for path in damaged:
        log.warning("%s is damaged (truncated, or no %s file): removed, it is made again", path, path.suffix[1:])
        path.unlink()
    return damaged
