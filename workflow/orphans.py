"""What a killed run left behind: workers on this machine, and jobs in the queue of a Slurm cluster."""

import logging
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


def live_snakemake(folder: Path) -> list[psutil.Process]:
    """Snakemake processes at work in `folder` now, but for those that a scheduler started for one job (`--mode`)."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if process.info["cwd"] == str(folder)
        and "--mode" not in (process.info["cmdline"] or [])
        and any(Path(word).name in ("snakemake", "snakemake.exe") for word in (process.info["cmdline"] or [])[:3])
    ]


def queued_jobs(folder: Path) -> list[str]:
    """Numbers of the jobs in a Slurm queue that were submitted from `folder`; none without Slurm."""
    if shutil.which("squeue") is None:
        return []
    asked = ["squeue", "--me", "--noheader", "--format=%A|%j|%Z"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=60).stdout
    except subprocess.TimeoutExpired:
        return []
    jobs = (line.split("|", 2) for line in answer.splitlines() if line.count("|") >= 2)
    return [number for number, name, place in jobs if name.startswith(JOB_NAMES) and Path(place) == folder]


def cancel_queued_jobs(folder: Path, *, patience: float = 60.0) -> None:
    """Cancels the jobs that a killed run left in the queue, and waits until they are gone. Their finished units stay.

    Args:
        folder: where the run was started.
        patience: seconds to wait for their end.
    """
    jobs = queued_jobs(folder)
    if not jobs:
        return
    log.info("cancelling %d job(s) in the queue, which a killed run left behind", len(jobs))
    subprocess.run(["scancel", *jobs], capture_output=True, timeout=60)
    deadline = time.monotonic() + patience
    while queued_jobs(folder) and time.monotonic() < deadline:
        time.sleep(1.0)
