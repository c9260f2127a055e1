"""`make run` asked to end: Snakemake and its workers end at once; a folder that cannot be written is named first."""

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

WORKFLOW = Path(__file__).parents[2] / "workflow"
WORKER = "import time; time.sleep(600)"
SNAKEMAKE = f"""
import os, signal, subprocess, sys
if os.environ["PHASE"] == "report" and "--report" not in sys.argv:
    sys.exit(0)
signal.signal(signal.SIGINT, lambda *_: None)
worker = subprocess.Popen([sys.executable, "-c", {WORKER!r}, "x/.snakemake/scripts/worker.py"])
open("started", "w").write(str(worker.pid))
sys.exit(1 if worker.wait() else 0)
"""
"""What Snakemake does with a job under way, of the study or the report: asked to end, it waits for it."""
LAUNCHER = f"""
import os, sys, time
sys.path.insert(0, {str(WORKFLOW)!r})
import run, snakemake_process
snakemake_process.SNAKEMAKE = [sys.executable, "snakemake.py"]
def wait_for_jobs(*_, **__):
    open("started", "w").write(str(os.getpid()))
    time.sleep(600)
if os.environ["PHASE"] == "before":
    run.end_what_a_killed_run_left = wait_for_jobs
sys.exit(run.main())
"""


@pytest.fixture
def launcher(monkeypatch):
    monkeypatch.syspath_prepend(str(WORKFLOW))
    import run

    yield run
    del sys.modules["run"]


