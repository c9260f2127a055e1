"""`make migrate`: units of an earlier version are kept where this version gives bitwise the same, and only there."""

import shutil
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.xdist_group("workflow")]

HARMLESS = ("\nfrom ", "\nEXTRA = 1\nfrom ")
"""A line of code that changes the digest of a module, and no number."""


def earlier_version(project, folder):
    """A copy of the code with which the project's results were made."""
    for name in ("src", "workflow", "config"):
        shutil.copytree(project.folder / name, folder / name)
    return folder


def test_units_whose_numbers_are_the_same_are_kept(finished, tmp_path):
    earlier = earlier_version(finished, tmp_path / "earlier")
    before = {stage: finished.units(stage) for stage in ("networks", "initial_ntk", "trained_ntk")}
    cube = (finished.folder / "results/one/networks").glob("*.nc")
    assert all(before.values()) and list(cube)
    finished.edit("src/ntk_atlas/training/train.py", *HARMLESS)
    finished.edit("src/ntk_atlas/jobs/regress_empirical.py", *HARMLESS)
    assert finished.plan()["train_networks"] == 3
    said = finished.ask("migrate", "--from", str(earlier))
    for stage, number in (("networks", 12), ("initial_ntk", 4), ("trained_ntk", 12)):
        assert f"one, {stage}: {number} units are this version's too" in said
    assert "two, trained_ntk" not in said and "other numbers" not in said
    after = {stage: finished.units(stage) for stage in before}
    for stage, units in before.items():
        assert len(after[stage]) == len(units) and not set(after[stage]) & set(units)
    assert "24 of 24 networks" in finished.ask("status")
    finished.snakemake("--cores", "2", "--quiet", "all")
    assert {stage: finished.units(stage) for stage in before} == after, "a finished unit was computed again"
    assert "nothing to do" in finished.ask("migrate", "--from", str(earlier))


def test_units_whose_numbers_are_others_stay(finished, tmp_path):
    earlier = earlier_version(finished, tmp_path / "earlier")
    finished.edit(
        "src/ntk_atlas/jobs/train_networks.py", "    return trained.labelled()", "    return CHANGED(trained)"
    )
    path = finished.folder / "src/ntk_atlas/jobs/train_networks.py"
    path.write_text(
        path.read_text()
        + "\n\ndef CHANGED(trained):\n    trained.train_mse[...] *= 1.0 + 1e-6\n    return trained.labelled()\n"
    )
    before = {stage: finished.units(stage) for stage in ("networks", "trained_ntk")}
    said = finished.ask("migrate", "--from", str(earlier))
    assert "one, networks: this version gives other numbers (train_mse); its units stay as they are" in said
    assert "trained_ntk" not in said, "kernels of networks that this version trains to other numbers"
    assert {stage: finished.units(stage) for stage in before} == before


def test_a_folder_without_a_version_is_named(fresh, tmp_path):
    command = [sys.executable, "workflow/migrate.py", "--from", str(tmp_path)]
    done = subprocess.run(command, cwd=fresh.folder, capture_output=True, text=True)
    assert done.returncode == 1 and f"{tmp_path} holds no version of NTK Atlas" in done.stderr
