"""What a killed run left behind: workers on this machine, and jobs in the queue of a Slurm cluster."""

import contextlib
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
    _end(orphans)


def end_lost_jobs(folder: Path) -> None:
    """Ends the Snakemakes, on this machine, of Slurm jobs that are over.

    A job that is cancelled as its step starts can leave its Snakemake behind, which then waits for ever: a Slurm that
    finds processes by their parents (`proctrack/linuxproc`) does not see it once its parent is gone.
    """
    if (queue := _own_queue()) is None:
        return
    numbers = {number for number, _, _ in queue}
    lost = [
        process
        for process in live_snakemake(folder, of_jobs=True)
        if (number := _slurm_job(process)) and number not in numbers
    ]
    for process in lost:
        log.info("ending process %d, which a job of the queue left behind", process.pid)
    _end(lost)


def _slurm_job(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("SLURM_JOB_ID")
    except psutil.Error:
        return None


def _end(processes: list[psutil.Process], patience: float = 10.0) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=patience)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=patience)


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
    queue = _own_queue()
    if queue is None:
        log.warning("squeue does not answer: jobs that a killed run may have left in the queue are not seen")
        return []
    mine = os.environ.get("SLURM_JOB_ID")
    return [
        number
        for number, name, place in queue
        if name.startswith(JOB_NAMES) and Path(place) == folder and number != mine
    ]


def _own_queue() -> list[list[str]] | None:
    """Number, name and folder of each job that this user has in a Slurm queue; None if it does not answer."""
    done = _asked("squeue", "--me", "--noheader", "--format=%A|%j|%Z")
    if done is None:
        return None
    return [line.split("|", 2) for line in done.splitlines() if line.count("|") >= 2]


def cancel_jobs(folder: Path, *, patience: float = 180.0) -> list[str]:
    """Cancels the jobs that a killed run left in the queue, and waits until they are gone. Their finished units stay.

    Asks again every second: a job may come in late, whose submission was under way, and a cancellation may be lost.

    Args:
        folder: where the run was started.
        patience: seconds to wait for their end. A Slurm gives a job 30 s (`KillWait`), and as long again to clean up.

    Returns:
        The jobs that are still there.
    """
    jobs, deadline = queued_jobs(folder), time.monotonic() + patience
    log.info("cancelling %d job(s) in the queue, which a killed run left behind", len(jobs))
    while jobs and time.monotonic() < deadline:
        _asked("scancel", *jobs)
        time.sleep(1.0)
        jobs = queued_jobs(folder)
    return jobs


def _asked(*command: str) -> str | None:
    """What a command of Slurm answers; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout
