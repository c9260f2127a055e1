"""The study through a real Slurm of one node: the same cube as locally, whatever happens to a job or to the run."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import one_node_slurm
import psutil
import pytest
import xarray as xr

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

CUBE = "results/two/cube.nc"
SOON = ["--latency-wait", "10", "--seconds-between-status-checks", "1", "--retries", "0"]
"""What makes a run notice within seconds; on a real cluster it would bother the controller."""
PROFILES = {
    "slurm-no-accounting": [*SOON, "--slurm-init-seconds-before-status-checks", "2"],
    "cluster-generic": SOON,
}


@pytest.fixture(scope="module")
def slurm():
    if os.geteuid():
        pytest.skip("a Slurm's daemons must belong to root")
    with one_node_slurm.one_node_slurm() as logs:
        yield logs


@pytest.fixture
def project(slurm, fresh):
    """A project whose training waits as long as there is a file `wait`, at most five minutes."""
    path = fresh.folder / "src/ntk_atlas/jobs/train_networks.py"
    waiting = (
        "import os, time\nlast = time.time() + 300\n"
        "while os.path.exists('wait') and time.time() < last:\n    time.sleep(0.2)\n"
    )
    text = path.read_text()
    below_the_head = text.index("\nlog = ") + 1  # a plan reads the head alone
    path.write_text(text[:below_the_head] + waiting + text[below_the_head:])
    yield fresh
    for process in psutil.process_iter(["cwd"]):  # what Slurm lost of cancelled jobs
        if process.info["cwd"] == str(fresh.folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def command(profile, *targets):
    launcher = [sys.executable, "workflow/run.py"] if not targets else [sys.executable, "-m", "snakemake"]
    return [*launcher, "--profile", f"profiles/{profile}", *PROFILES[profile], *(["--", *targets] if targets else [])]


def run(project, profile, *targets, code=0):
    done = subprocess.run(
        command(profile, *targets), cwd=project.folder, capture_output=True, text=True, timeout=600
    )  # fmt: skip
    text = done.stdout + done.stderr
    assert done.returncode == code, text
    return text


@contextlib.contextmanager
def started(project, words):
    """A run under way; nothing of it outlives a test that fails."""
    head = subprocess.Popen(
        words, cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield head
    finally:
        if head.poll() is None:
            kill(head)
        head.communicate()


def kill(head):
    """kill -9 of a run's launcher and Snakemake."""
    for process in [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def start(project, profile, *targets):
    return started(project, command(profile, *targets))


def read_until(head, pattern):
    """What a run says up to a line; the test fails if it ends without it."""
    text = ""
    for line in iter(head.stdout.readline, ""):
        text += line
        if re.search(pattern, line):
            return text
    raise AssertionError(text)


def queued(project, state):
    return [job["id"] for job in one_node_slurm.jobs(state=state) if job["folder"] == str(project.folder)]


def wait_for(condition, timeout=240):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def waiting_processes(project):
    """The processes of training jobs at work, which have their logs open."""
    found = []
    for process in psutil.process_iter(["cwd", "cmdline"]):
        script = ".snakemake/scripts/" in " ".join(process.info["cmdline"] or [])
        if process.info["cwd"] == str(project.folder) and script:
            with contextlib.suppress(psutil.Error):
                if any("/train_networks/" in file.path for file in process.open_files()):
                    found.append(process)
    return found


def is_training(project):
    return bool(waiting_processes(project)) and bool(queued(project, "running"))


def assert_local_cube(project, finished_once, *cubes):
    for name in cubes:
        found, expected = (xr.open_dataset(each.folder / name).load() for each in (project, finished_once))
        xr.testing.assert_identical(found.drop_attrs(deep=False), expected.drop_attrs(deep=False))


@pytest.mark.parametrize("profile", PROFILES)
def test_the_study_through_slurm_gives_the_local_cubes(project, finished_once, profile):
    run(project, profile, "results/one/cube.nc", CUBE)
    assert_local_cube(project, finished_once, "results/one/cube.nc", CUBE)
    assert one_node_slurm.finished_states(project.folder) == {"COMPLETED"}


def test_a_failing_job_is_named_and_the_rest_goes_on(project, finished_once):
    script, first = project.folder / "src/ntk_atlas/jobs/regress_empirical.py", "def compute(part: Slice, given: Given)"
    sound = script.read_text()
    head, _, rest = sound.partition(first)
    assert rest.startswith(" -> LabelledArrays:\n")
    broken = rest.replace(":\n", ":\n    raise RuntimeError('broken on purpose')\n", 1)
    script.write_text(head + first + broken)
    text = run(project, "slurm-no-accounting", CUBE, code=1)
    assert "regress_empirical" in text
    assert "broken on purpose" in text
    assert list(project.folder.glob("results/two/networks/*.nc"))
    script.write_text(sound)
    trained = project.units()
    run(project, "slurm-no-accounting", CUBE)
    assert project.units() == trained
    assert_local_cube(project, finished_once, CUBE)


def test_a_job_over_its_time_limit_is_tried_again_with_more(project, finished_once):
    (project.folder / "wait").touch()
    with start_with_minute(project) as head:
        wait_for(lambda: "TIMEOUT" in one_node_slurm.finished_states(project.folder), timeout=300)
        (project.folder / "wait").unlink()
        text, _ = head.communicate(timeout=300)
    assert head.returncode == 0, text
    assert re.search(r"[Tt]rying to restart job", text)
    assert_local_cube(project, finished_once, CUBE)


def start_with_minute(project):
    """A run whose training has a minute at first, two when it is tried again."""
    words = command("slurm-no-accounting", CUBE)
    place = words.index("--")
    more = ["--set-resources", "train_networks:runtime=1*attempt", "--retries", "1"]
    return started(project, [*words[:place], *more, *words[place:]])


@pytest.mark.parametrize("profile", PROFILES)
def test_a_cancelled_job_ends_the_run_and_the_next_goes_on(project, finished_once, profile):
    (project.folder / "wait").touch()
    with start(project, profile, CUBE) as head:
        wait_for(lambda: is_training(project))
        subprocess.run(["scancel", *queued(project, "running")], check=True)
        text, _ = head.communicate(timeout=300)
    assert head.returncode == 1, text
    wait_for(lambda: not queued(project, "running,completing"))
    assert "CANCELLED" in one_node_slurm.finished_states(project.folder)
    (project.folder / "wait").unlink()
    run(project, profile, CUBE)
    assert_local_cube(project, finished_once, CUBE)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_killed_head_leaves_jobs_that_the_next_run_cancels(project, finished_once, profile):
    (project.folder / "wait").touch()
    with start(project, profile) as head:
        wait_for(lambda: is_training(project))
        kill(head)
    left = queued(project, "running,pending")
    assert left
    with start(project, profile) as head:
        text = read_until(head, r"cancelling \d+ job\(s\) in the queue")
        (project.folder / "wait").unlink()
        text += head.communicate(timeout=600)[0]
    assert head.returncode == 0, text
    assert "unlocking the folder" in text
    assert (project.folder / "results/report.html").is_file()
    assert_local_cube(project, finished_once, "results/one/cube.nc", CUBE)
