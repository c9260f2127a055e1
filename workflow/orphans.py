"""What a killed run left behind: workers on this machine, and jobs in the queue of a Slurm cluster."""

import logging
import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil

log = logging.getLogger("ntk-atlas")
JOB_NAMES = "ntk-atlas"
"""How the names of all jobs begin that the profiles submit."""


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


def end_workers(folder: Path) -> None:
    """Ends orphaned workers: asks first, then forces. Their finished units stay."""
    orphans = orphaned_workers(folder)
    for process in orphans:
        log.info("ending worker %d, which a killed run left behind", process.pid)
        process.terminate()
    _, alive = psutil.wait_procs(orphans, timeout=10)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=10)


def live_snakemake(folder: Path, *, of_jobs: bool = False) -> list[psutil.Process]:
    """Snakemake processes at work in `folder` now: of runs, or (`of_jobs`) started by a scheduler for a job of one."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if process.info["cwd"] == str(folder)
        and ("--mode" in (process.info["cmdline"] or [])) == of_jobs
        and any(Path(word).name in ("snakemake", "snakemake.exe") for word in (process.info["cmdline"] or [])[:3])
    ]


def queued_jobs(folder: Path) -> list[str]:
    """Numbers of the jobs in a Slurm queue that were submitted from `folder`, but for the one that this process is in.

    Without Slurm, or with one that does not answer, there are none; the latter is said.
    """
    if shutil.which("squeue") is None:
        return []
    done = _asked("squeue", "--me", "--noheader", "--format=%A|%j|%Z")
    if done is None:
        log.warning("squeue does not answer: jobs that a killed run may have left in the queue are not seen")
        return []
    jobs = (line.split("|", 2) for line in done.splitlines() if line.count("|") >= 2)
    mine = os.environ.get("SLURM_JOB_ID")
    return [
        number
        for number, name, place in jobs
        if name.startswith(JOB_NAMES) and Path(place) == folder and number != mine
    ]


def cancel_jobs(folder: Path, *, patience: float = 60.0) -> bool:
    """Cancels the jobs that a killed run left in the queue, and waits until they are gone. Their finished units stay.

    Args:
        folder: where the run was started.
        patience: seconds to wait for their end.

    Returns:
        Whether they are gone.
    """
    jobs, deadline = queued_jobs(folder), time.monotonic() + patience
    log.info("cancelling %d job(s) in the queue, which a killed run left behind", len(jobs))
    _asked("scancel", *jobs)
    while queued_jobs(folder) or live_snakemake(folder, of_jobs=True):
        if time.monotonic() > deadline:
            return False
        time.sleep(1.0)
    return True


def _asked(*command: str) -> str | None:
    """What a command of Slurm answers; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return None
    return None if done.returncode else done.stdout
