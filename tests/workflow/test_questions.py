"""`make status`, `make why` and `make clean-orphans`: what they say is what is."""

import fcntl
import subprocess
import sys

import pandas as pd
import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]  # they share a finished study


def files(project):
    found = (project.folder / "results").rglob("*")
    return {file for file in found if file.is_file() and "snakemake_records" not in file.parts}


def test_status_counts_what_the_summary_counts_and_what_is_missing(finished):
    counted = pd.read_csv(finished.folder / "results/one/summary.csv").iloc[-1]
    said = finished.ask("status")
    reached, spent = counted["reached target"], counted["budget spent"]
    expected = [f"{n} {word}" for n, word in ((reached, "converged"), (spent, "budget spent")) if n]
    assert f"one: 6 of 6 cells, 24 of 24 networks: {', '.join(expected)}; its cube is there" in said
    assert "all: 8 of 8 cells, 32 of 32 networks" in said
    unit = next(name for name in finished.units() if name.startswith("results/one"))
    (finished.folder / unit).unlink()
    said = finished.ask("status")
    assert "one: 5 of 6 cells, 22 of 24 networks" in said
    assert "2 missing" in said


def test_status_before_a_run(fresh):
    assert "one: 0 of 6 cells, 0 of 24 networks: 24 missing; no cube yet" in fresh.ask("status")


def test_status_with_half_trained_networks(finished):
    """Half trained is a network with a state, and neither a result nor the mark of its time limit."""
    lost, there = (finished.folder / name for name in list(finished.units())[:2])
    lost.unlink()
    for seeds in ("0", "1", "2-3"):  # the last ones are of more seeds than these settings have
        lost.with_name(f"progress-seeds-{seeds}.ckpt").touch()
    lost.with_name("timed_out-seeds-1").touch()
    there.with_name(f"progress-{there.stem}.ckpt").touch()
    said = finished.ask("status")
    assert "one: 5 of 6 cells, 23 of 24 networks" in said
    assert "1 timed out, 1 missing (1 half trained); an earlier cube is there" in said


def test_why_names_keys_modules_and_files(finished):
    assert finished.ask("why") == "nothing would run\n"
    config = finished.config
    config["experiments"]["two"]["training"]["learning_rate"] = {"relative": 0.4}
    config["experiments"]["one"]["grid"]["width"] = [4, 6, 8]
    finished.config = config
    finished.edit("src/ntk_atlas/figures/kernel_drift.py", "\nimport ", "\nEXTRA = 1\nimport ")
    (finished.folder / "results/one/summary.csv").unlink()
    said = finished.ask("why")
    trained = (
        "two: train_networks, 1 job (depth-1_width-4_init_scale-2.0)\n    training.learning_rate.relative: 0.3 → 0.4"
    )
    assert trained in said
    assert "one: train_networks, 1 job (depth-1_width-6_init_scale-2.0)\n    its result is not there yet" in said
    assert "one: summarize_cube, 1 job\n    its result is not there yet" in said
    assert "two: regress_empirical, 1 job (depth-1_width-4_init_scale-2.0)\n    training.learning_rate" not in said
    assert "two: regress_empirical, 1 job (depth-1_width-4_init_scale-2.0)\n    follows train_networks" in said
    assert f"{finished.plan().total() - 1} jobs would run" in said


def test_why_names_the_module_that_was_edited(finished):
    finished.edit("src/ntk_atlas/figures/kernel_drift.py", "\nimport ", "\nEXTRA = 1\nimport ")
    assert "plot_figure, 1 job (kernel_drift)\n    code: figures/kernel_drift.py" in finished.ask("why")


@pytest.mark.slow
def test_orphans_are_what_a_smaller_grid_leaves_and_nothing_else(finished):
    before = files(finished)
    assert "no orphans" in finished.ask("clean_orphans")
    (finished.folder / "results/old").mkdir()
    (finished.folder / "results/old/cube.nc").write_text("")
    config = finished.config
    config["experiments"]["one"]["grid"] |= {"width": [4], "n_train": [8, 16, 32], "seeds": 1}
    finished.config = config
    finished.snakemake("--cores", "2", "--quiet", "all")
    said = finished.ask("clean_orphans")
    assert "nothing was removed" in said
    assert "results/old: 1 files" in said
    assert before <= files(finished)
    finished.ask("clean_orphans", "--yes")
    gone = {str(file.relative_to(finished.folder)) for file in before - files(finished)}
    assert gone
    assert all("width-8" in name for name in gone), gone
    assert not (finished.folder / "results/old").exists()
    assert finished.plan() == {}
    assert "no orphans" in finished.ask("clean_orphans")


@pytest.mark.slow
def test_no_orphans_in_what_overlays_need_together_or_at_a_preset(finished):
    """One overlay sets a width, the other a size, only both together need the cell; a preset needs another."""
    texts = {
        "width.yaml": "experiments: {one: {grid: {width: [12]}}}",
        "size.yaml": "experiments: {one: {grid: {n_train: [12]}}}",
        "large.yaml": "presets: {large: {experiments: {one: {grid: {width: [10]}}}}}",
    }
    for name, text in texts.items():
        (finished.folder / name).write_text(text)
    base = "config/config.yaml"
    both, large = (base, "width.yaml", "size.yaml"), (base, "large.yaml", "--config", "preset=large")
    run = ("--cores", "2", "--quiet", "all", "--configfile")
    finished.snakemake(*run, *both, "--", "results/one/networks/depth-1_width-12_init_scale-2.0.nc")
    finished.snakemake(*run, *large, "--", "results/one/networks/depth-1_width-10_init_scale-2.0.nc")
    everything = ("--configfile", *both, "large.yaml")
    assert "no orphans" in finished.ask("clean_orphans", *everything)
    said = finished.ask("clean_orphans", "--configfile", base, "width.yaml", "size.yaml")
    assert "width-10" in said
    assert "width-12" not in said
    (finished.folder / "width.yaml").write_text("experiments: {one: [")
    command = [sys.executable, "workflow/clean_orphans.py", "--yes", *everything]
    broken = subprocess.run(command, cwd=finished.folder, capture_output=True, text=True, timeout=300)
    assert broken.returncode == 1
    assert "nothing was removed: width.yaml, line 1: is not YAML" in broken.stderr


def test_nothing_is_removed_while_a_run_is_under_way(fresh):
    lock = fresh.folder / ".snakemake/ntk-atlas.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        command = [sys.executable, "workflow/clean_orphans.py", "--yes"]
        refused = subprocess.run(command, cwd=fresh.folder, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert refused.stderr == f"another run is under way in {fresh.folder}: wait for it, or end it\n"
