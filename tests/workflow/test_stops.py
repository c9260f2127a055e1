"""A run that is asked to end, or cannot write, says one clear sentence and loses nothing that is finished."""

import contextlib
import os
import signal
import subprocess
import time

import psutil
import pytest
import xarray as xr

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def processes_of(project):
    return [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(project.folder)]


def wait_for(condition, run, timeout=240):
    deadline = time.monotonic() + timeout
    while not condition():
        assert run.poll() is None, run.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_end_ends_at_once(fresh, number):
    run = fresh.launch()
    wait_for(fresh.units, run)
    kept = fresh.units()
    run.send_signal(number)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 128 + number
    assert output.strip().splitlines()[-1] == "== stopped: finished work is kept, the same command goes on"
    assert "Traceback" not in output
    assert not processes_of(fresh)
    assert kept.items() <= fresh.units().items()


@pytest.fixture
def small_disk(fresh):
    """A disk of 90 MiB as the folder of results; only root may mount one."""
    results = fresh.folder / "results"
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", str(results)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield results
    subprocess.run(["umount", "-l", str(results)], check=True)


def test_a_folder_that_cannot_be_written_ends_in_one_sentence(fresh, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    run = fresh.launch()
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    (line,) = output.strip().splitlines()
    assert line.startswith(f"== nothing was run: cannot write in {small_disk} (Read-only file system)")


def test_a_disk_that_fills_in_the_middle_ends_in_one_sentence_and_loses_nothing(finished_once, fresh, small_disk):
    run = fresh.launch()
    wait_for(fresh.units, run)
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(2**16)):
            pass
    output, _ = run.communicate(timeout=240)
    kept = fresh.units()
    assert run.returncode == 1
    assert (
        output.strip()
        .splitlines()[-1]
        .startswith(
            f"== the study did not finish: the disk of {small_disk} is full (0 MiB free): make room, and run again"
        )
    )
    # By the job, or by Snakemake in its own records, whichever writes first.
    assert "the disk is full: make room" in output or "No space left on device" in output
    refused, _ = fresh.launch().communicate(timeout=60)
    assert refused.strip() == f"== nothing was run: the disk of {small_disk} is full (0 MiB free): make room"
    filler.unlink()
    again = fresh.launch()
    output, _ = again.communicate(timeout=600)
    assert again.returncode == 0, output
    assert kept.items() <= fresh.units().items()
    for name in ("results/one/cube.nc", "results/two/cube.nc"):
        first, second = (xr.open_dataset(project.folder / name).load() for project in (finished_once, fresh))
        xr.testing.assert_identical(first.drop_attrs(deep=False), second.drop_attrs(deep=False))
