# Snakemake remembers of each result what it was made with, and runs a job again when that changes. A result without
# such a record counts as right whatever the config says. So the records lie among the results: who copies the one
# copies the other.
import errno
import shutil

RECORDS = Path("results/snakemake_records")


def keep_records_among_results():
    """Makes `.snakemake/metadata` a link to `RECORDS`, and moves there what it held; records there are the newer ones."""
    link, aside = Path(".snakemake/metadata"), Path(".snakemake/metadata-moved")
    RECORDS.mkdir(parents=True, exist_ok=True)
    # Without this folder beside it, Snakemake takes the records for those of an old version.
    Path(".snakemake/incomplete").mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(RECORDS.resolve(), link.parent.resolve())
    if link.is_symlink() and os.readlink(link) != target:
        link.unlink()
    if link.is_dir() and not link.is_symlink():
        link.rename(aside)
    if not link.is_symlink():
        link.symlink_to(target)
    if aside.is_dir():
        for record in [path for path in aside.rglob("*") if path.is_file()]:
            place = RECORDS / record.relative_to(aside)
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(record, place)
        shutil.rmtree(aside)


if workflow.is_main_process:
    try:
        keep_records_among_results()
    except OSError as error:
        # A folder that cannot be written has no results to come.
        if error.errno not in (errno.EROFS, errno.EACCES):
            logger.warning(
                f"the records of results cannot be kept in {RECORDS} ({error})"
            )
