"""Results that are not whole: truncated by a full disk or a copy that was cut off, or another file in their place."""

import logging
from pathlib import Path

log = logging.getLogger("ntk-atlas")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_END = {2: slice(28, 36), 3: slice(28, 36)}
"""Where the head of an HDF5 file says how long the file is, by version of the head; NetCDF-4 writes version 2."""


def is_whole(path: Path) -> bool:
    """Whether a file is NetCDF-4 and as long as its head says; a head of another version is believed."""
    with path.open("rb") as file:
        head = file.read(48)
    if not head.startswith(_SIGNATURE) or len(head) < 48:
        return False
    end = _END.get(head[8])
    return end is None or path.stat().st_size >= int.from_bytes(head[end], "little")


def remove_damaged(results: Path) -> list[Path]:
    """Names and removes the NetCDF files of a folder that are not whole: Snakemake then makes them again.

    Args:
        results: the folder.

    Returns:
        What was removed.
    """
    damaged = [path for path in sorted(results.glob("*/**/*.nc")) if path.is_file() and not is_whole(path)]
    for path in damaged:
        log.warning("%s is damaged (truncated, or no NetCDF): removed, it is made again", path)
        path.unlink()
    return damaged