@pytest.mark.parametrize(
    ("number", "phase"),
    [(n, "study") for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    + [(signal.SIGINT, "report"), (signal.SIGTERM, "before")],
)
def test_a_signal_ends_snakemake_and_its_workers_in_one_sentence(tmp_path, number, phase):
    (tmp_path / "snakemake.py").write_text(SNAKEMAKE)
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    process = subprocess.Popen(
        [sys.executable, "launcher.py"], cwd=tmp_path, env={**os.environ, "PHASE": phase},
        start_new_session=True, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    started = tmp_path / "started"
    deadline = time.monotonic() + 120
    while not (started.is_file() and started.read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    worker = int(started.read_text())
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert said.splitlines()[-1] == "== stopped: finished work is kept, the same command goes on"
    assert "Traceback" not in said
    assert not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE


STARTS_ONE_MORE = f"""
import signal, subprocess, sys, time
asked = []
signal.signal(signal.SIGINT, lambda *_: asked.append(1))
open("started", "w").close()
while not asked:
    time.sleep(0.05)
time.sleep(1)
worker = subprocess.Popen([sys.executable, "-c", {WORKER!r}, *sys.argv[1:2]])
open("late", "w").write(str(worker.pid))
worker.wait()
"""
"""As it is asked to end, a job of it is just starting."""


@pytest.mark.parametrize("named", [True, False], ids=["a worker", "something else"])
def test_what_starts_as_snakemake_is_asked_to_end_is_ended_too(monkeypatch, tmp_path, named):
    monkeypatch.syspath_prepend(str(WORKFLOW))
    import snakemake_process as launcher

    (tmp_path / "snakemake.py").write_text(STARTS_ONE_MORE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launcher, "SNAKEMAKE", [sys.executable, "snakemake.py"])
    monkeypatch.setattr(launcher, "_SECONDS_TO_END", 120 if named else 15)
    stopper = threading.Thread(target=_interrupt_once_there, args=(tmp_path / "started",))
    stopper.start()
    with launcher.StopSignals() as stops, pytest.raises(launcher.StopAskedError):
        launcher.run_snakemake(stops, *["x/.snakemake/scripts/worker.py"] * named, folder=tmp_path)
    stopper.join()
    worker = int((tmp_path / "late").read_text())
    _wait_for_the_end_of(worker)


def test_workers_of_a_snakemake_that_ends_at_once_are_ended(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(WORKFLOW))
    import snakemake_process as launcher

    command = [sys.executable, "-c", WORKER, "x/.snakemake/scripts/worker.py"]
    start = f"import subprocess, time; p = subprocess.Popen({command!r}); open('pid', 'w').write(str(p.pid))"
    child = subprocess.Popen([sys.executable, "-c", f"{start}; time.sleep(600)"], cwd=tmp_path, process_group=0)
    deadline = time.monotonic() + 60
    while not launcher._workers_of(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    def ended(number):
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(child, "send_signal", ended)
    (worker,) = launcher._workers_of(child)
    launcher._end(child)
    _wait_for_the_end_of(worker.pid)


def _wait_for_the_end_of(pid):
    deadline = time.monotonic() + 60
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _interrupt_once_there(file):
    while not file.is_file():
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_comes_as_snakemake_starts_ends_it(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(WORKFLOW))
    import snakemake_process as launcher

    monkeypatch.setattr(launcher, "SNAKEMAKE", [sys.executable, "-c", "import time; time.sleep(600)"])
    start, children = subprocess.Popen, []

    def start_and_signal(*arguments, **options):
        children.append(start(*arguments, **options))
        signal.raise_signal(signal.SIGTERM)
        return children[0]

    monkeypatch.setattr(launcher.subprocess, "Popen", start_and_signal)
    with launcher.StopSignals() as stops, pytest.raises(launcher.StopAskedError):
        launcher.run_snakemake(stops, folder=tmp_path)
    assert children[0].poll() is not None


def test_a_dry_run_leaves_the_lock_of_a_killed_run(launcher, tmp_path, monkeypatch):
    lock = tmp_path / ".snakemake" / "locks" / "0.input.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    asked = []
    monkeypatch.setattr(launcher, "run_snakemake", lambda stops, *arguments, folder: asked.append(arguments) or 0)
    monkeypatch.setattr(sys, "argv", ["run.py", "--directory", str(tmp_path), "-n"])
    assert launcher.main() == 0
    assert "--dry-run" in asked[0] and len(asked) == 1
    assert lock.is_file()


def test_the_lock_of_a_run_on_another_machine_stays_unasked(launcher, tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "queued_jobs", lambda folder: [])
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    path = tmp_path / "lock"
    path.write_text("another-machine")
    said = launcher.end_what_a_killed_run_left(tmp_path, path, force=False)
    assert said.startswith(f"a run on another-machine has locked {tmp_path}: ")
    assert launcher.end_what_a_killed_run_left(tmp_path, path, force=True) is None
    assert launcher.end_what_a_killed_run_left(tmp_path, path, force=False) is None  # of this machine now


def test_a_folder_that_can_be_written_is_no_problem(launcher, tmp_path):
    assert launcher.folder_problem(tmp_path) is None
    assert not list(tmp_path.rglob(".ntk-atlas*"))


def test_a_folder_that_cannot_be_written_is_named(launcher, tmp_path):
    (tmp_path / "results").write_text("a file")
    assert launcher.folder_problem(tmp_path).startswith(f"cannot write in {tmp_path / 'results'} (")


def test_a_full_disk_is_named(launcher, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")(2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert launcher.folder_problem(tmp_path) == f"the disk of {tmp_path} is full (1 MiB free): make room"


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Sets what `squeue` says (lines, or None: it fails) and what `scancel` does beside noting what it was told."""
    monkeypatch.syspath_prepend(str(WORKFLOW))
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=":")

    def program(name, commands):
        (programs / name).write_text(f"#!/bin/sh\n{commands}\n")
        (programs / name).chmod(0o755)

    def set_queue(lines, cancelling="true"):
        text = "".join(f"{line}\n" for line in lines or [])
        (tmp_path / "queue").write_text(text, errors="surrogateescape")
        program("squeue", "exit 1" if lines is None else f"cat {tmp_path}/queue")
        program("scancel", f'echo "$@" >> {tmp_path}/cancelled\n{cancelling}')

    return set_queue


def test_jobs_that_a_killed_run_left_in_the_queue_are_cancelled(tmp_path, monkeypatch, caplog, queue):
    import slurm_queue

    monkeypatch.setenv("SLURM_JOB_ID", "11")
    queue(
        [
            *(f"7|ntk-atlas-train_networks|{tmp_path}", f"8|other|{tmp_path}", f"9|ntk-atlas_1f|{tmp_path}"),
            *(f"10|ntk-atlas_1f|{tmp_path}/elsewhere", f"11|ntk-atlas-head|{tmp_path}", "a line of another kind"),
        ],
        f'echo "8|other|{tmp_path}" > {tmp_path}/queue',
    )
    assert slurm_queue.queued_jobs(tmp_path) == ["7", "9"]
    assert slurm_queue.cancel_jobs(tmp_path, ["7", "9"]) == []
    assert (tmp_path / "cancelled").read_text() == "7 9\n"
    assert slurm_queue.queued_jobs(tmp_path) == []
    queue(None)
    assert slurm_queue.queued_jobs(tmp_path) == []
    assert "squeue does not answer" in caplog.text
    monkeypatch.setenv("PATH", "")
    assert slurm_queue.queued_jobs(tmp_path) == []


def test_a_job_that_comes_in_late_is_cancelled_and_one_that_stays_is_named(tmp_path, queue, launcher, monkeypatch):
    import slurm_queue

    first, late = (f"{number}|ntk-atlas_1f|{tmp_path}" for number in (7, 12))
    queue([first], f'test "$1" = 7 && echo "{late}" > {tmp_path}/queue || : > {tmp_path}/queue')
    assert slurm_queue.cancel_jobs(tmp_path, ["7"]) == []
    assert (tmp_path / "cancelled").read_text() == "7\n12\n"
    queue([first])
    assert slurm_queue.cancel_jobs(tmp_path, ["7"], patience=0.1) == ["7"]
    monkeypatch.setattr(launcher, "cancel_jobs", lambda *jobs: slurm_queue.cancel_jobs(*jobs, patience=0.1))
    (tmp_path / "lock").write_text(socket.gethostname())
    said = launcher.end_what_a_killed_run_left(tmp_path, tmp_path / "lock", force=False)
    assert said == "1 job(s) of a run before this one (7) do not end: see `squeue --me`"


def test_a_squeue_that_fails_for_a_while_is_no_empty_queue(tmp_path, queue, monkeypatch):
    import slurm_queue

    job = f"7|ntk-atlas_1f|{tmp_path}"
    queue([job], f"test -e {tmp_path}/again && : > {tmp_path}/queue; touch {tmp_path}/again")
    fails_once = f"if test -e {tmp_path}/again && test ! -e {tmp_path}/failed; then touch {tmp_path}/failed; exit 1; fi"
    program = tmp_path / "bin" / "squeue"
    program.write_text(f"#!/bin/sh\n{fails_once}\ncat {tmp_path}/queue\n")
    assert slurm_queue.cancel_jobs(tmp_path, ["7"]) == []
    assert (tmp_path / "failed").exists()
    assert (tmp_path / "cancelled").read_text() == "7\n7\n"


def test_a_queue_is_asked_in_full_whatever_the_user_has_set_for_himself(tmp_path, queue, monkeypatch):
    import slurm_queue

    monkeypatch.setenv("SQUEUE_PARTITION", "another")
    queue([f"7|ntk-atlas_1f|{tmp_path}"])
    program = tmp_path / "bin" / "squeue"
    program.write_text(program.read_text().replace("\n", '\ntest -n "$SQUEUE_PARTITION" && exit\n', 1))
    assert slurm_queue.queued_jobs(tmp_path) == ["7"]


def test_a_queue_that_cannot_be_asked_is_no_error(tmp_path, queue, monkeypatch, caplog):
    import slurm_queue

    monkeypatch.setattr(slurm_queue.time, "sleep", lambda _: None)
    queue([])
    (tmp_path / "bin" / "squeue").write_text("#!/no/such/shell\n")
    assert slurm_queue.queued_jobs(tmp_path) == []
    assert "squeue does not answer" in caplog.text
    queue([f"7|ntk-atlas_1f|{tmp_path}", "8|\udcff|/x"])
    assert slurm_queue.queued_jobs(tmp_path) == ["7"]


JOB = """
import os, signal, subprocess, sys, time
child = None
if sys.argv[0] != "snakemake":
    child = subprocess.Popen([sys.executable, "snakemake", "--mode", "remote"])
else:
    signal.signal(signal.SIGTERM, lambda *_: None)
    open("started-" + os.environ["NAME"], "w").write(str(os.getpid()))
while True:
    time.sleep(1)
"""
"""A Snakemake that the cancellation of its job left behind: it waits for ever, whatever it is asked."""
STEP = f"""
import ctypes
ctypes.CDLL(None).prctl(15, b"slurmstepd")
{JOB}
"""
"""The same below a process with the name of Slurm's guard of a job step."""


def is_alive(number):
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_snakemake_of_a_job_that_is_over_is_ended_and_no_other(tmp_path, queue, monkeypatch):
    import orphans
    import slurm_queue

    monkeypatch.setattr(slurm_queue, "end", lambda processes: orphans.end(processes, patience=0.5))
    (tmp_path / "snakemake").write_text(JOB)
    (tmp_path / "step").write_text(STEP)
    job = [sys.executable, "snakemake", "--mode", "remote"]
    kinds = {
        "over": (job, {"SLURM_JOB_ID": "7"}),
        "queued": (job, {"SLURM_JOB_ID": "9"}),
        "watched": ([sys.executable, "step"], {"SLURM_JOB_ID": "7"}),
        "of another scheduler": (job, {}),
    }
    own = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    started = [
        subprocess.Popen(command, cwd=tmp_path, env={**own, "NAME": kind, **variables}, start_new_session=True)
        for kind, (command, variables) in kinds.items()
    ]
    notes = {kind: tmp_path / f"started-{kind}" for kind in kinds}

    def alive():
        return {kind for kind, note in notes.items() if is_alive(int(note.read_text()))}

    try:
        deadline = time.monotonic() + 120
        while not all(note.exists() and note.read_text() for note in notes.values()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        queue(None)
        slurm_queue.end_lost_jobs(tmp_path, patience=0.1)
        assert alive() == set(kinds)
        queue([f"9|ntk-atlas_1f|{tmp_path}"])
        slurm_queue.end_lost_jobs(tmp_path / "elsewhere")
        assert alive() == set(kinds)
        slurm_queue.end_lost_jobs(tmp_path, patience=0.1)
        deadline = time.monotonic() + 60
        while "over" in alive():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert alive() == {"queued", "watched", "of another scheduler"}
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_submission_under_way_is_waited_for_and_ended_if_it_hangs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(WORKFLOW))
    import orphans
    import slurm_queue

    shutil.copy2(shutil.which("sleep"), tmp_path / "sbatch")
    for seconds, patience, status in ((10, 120, 0), (600, 0.5, 1)):
        with subprocess.Popen(["sh", "-c", f"{tmp_path}/sbatch {seconds} || exit 1"], cwd=tmp_path) as process:
            deadline = time.monotonic() + 60
            while not orphans.submissions(tmp_path):
                assert time.monotonic() < deadline
            slurm_queue.wait_for_submissions(tmp_path, patience=patience)
            assert not orphans.submissions(tmp_path)
        assert process.returncode == status


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.syspath_prepend(str(WORKFLOW))
    import fcntl

    import folder_lock

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with folder_lock.locked(tmp_path):
        pass
    assert f"start only one run in {tmp_path}" in caplog.text
    (tmp_path / ".snakemake" / "ntk-atlas.lock").unlink()
    (tmp_path / ".snakemake" / "ntk-atlas.lock").mkdir()
    with pytest.raises(folder_lock.FolderLockError, match=r"cannot open .*ntk-atlas\.lock \(Is a directory\)"):
        with folder_lock.locked(tmp_path):
            pass


def test_jobs_of_a_run_on_another_machine_are_not_cancelled_unasked(tmp_path, launcher, monkeypatch):
    cancelled = []
    monkeypatch.setattr(launcher, "queued_jobs", lambda folder: [] if cancelled else ["7", "9"])
    monkeypatch.setattr(launcher, "cancel_jobs", lambda folder, jobs: cancelled.append(folder) or [])
    path = tmp_path / "lock"
    path.write_text("another-machine")
    said = launcher.end_what_a_killed_run_left(tmp_path, path, force=False)
    assert "2 job(s) of this folder are in the queue (7, 9), of a run on another-machine" in said
    assert "--cancel-queued" in said and not cancelled
    assert launcher.end_what_a_killed_run_left(tmp_path, path, force=True) is None
    assert cancelled == [tmp_path]
    cancelled.clear()
    assert launcher.end_what_a_killed_run_left(tmp_path, path, force=False) is None
    assert cancelled == [tmp_path]
    assert path.read_text() == socket.gethostname()
