# Snakemake remembers of each result what it was made with, and runs a job again when that changes. A result without
# such a record counts as right whatever the config says. So the records lie among the results: who copies the one
# copies the other.
import contextlib
import shutil

RECORDS = Path("results/snakemake_records")


def keep_records_among_results():
    """Makes `.snakemake/metadata` a link to `RECORDS`, and moves there what it held."""
    link = Path(".snakemake/metadata")
    RECORDS.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        return
    # Without this folder beside it, Snakemake takes the records for those of an old version.
    Path(".snakemake/incomplete").mkdir(parents=True, exist_ok=True)
    if link.is_dir():
        shutil.copytree(link, RECORDS, dirs_exist_ok=True)
        shutil.rmtree(link)
    link.symlink_to(Path("..") / RECORDS)


if workflow.is_main_process:
    # A folder that cannot be written has no results to come.
    with contextlib.suppress(OSError):
        keep_records_among_results()
