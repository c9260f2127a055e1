"""Results that are not what their jobs wrote: cut off, with flipped bits, half written, or another file.

A job notes the digest of each file it writes (`result_digests`), so no format has to be parsed here. A file without a
note names itself where it is read.
"""

import errno
import logging
import re
from pathlib import Path

from ntk_atlas.config.study import StudySettings
from ntk_atlas.job_log import FOLDER, forget_digest, is_as_noted
from ntk_atlas.study.results import foreign_results

log = logging.getLogger("ntk-atlas")
_HALF_WRITTEN = re.compile(r"\..+\.\d+\.tmp")
"""`.<name>.<process>.tmp`: under such a name everything is written here until it is whole (`whole_files`)."""


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
    """Names and removes the files of a folder that are not what their jobs wrote: Snakemake then makes them again.

    Args:
        results: the folder.

    Returns:
        What was removed.

    Raises:
        IsADirectoryError: if a folder has taken the place of a result, which may hold what the user wants to keep.
    """
    damaged = []
    for note in sorted(results.glob(f"**/{FOLDER}/*")):
        path = note.parents[1] / note.name
        leads_nowhere = path.is_symlink() and not path.exists()
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder where a result was: move it away", str(path))
        if not leads_nowhere and (not path.is_file() or is_as_noted(path)):
            continue
        fault = "a link that leads nowhere" if leads_nowhere else "not what its job wrote"
        log.warning("%s is damaged (%s): removed, it is made again if anything needs it", path, fault)
        path.unlink()
        forget_digest(path)
        damaged.append(path)
    return damaged
