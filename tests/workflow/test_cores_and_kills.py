"""The same numbers on any number of cores, and after a kill in the middle."""

import contextlib
import copy
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import xarray as xr
from conftest import Project
from workflow_micro import MICRO

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
CUBES = ("results/one/cube.nc", "results/two/cube.nc")
LONG = 400
"""Epochs of a training that is killed in the middle."""


def assert_same_numbers(first, second):
    for name in CUBES:
        a, b = (xr.open_dataset(project.folder / name).load() for project in (first, second))
        xr.testing.assert_identical(a.drop_attrs(deep=False), b.drop_attrs(deep=False))
        assert a.attrs["data_digest"] == b.attrs["data_digest"]


def test_one_core_gives_what_two_cores_give(finished_once, fresh):
    fresh.snakemake("--cores", "1", "--quiet", "all", "--", *CUBES)
    assert_same_numbers(finished_once, fresh)


def workers(folder):
    return [
        process
        for process in psutil.process_iter(["cwd", "cmdline"])
        if process.info["cwd"] == str(folder) and ".snakemake/scripts/" in " ".join(process.info["cmdline"] or [])
    ]


def kill_head_when(project, run, ready, timeout=240):
    """kill -9 of the launcher and of Snakemake, not of their workers, as soon as `ready()`."""
    deadline = time.monotonic() + timeout
    while not ready():
        assert run.poll() is None, run.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    heads = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    scripts = {worker.pid for worker in workers(project.folder)}
    for process in heads:
        with contextlib.suppress(psutil.NoSuchProcess):  # a job may just have ended
            if process.pid not in scripts and "/bin/bash" not in " ".join(process.cmdline()):
                process.send_signal(signal.SIGKILL)
    run.wait(timeout=60)
    psutil.wait_procs([process for process in heads if process.pid not in scripts], timeout=30)


def test_a_killed_run_goes_on_where_it_was(finished_once, fresh):
    run = fresh.launch()
    kill_head_when(fresh, run, lambda: len(fresh.units()) >= 3)
    done = fresh.units()
    assert not (fresh.folder / "results/one/cube.nc").exists()

    plain = fresh.snakemake("--cores", "2", check=False)
    assert "make run" in plain
    assert "--unlock" in plain

    again = fresh.launch()
    output, _ = again.communicate(timeout=600)
    assert again.returncode == 0, output
    assert "unlocking the folder" in output
    assert not workers(fresh.folder)
    after = fresh.units()
    assert {name: after[name] for name in done} == done
    assert (fresh.folder / "results/report.html").stat().st_size > 100_000
    assert_same_numbers(finished_once, fresh)


def files(project):
    """All results; neither the report, which only the launcher writes, nor what is noted of them."""
    results = project.folder / "results"
    found = {path.relative_to(results) for path in results.rglob("*") if path.is_file()}
    return {path for path in found if not {"report.html", "snakemake_records", ".digests"} & set(path.parts)}


def arrays(path):
    """What a result holds, by variable."""
    if path.suffix == ".npz":
        with np.load(path) as unit:
            return {name: unit[name] for name in unit.files}
    with xr.open_dataset(path, decode_times=False) as data:
        return {name: data[name].values for name in data.variables}


def assert_same_results(first, second):
    """The same files, with the same arrays in them, bit by bit."""
    assert files(first) == files(second)
    for path in sorted(files(first)):
        if path.suffix in (".nc", ".npz"):
            one, two = (arrays(project.folder / "results" / path) for project in (first, second))
            assert one.keys() == two.keys(), path
            for name in one:
                np.testing.assert_array_equal(one[name], two[name], err_msg=f"{path}: {name}", strict=True)


def kill_all(project, run, *, workers_too):
    """kill -9 of the launcher and of Snakemake, and perhaps of their workers in the same moment."""
    spared = set() if workers_too else {worker.pid for worker in workers(project.folder)}
    heads = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)] if run.poll() is None else []
    for process in heads:
        if process.pid not in spared:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
    run.communicate()
    psutil.wait_procs([process for process in heads if process.pid not in spared], timeout=30)


def test_ten_kills_at_random_moments_change_no_number(finished_once, fresh):
    moments = random.Random(20261128)
    kills, longest = 0, 12.0
    while kills < 10:
        run = fresh.launch(stdout=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(timeout=moments.uniform(1.0, longest))
        if run.poll() is not None:  # it got to its end: everything anew, or there is nothing to kill
            assert run.returncode == 0
            shutil.rmtree(fresh.folder / "results")
            continue
        kill_all(fresh, run, workers_too=kills % 2 == 0)
        kills += 1
    again = fresh.launch()
    output, _ = again.communicate(timeout=600)
    assert again.returncode == 0, output
    assert not workers(fresh.folder)
    assert_same_results(finished_once, fresh)


def one_long_training():
    """A study of a single block of networks, which trains with minibatches for some seconds."""
    experiment = copy.deepcopy(MICRO["experiments"]["two"])
    experiment["grid"] |= {"n_train": [32], "draws": 1}
    experiment["training"] |= {
        "batch_size": 4, "learning_rate": {"relative": 0.01}, "max_epochs": LONG,
        "checkpoints": {"epochs": [0, LONG], "n_probe": 6},
    }  # fmt: skip
    experiment["show"] = []
    return {"experiments": {"one": experiment}, "jobs": {"save_training_seconds": 0}}


def test_a_training_killed_in_the_middle_goes_on_from_its_state(fresh):
    fresh.config = one_long_training()
    # However slow the disk is: each epoch writes a state.
    share = "max(self.resume.every, cost / self.resume.share)"
    fresh.edit("src/ntk_atlas/training/callbacks.py", share, "self.resume.every")
    fresh.snakemake("--cores", "2", "--quiet", "all")
    undisturbed = Project(fresh.folder.with_name("undisturbed"))
    undisturbed.folder.mkdir()
    (fresh.folder / "results").rename(undisturbed.folder / "results")

    run = fresh.launch()
    units = fresh.folder / "results/one/units/networks"
    written, deadline = set(), time.monotonic() + 240
    while len(written) < 3:  # the first state is that of the first epoch
        written |= {(state, state.stat().st_mtime_ns) for state in units.rglob("progress-*.ckpt")}
        assert run.poll() is None, run.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    kill_all(fresh, run, workers_too=True)
    (state,) = {state for state, _ in written}
    assert state.exists()
    assert not fresh.units()
    command = [sys.executable, "workflow/status.py"]
    said = subprocess.run(command, cwd=fresh.folder, capture_output=True, text=True, timeout=60).stdout
    assert said == "one: 0 of 1 cells, 0 of 2 networks: 2 missing (2 half trained); no cube yet\n"
    for place in (state, fresh.folder / "results/one/cube.nc"):
        place.with_name(f".{place.name}.123.tmp").write_bytes(b"as if it had been killed while it wrote")
    (fresh.folder / "results/one/.figure.png.45.tmp").write_bytes(b"likewise")

    again = fresh.launch()
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    (log,) = (fresh.folder / "logs/one/train_networks").glob("*.log")
    (epoch,) = re.findall(r"going on from epoch (\d+), reached in", log.read_text())
    assert 1 < int(epoch) < LONG
    assert "diverged" not in log.read_text()
    assert not [path for path in files(fresh) if path.suffix in (".ckpt", ".tmp")]
    assert_same_results(undisturbed, fresh)


def test_a_second_run_in_the_same_folder_is_refused(fresh):
    (fresh.folder / ".snakemake").mkdir()
    import fcntl

    with (fresh.folder / ".snakemake" / "ntk-atlas.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        output, _ = fresh.launch().communicate(timeout=60)
    assert "another run is under way" in output


def test_a_damaged_unit_is_named_and_trained_again(finished):
    name = next(iter(finished.units()))
    path = finished.folder / name
    good = np.load(path)["weights"]
    path.write_bytes(path.read_bytes()[:1000])
    row = path.parents[2].name
    (finished.folder / "results/one/networks" / f"{row}.nc").unlink()
    finished.snakemake("--cores", "2", "--quiet", "all", "--", f"results/one/networks/{row}.nc")
    assert (
        "is damaged: it is removed and computed again"
        in (finished.folder / f"logs/one/train_networks/{row}.log").read_text()
    )
    assert np.array_equal(np.load(path)["weights"], good)
    assert pathlib.Path(path).stat().st_mtime > 0


def flip(path, at):
    """Flips a bit of a file whose times stay."""
    content, times = bytearray(path.read_bytes()), path.stat()
    content[at] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_truncated_changed_and_foreign_results_are_named_and_made_again(finished_once, finished):
    """Of one project: files cut off, with flipped bits, of another kind, of another cell and of another study."""
    results = finished.folder / "results/one"
    row = next(iter(sorted((results / "networks").glob("*.nc"))))
    flipped = [results / "cube.nc", results / "summary.csv", results / "figures/error_map.svg"]
    for path in flipped:
        flip(path, path.stat().st_size // 2)
    laws = results / "scaling_laws.nc"
    laws.write_bytes(laws.read_bytes()[:-10])
    row.write_text("not a result")
    units = finished.folder / "results/one/units/networks" / row.stem
    (there,), (here,) = (list(units.glob(f"n_train-8_draw-{draw}/*/*.npz")) for draw in (0, 1))
    shutil.copy2(there, here)
    for name in ("scaling_laws.csv", "exponent_differences.csv"):
        shutil.copy2(results / name, finished.folder / "results/two" / name)
    before = finished.units()
    output, _ = finished.launch().communicate(timeout=600)
    for path in (*flipped, laws, row):
        assert f"{path} is damaged (not what its job wrote): removed, it is made again" in output
    log = (finished.folder / f"logs/one/train_networks/{row.stem}.log").read_text()
    assert (
        f"{here.relative_to(finished.folder)} is damaged: it is removed and computed again (it is another unit" in log
    )
    after = finished.units()
    assert {name for name in before if before[name] != after[name]} == {str(here.relative_to(finished.folder))}
    assert "2 results are not of this config but of an earlier one, for example results/two/" in output
    assert row.stat().st_size > 1000
    assert_same_numbers(finished_once, finished)
