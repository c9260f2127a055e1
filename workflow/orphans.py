"""Processes of runs on this machine: Snakemakes at work, and what a killed one left behind."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

log = logging.getLogger("ntk-atlas")


def orphaned_workers(folder: Path) -> list[psutil.Process]:
    """Jobs of an earlier run in `folder` whose Snakemake is gone."""
    return [
        process
        for process, command in _own_processes(folder)
        if any(".snakemake/scripts/" in word for word in command)
        and not _has_above(process, lambda parent: _is_snakemake(parent.cmdline()))
    ]


def live_snakemake(folder: Path, *, of_jobs: bool = False) -> list[psutil.Process]:
    """Snakemake processes at work in `folder` now: of runs, or (`of_jobs`) started by a scheduler for a job of one."""
    return [
        process
        for process, command in _processes(folder)
        if _is_snakemake(command) and ("--mode" in command) == of_jobs
    ]


def lost_snakemakes(folder: Path) -> list[tuple[psutil.Process, str]]:
    """Snakemakes that a Slurm started for a job and no longer watches over, with the job's number."""
    found = []
    for process, command in _own_processes(folder):
        with contextlib.suppress(psutil.Error):
            job = process.environ().get("SLURM_JOB_ID")
            if job and _is_snakemake(command) and "--mode" in command:
                if not _has_above(process, lambda parent: parent.name() == "slurmstepd"):
                    found.append((process, job))
    return found


def submissions(folder: Path) -> list[psutil.Process]:
    """Submissions to a Slurm queue that are under way from `folder`."""
    return [process for process, command in _own_processes(folder) if command and Path(command[0]).name == "sbatch"]


def end_workers(folder: Path) -> None:
    """Ends orphaned workers: asks first, then forces. Their finished units stay."""
    orphans = orphaned_workers(folder)
    for process in orphans:
        log.info("ending worker %d, which a killed run left behind", process.pid)
    end(orphans)


def end(processes: list[psutil.Process], *, patience: float = 10.0) -> None:
    """Asks processes to end, and ends by force those that have not after `patience` seconds."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=patience)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=patience)


def _is_snakemake(command: list[str]) -> bool:
    """Whether these are the words of a Snakemake: `snakemake ...`, `python -m snakemake ...`."""
    return any(Path(word).name in ("snakemake", "snakemake.exe") for word in command[:4])


def _processes(folder: Path) -> Iterator[tuple[psutil.Process, list[str]]]:
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        if process.info["cwd"] and folder in _folders_of(command, Path(process.info["cwd"])):
            yield process, command


def _folders_of(command: list[str], here: Path) -> set[Path]:
    """The folder that a process works in: a Snakemake goes to its `--directory` only some time after its start.

    Args:
        command: its words.
        here: where it is now.

    Returns:
        The folder it is in or will go to; both, if its words do not tell.
    """
    if not _is_snakemake(command):
        return {here}
    for word, following in zip(command, [*command[1:], ""], strict=True):
        option, _, value = word.partition("=")
        if option in ("--directory", "-d"):
            folder = Path(value or following)
            target = Path(os.path.normpath(here / folder))
            if folder.is_absolute():
                return {target}
            there_now = not target.is_dir() or ".." in folder.parts
            return {here, target} if there_now else {target}
    return {here}


def _own_processes(folder: Path) -> Iterator[tuple[psutil.Process, list[str]]]:
    """Those of this user: root sees, and could end, those of others as well."""
    for process, command in _processes(folder):
        with contextlib.suppress(psutil.Error):
            if process.uids().real == os.getuid():
                yield process, command


def _has_above(process: psutil.Process, condition: Callable[[psutil.Process], bool]) -> bool:
    """Whether a process that this one descends from meets a condition; if that cannot be seen, yes."""
    try:
        return any(condition(parent) for parent in process.parents())
    except psutil.Error:
        return True
