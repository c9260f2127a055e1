"""`make run`: runs the study to its report, also after a run before it was killed.

It takes a lock of its own, ends workers and jobs in the queue that a killed run left behind (they would write into
results that the new run computes), unlocks Snakemake, removes results that are damaged, runs the study, and writes
the report. Asked to end (Ctrl-C, SIGTERM, a closed terminal), it ends Snakemake and its workers at once: finished
units stay, and half trained ones their last state.
"""

import argparse
import fcntl
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

import psutil
from damaged import remove_damaged
from orphans import cancel_jobs, end_workers, live_snakemake, queued_jobs

log = logging.getLogger("ntk-atlas")
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LEAST_FREE_MB = 50
"""With less room on the disk no run starts, and a run that failed most likely failed for want of it."""
SNAKEMAKE = [sys.executable, "-m", "snakemake"]


class StopAskedError(Exception):
    """A signal asked this process to end."""


class DiskFullError(Exception):
    """There is no room left where results are written: Snakemake would wait for ever for a record it cannot write."""


def run_snakemake(*arguments: str, folder: Path = Path()) -> int:
    """Runs Snakemake; a signal that asks to end, or a disk without room, ends it and its workers.

    Snakemake alone would wait for its running jobs, which may take hours. It is in a process group of its own, so that
    Ctrl-C reaches this process only.

    Args:
        *arguments: of Snakemake.
        folder: where results are written.

    Returns:
        Its exit status, or 128 and the number of the signal; 1 if the disk is full.
    """

    def stop(number: int, _frame: object) -> None:
        raise StopAskedError(number)

    child = subprocess.Popen([*SNAKEMAKE, *arguments], process_group=0)
    before = {number: signal.signal(number, stop) for number in STOPS}
    try:
        while True:
            try:
                return child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                if _has_no_room(folder):
                    raise DiskFullError from None
    except (StopAskedError, DiskFullError) as asked:
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)
        number = asked.args[0] if asked.args else None
        log.info("stopping (%s)", signal.Signals(number).name if number else "the disk is full")
        below = psutil.Process(child.pid).children(recursive=True)
        child.send_signal(signal.SIGINT)
        for process in below:
            if _is_worker(process):
                process.terminate()
        try:
            child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            child.kill()
        return 128 + number if number else 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_no_room(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < 2**20
    except OSError:  # the folder is not there yet, or no more
        return False


def _is_worker(process: psutil.Process) -> bool:
    try:
        return ".snakemake/scripts/" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def folder_problem(folder: Path) -> str | None:
    """What keeps a run from writing in its folder, in a sentence; None if nothing does."""
    for place in (folder, folder / "results", folder / ".snakemake"):
        probe = place / f".ntk-atlas-{os.getpid()}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            return f"cannot write in {place} ({error.strerror}): make it writable, or choose another with --directory"
        free = shutil.disk_usage(place).free // 2**20
        if free < LEAST_FREE_MB:
            return f"the disk of {place} is full ({free} MiB free): make room"
    return None


def end_what_a_killed_run_left(folder: Path, lock: TextIO, *, force: bool) -> str | None:
    """Ends workers here and cancels jobs in the queue, of a run that was started on this machine.

    Args:
        folder: of the results.
        lock: this launcher's lock file, which names the machine of the last run.
        force: cancel jobs whatever machine they were submitted from: a run there may be alive, which cannot be seen.

    Returns:
        What keeps a run from starting, in a sentence; None if nothing does.
    """
    lock.seek(0)
    last, here = lock.read().strip(), socket.gethostname()
    end_workers(folder)
    jobs = queued_jobs(folder)
    if jobs and not (force or last == here):
        return (
            f"{len(jobs)} job(s) of this folder are in the queue ({', '.join(jobs[:5])}), of a run on "
            f"{last or 'a machine that is not known'}: wait for it; if it is dead, add --cancel-queued"
        )
    if jobs and not cancel_jobs(folder):
        return "jobs of a run before this one do not end: see `squeue --me`"
    if left := live_snakemake(folder, of_jobs=True):
        return f"a job of another run (process {left[0].pid}) is at work in {folder}: wait for it, or end it"
    lock.truncate(0)
    lock.write(here)
    lock.flush()
    return None


def unlock(folder: Path, study: list[str]) -> None:
    """Removes Snakemake's lock if a killed run left one."""
    locks = folder / ".snakemake" / "locks"
    if locks.is_dir() and any(locks.iterdir()):
        log.info("unlocking the folder: the run before this one was killed")
        subprocess.run([*SNAKEMAKE, *study, "--unlock", "--quiet", "all"])


def arguments_of_the_call() -> tuple[argparse.Namespace, list[str]]:
    """What this launcher understands, and what it only passes on to the run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unlock-only", action="store_true", help="end orphans and unlock, run nothing")
    parser.add_argument(
        "--cancel-queued", action="store_true", help="cancel jobs in the queue, wherever they came from"
    )
    parser.add_argument("--report", default="results/report.html", help="where the report goes")
    parser.add_argument("--directory", "-d", type=Path, help="folder of the results")
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[], help="config files, later ones win")
    parser.add_argument("--config", nargs="+", default=[], help="values of the config, e.g. preset=full")
    parser.add_argument("--dry-run", "-n", action="store_true", help="only say what would run")
    return parser.parse_known_args()


def main() -> int:
    """Runs everything; returns the exit status."""
    call, passed_on = arguments_of_the_call()
    logging.basicConfig(level=logging.INFO, format="== %(message)s")
    folder = (call.directory or Path.cwd()).resolve()
    study = ["--directory", str(call.directory)] if call.directory else []
    study += ["--configfile", *call.configfile] if call.configfile else []
    study += ["--config", *call.config] if call.config else []
    problem = folder_problem(folder)
    if problem:
        log.error("nothing was run: %s", problem)
        return 1
    with (folder / ".snakemake" / "ntk-atlas.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.error("another run is under way in %s: wait for it, or end it", folder)
            return 1
        running = live_snakemake(folder)
        if running:
            log.error("snakemake (process %d) is at work in %s: wait for it, or end it", running[0].pid, folder)
            return 1
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        problem = None if call.dry_run else end_what_a_killed_run_left(folder, lock, force=call.cancel_queued)
        if problem:
            log.error("nothing was run: %s", problem)
            return 1
        unlock(folder, study)
        if call.unlock_only:
            return 0
        if not call.dry_run:
            remove_damaged(folder / "results")
        return run_and_report(call, study, passed_on)


def run_and_report(call: argparse.Namespace, study: list[str], passed_on: list[str]) -> int:
    """Runs the study and writes its report; says where to look."""
    start = time.monotonic()
    log.info("running the study (each job's progress is in logs/)")
    given = any(word.startswith(("--cores", "-c", "--profile", "--jobs", "-j")) for word in passed_on)
    cores = [] if given else ["--cores", "all"]
    dry_run = ["--dry-run"] if call.dry_run else []
    results = (call.directory or Path.cwd()).resolve() / "results"
    status = run_snakemake(*study, *cores, *dry_run, *passed_on, folder=results)
    if status > 128:
        log.error("stopped: finished work is kept, the same command goes on")
    elif status:
        problem = folder_problem((call.directory or Path.cwd()).resolve())
        why = f"{problem}, and run again" if problem else "see the messages above; run again to go on"
        log.error("the study did not finish: %s; finished work is kept", why)
    if status or call.dry_run:
        return status
    log.info("study finished in %.0f s; writing the report", time.monotonic() - start)
    status = run_snakemake(*study, "--report", call.report, "--quiet", "rules")
    if status == 0:
        log.info("done: open %s in a browser; cubes are results/<experiment>/cube.nc", call.report)
    return status


if __name__ == "__main__":
    sys.exit(main())
