"""What a killed run left in the queue of a Slurm cluster: its jobs, and what is left of them on this machine."""

import logging
import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil
from orphans import end, live_snakemake, lost_snakemakes, submissions

log = logging.getLogger("ntk-atlas")
JOB_NAMES = "ntk-atlas"
"""How the names of all jobs begin that the profiles submit."""
UNENDED = "PENDING,CONFIGURING,RUNNING,SUSPENDED,COMPLETING"
"""States of a job that can still write results."""


def queued_jobs(folder: Path) -> list[str]:
    """Numbers of the jobs in a Slurm queue that were submitted from `folder`, but for the one that this process is in.

    Without Slurm, or with one that does not answer when asked three times, there are none; the latter is said.
    """
    if shutil.which("squeue") is None:
        return []
    for attempt in range(3):
        time.sleep(attempt)
        if (jobs := _jobs_of(folder)) is not None:
            return jobs
    log.warning("squeue does not answer: jobs that a killed run may have left in the queue are not seen")
    return []


def wait_for_submissions(folder: Path, *, patience: float = 60.0) -> None:
    """Waits until jobs that a killed run was about to submit are in the queue; ends submissions that take longer."""
    under_way = submissions(folder)
    _, alive = psutil.wait_procs(under_way, timeout=patience)
    end(alive)


def cancel_jobs(folder: Path, jobs: list[str], *, patience: float = 180.0) -> list[str]:
    """Cancels the jobs that a killed run left in the queue, and waits until they are gone. Their finished units stay.

    Asks again every second: a cancellation may be lost, and one job may come after another.

    Args:
        folder: where the run was started.
        jobs: their numbers, as `queued_jobs` gives them.
        patience: seconds to wait for their end. A Slurm gives a job 30 s (`KillWait`), and as long again to clean up.

    Returns:
        The jobs that are still there, or may be.
    """
    deadline = time.monotonic() + patience
    log.info("cancelling %d job(s) in the queue, which a killed run left behind", len(jobs))
    while jobs and time.monotonic() < deadline:
        _asked("scancel", *jobs)
        time.sleep(1.0)
        if (left := _jobs_of(folder)) is not None:  # no answer is not an empty queue
            jobs = left
    return jobs


def end_lost_jobs(folder: Path, *, patience: float = 15.0) -> None:
    """Ends the Snakemakes, on this machine, of Slurm jobs that are over.

    A job that is cancelled as its step starts can leave its Snakemake behind, which then waits for ever: a Slurm that
    finds processes by their parents (`proctrack/linuxproc`) does not see it once its parent is gone.

    Args:
        folder: where the run was started.
        patience: seconds to wait for the Snakemakes of jobs that Slurm still watches over.
    """
    deadline = time.monotonic() + patience
    while live_snakemake(folder, of_jobs=True):
        candidates = lost_snakemakes(folder)
        if candidates and (queue := _own_queue()) is not None:
            queued = {number for number, _, _ in queue}
            lost = [process for process, job in candidates if job not in queued]
            for process in lost:
                log.info("ending process %d, which a job of the queue left behind", process.pid)
            end(lost)
        if time.monotonic() > deadline:
            return
        time.sleep(0.5)


def _jobs_of(folder: Path) -> list[str] | None:
    queue = _own_queue()
    if queue is None:
        return None
    mine = os.environ.get("SLURM_JOB_ID")
    return [
        number
        for number, name, place in queue
        if name.startswith(JOB_NAMES) and Path(place) == folder and number != mine
    ]


def _own_queue() -> list[list[str]] | None:
    """Number, name and folder of each job that this user has in a Slurm queue; None if it does not answer."""
    done = _asked("squeue", "--me", "--all", f"--states={UNENDED}", "--noheader", "--format=%A|%j|%Z")
    if done is None:
        return None
    return [line.split("|", 2) for line in done.splitlines() if line.count("|") >= 2]


def _asked(*command: str) -> str | None:
    """What a command of Slurm answers; None if it fails. Variables that would filter its answer are not passed on."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SCANCEL_"))}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="surrogateescape", timeout=60
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout
