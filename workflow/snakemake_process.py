"""Snakemake as a child process that ends when it is asked to, workers included, or when the disk is full."""

import logging
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

log = logging.getLogger("ntk-atlas")
SNAKEMAKE = [sys.executable, "-m", "snakemake"]
_SECONDS_TO_END = 60
"""What Snakemake gets to end after its workers, before it is killed with all that it started."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopAskedError(Exception):
    """A signal asked this process to end; its number is the argument."""


class _DiskFullError(Exception):
    """There is no room left where results are written: Snakemake would wait for ever for a record it cannot write."""


class StopSignals:
    """While this context is open, signals that ask to end raise `StopAskedError`."""

    def __init__(self):
        self._held, self._pending = False, None

    def __enter__(self) -> "StopSignals":
        self._before = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Signals that come inside the block raise at its end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._pending is not None:
            raise StopAskedError(self._pending)

    def ignore(self) -> None:
        """From now on a signal does nothing: the end is under way."""
        self._held = True

    def _stop(self, number: int, _frame: object) -> None:
        if not self._held:
            raise StopAskedError(number)
        self._pending = number


def run_snakemake(stops: StopSignals, *arguments: str, folder: Path) -> int:
    """Runs Snakemake; a signal that asks to end, or a disk without room, ends it and its workers.

    Snakemake alone would wait for its running jobs, which may take hours. It is in a process group of its own, so that
    Ctrl-C reaches this process only.

    Args:
        stops: the open context of signals.
        *arguments: of Snakemake.
        folder: where results are written.

    Returns:
        Its exit status; 1 if the disk is full.

    Raises:
        StopAskedError: if a signal asked to end; Snakemake and its workers have ended by then.
    """
    child = None
    try:
        with stops.held():  # between its start and the next line it would have nobody to end it
            child = subprocess.Popen([*SNAKEMAKE, *arguments], process_group=0)
        while True:
            try:
                return child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                if _has_no_room(folder):
                    raise _DiskFullError from None
    except (StopAskedError, _DiskFullError) as why:
        stops.ignore()
        by_signal = isinstance(why, StopAskedError)
        log.info("stopping (%s)", signal.Signals(why.args[0]).name if by_signal else "the disk is full")
        if child is not None:
            _end(child)
        if by_signal:
            raise
        return 1


def _end(child: subprocess.Popen) -> None:
    workers, asked = set(_workers_of(child)), set()  # before it is asked: once it has ended they are not its own
    child.send_signal(signal.SIGINT)
    deadline = time.monotonic() + _SECONDS_TO_END
    while time.monotonic() < deadline:
        # Each time anew: one that is just starting does not have its command line yet.
        workers |= set(_workers_of(child))
        for worker in workers - asked:
            with suppress(psutil.NoSuchProcess):
                worker.terminate()
        asked |= workers
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=0.2)
            return
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(child.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    child.kill()
    child.wait()


def _workers_of(child: subprocess.Popen) -> list[psutil.Process]:
    workers = []
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(child.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if ".snakemake/scripts/" in " ".join(process.cmdline()):
                    workers.append(process)
    return workers


def _has_no_room(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < 2**20
    except OSError:  # the folder is not there yet, or no more
        return False
