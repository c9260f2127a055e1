"""Results that are not what their jobs wrote: cut off, with flipped bits, half written, or another file."""

import csv
import errno
import io
import logging
import os
import re
from pathlib import Path

from ntk_atlas.config.study import StudySettings
from ntk_atlas.file_errors import is_passing
from ntk_atlas.result_digests import FOLDER, forget_digest, is_as_noted
from ntk_atlas.study.earlier_results import foreign_results

log = logging.getLogger("ntk-atlas")
_HALF_WRITTEN = re.compile(r"\..+\.\d+\.(tmp|partial|unfinished)")
"""`.<name>.<process>.tmp`: under such a name everything is written here until it is whole."""


def is_whole(path: Path) -> bool:
    """Whether a file is what its job wrote (`result_digests`), read from beginning to end.

    Without a note of that, it is held against its name: every variable of a NetCDF file can be read, PNG and SVG end as
    they must, every line of a table has as many values as its first; a file with a name of another kind is believed.
    """
    noted, check = is_as_noted(path), _CHECKS.get(path.suffix)
    return noted if noted is not None else check is None or check(path)


def _is_whole_netcdf(path: Path) -> bool:
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")  # which not every network file system has
    import netCDF4

    try:
        with netCDF4.Dataset(path) as file:
            for variable in file.variables.values():
                variable[...]
    except (OSError, RuntimeError, AttributeError, ValueError, IndexError) as error:
        if is_passing(error):
            raise
        return False
    return True


def _is_whole_table(path: Path) -> bool:
    separator = "\t" if path.suffix == ".tsv" else ","
    with path.open(newline="", errors="replace") as file:
        text = file.read()
    return text.endswith("\n") and len({len(line) for line in csv.reader(io.StringIO(text), delimiter=separator)}) == 1


def _is_whole_png(path: Path) -> bool:
    contents = path.read_bytes()
    return contents.startswith(b"\x89PNG") and b"IEND" in contents[-12:]


def _is_whole_svg(path: Path) -> bool:
    return path.read_bytes().rstrip().endswith(b"</svg>")


_CHECKS = {
    ".nc": _is_whole_netcdf,
    ".csv": _is_whole_table,
    ".tsv": _is_whole_table,
    ".png": _is_whole_png,
    ".svg": _is_whole_svg,
}


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


def remove_foreign(study: StudySettings, results: Path) -> list[Path]:
    """Names and removes results of another study that were put into the folder without what Snakemake knows of them.

    Args:
        study: the study.
        results: the folder.

    Returns:
        What was removed.
    """
    foreign = sorted(foreign_results(study, results, results / "snakemake_records"))
    for path in foreign:
        log.warning(
            "%s is of other settings than the config's, from another study: removed, it is made again if anything "
            "needs it",
            path,
        )
        path.unlink()
        forget_digest(path)
    return foreign


def remove_damaged(results: Path) -> list[Path]:
    """Names and removes the files of a folder that are not whole: Snakemake then makes them again.

    Args:
        results: the folder.

    Returns:
        What was removed.

    Raises:
        IsADirectoryError: if a folder has taken the place of a result, which may hold what the user wants to keep.
    """
    damaged = []
    for path in sorted(results.glob("**/*")):
        if path.suffix not in _CHECKS or path.parent.name == FOLDER:
            continue
        leads_nowhere = path.is_symlink() and not path.exists()
        if path.is_dir() and (path.parent / FOLDER / path.name).is_file():
            raise IsADirectoryError(errno.EISDIR, "it is a folder where a result was: move it away", str(path))
        if not leads_nowhere and (not path.is_file() or is_whole(path)):
            continue
        if leads_nowhere:
            fault = "a link that leads nowhere"
        else:
            noted = is_as_noted(path) is not None
            fault = "not what its job wrote" if noted else f"truncated, or no {path.suffix[1:]} file"
        log.warning("%s is damaged (%s): removed, it is made again if anything needs it", path, fault)
        path.unlink()
        forget_digest(path)
        damaged.append(path)
    return damaged
