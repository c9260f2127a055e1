"""`make run`: runs the study to its report, also after a run before it was killed.

It takes a lock of its own, ends workers that a killed run left behind (they would write into results that the new
run computes), unlocks Snakemake, runs the study, and writes the report.
"""

import argparse
import fcntl
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

log = logging.getLogger("ntk-atlas")
SNAKEMAKE = [sys.executable, "-m", "snakemake"]


def orphaned_workers(folder: Path) -> list[psutil.Process]:
    """Jobs of an earlier run in `folder` whose Snakemake is gone."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = " ".join(process.info["cmdline"] or [])
        inside = process.info["cwd"] == str(folder)
        if inside and ".snakemake/scripts/" in command and not _has_snakemake_above(process):
            found.append(process)
    return found


def _has_snakemake_above(process: psutil.Process) -> bool:
    try:
        return any("snakemake" in " ".join(parent.cmdline()[:4]) for parent in process.parents())
    except psutil.NoSuchProcess:
        return True


def end_orphans(folder: Path) -> None:
    """Ends orphaned workers: asks first, then forces. Their finished units stay."""
    orphans = orphaned_workers(folder)
    for process in orphans:
        log.info("ending worker %d, which a killed run left behind", process.pid)
        process.terminate()
    _, alive = psutil.wait_procs(orphans, timeout=10)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=10)


def unlock(folder: Path) -> None:
    """Removes Snakemake's lock if a killed run left one."""
    locks = folder / ".snakemake" / "locks"
    if locks.is_dir() and any(locks.iterdir()):
        log.info("unlocking the folder: the run before this one was killed")
        subprocess.run([*SNAKEMAKE, "--unlock", "--quiet", "all"], check=True)


def main() -> int:
    """Runs everything; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unlock-only", action="store_true", help="end orphans and unlock, run nothing")
    parser.add_argument("--report", default="results/report.html", help="where the report goes")
    arguments, snakemake_arguments = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="== %(message)s")
    folder = Path.cwd()
    (folder / ".snakemake").mkdir(exist_ok=True)
    with (folder / ".snakemake" / "ntk-atlas.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.error("another run is under way in %s: wait for it, or end it", folder)
            return 1
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        end_orphans(folder)
        unlock(folder)
        if arguments.unlock_only:
            return 0
        return run_and_report(snakemake_arguments, arguments.report)


def run_and_report(snakemake_arguments: list[str], report: str) -> int:
    """Runs the study and writes its report; says where to look."""
    start = time.monotonic()
    log.info("running the study (each job's progress is in logs/)")
    cores = [] if any(a.startswith(("--cores", "-c", "--profile", "--jobs")) for a in snakemake_arguments) else ["all"]
    cores = ["--cores", *cores] if cores else []
    status = subprocess.run([*SNAKEMAKE, *cores, *snakemake_arguments]).returncode
    if status:
        log.error("the study did not finish: see the messages above; finished work is kept, run again to go on")
        return status
    log.info("study finished in %.0f s; writing the report", time.monotonic() - start)
    overlays = _option(snakemake_arguments, "--configfile") + _option(snakemake_arguments, "--directory")
    status = subprocess.run([*SNAKEMAKE, *overlays, "--report", report, "--quiet", "all"]).returncode
    if status == 0:
        log.info("done: open %s in a browser; cubes are results/<experiment>/cube.nc", report)
    return status


def _option(arguments: list[str], name: str) -> list[str]:
    """An option with all its values, as it was given."""
    if name not in arguments:
        return []
    start = arguments.index(name)
    end = next((i for i in range(start + 1, len(arguments)) if arguments[i].startswith("-")), len(arguments))
    return arguments[start:end]


if __name__ == "__main__":
    sys.exit(main())
