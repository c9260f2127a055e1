"""Only what depends on a change is computed: jobs that a dry run plans, and units that a run trains."""

import os
import shutil
import time

import numpy as np
import pytest
import xarray as xr
import yaml
from conftest import copy_repository

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]  # they share a finished study
AFTER_CUBE = {
    "fit_scaling_laws": 1, "summarize_cube": 1, "plot_figure": 6, "write_page": 1, "tabulate_costs": 1, "all": 1,
}  # fmt: skip


def change(project, experiment, section, key, value):
    config = project.config
    config["experiments"][experiment].setdefault(section, {})[key] = value
    project.config = config


def test_nothing_changed_nothing_runs(finished):
    assert finished.plan() == {}


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda grid: grid | {"n_train": [32, 8, 16]}, id="order of a list"),
        pytest.param(lambda grid: grid | {"init_scale": [2]}, id="2.0 written as 2"),
        pytest.param(lambda grid: dict(reversed(grid.items())), id="order of keys"),
    ],
)
def test_another_way_to_write_the_same_config_runs_nothing(finished, alter):
    config = finished.config
    config["experiments"]["one"]["grid"] = alter(config["experiments"]["one"]["grid"])
    finished.config = config
    assert finished.plan() == {}


def test_the_text_of_the_config_may_change_where_its_contents_do_not(finished):
    file = finished.folder / "config" / "config.yaml"
    before = file.read_text()
    text = "# A remark.\n\n\n" + before.replace("\n", "   # another\n", 1)
    for old, new in (
        ("source: digits\n", 'source: "digits"\n\n'),
        ("seeds: 2\n", "seeds: 2  # few\n"),
        ("  two:\n", "  'two':\n"),
        ("dpi: 50\n", "dpi:\n    50\n"),
    ):
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    assert text != before and finished.config == yaml.safe_load(before)
    assert finished.plan() == {}


def test_a_new_sample_count_trains_only_its_units(finished):
    before = finished.units()
    change(finished, "one", "grid", "n_train", [8, 16, 24, 32])
    assert finished.plan() == {
        "train_networks": 2, "regress_empirical": 2, "regress_infinite": 1,
        "regress_rivals": 1, "assemble_cube": 1, **AFTER_CUBE,
    }  # fmt: skip
    finished.snakemake("--cores", "2", "--quiet", "all", "--", "results/one/cube.nc")
    after = finished.units()
    assert {name: after[name] for name in before} == before
    new = set(after) - set(before)
    assert len(new) == 2 * 2
    assert all("n_train-24_" in name for name in new)


def test_a_new_width_trains_its_row_only(finished):
    before = finished.units()
    change(finished, "one", "grid", "width", [4, 6, 8])
    assert finished.plan() == {
        "train_networks": 1, "regress_empirical": 1, "assemble_cube": 1, **AFTER_CUBE,
    }  # fmt: skip
    finished.snakemake("--cores", "2", "--quiet", "all", "--", "results/one/cube.nc")
    new = set(finished.units()) - set(before)
    assert len(new) == 3 * 2
    assert all("width-6_" in name for name in new)


def test_a_new_depth_and_a_new_draw_train_only_their_units(finished):
    change(finished, "one", "grid", "depth", [1, 2])
    assert finished.plan() == {
        "train_networks": 2, "regress_empirical": 2, "regress_infinite": 1, "assemble_cube": 1, **AFTER_CUBE,
    }  # fmt: skip
    change(finished, "one", "grid", "draws", 3)
    assert finished.plan() == {
        "train_networks": 4, "regress_empirical": 4, "regress_infinite": 1,
        "regress_rivals": 1, "assemble_cube": 1, **AFTER_CUBE,
    }  # fmt: skip
    before = finished.units()
    rows = [f"results/one/networks/depth-{depth}_width-4_init_scale-2.0.nc" for depth in (1, 2)]  # one width will do
    finished.snakemake("--cores", "2", "--quiet", "all", "--", *rows)
    after = finished.units()
    assert {name: after[name] for name in before} == before
    new = set(after) - set(before)
    assert sum("depth-2_" in name for name in new) == 3 * 3
    assert sum("depth-1_" in name and "draw-2/" in name for name in new) == 3
    assert len(new) == 3 * 3 + 3


def test_a_new_seed_trains_only_that_seed(finished):
    before = finished.units()
    change(finished, "one", "grid", "seeds", 3)
    assert finished.plan()["train_networks"] == 2
    finished.snakemake("--cores", "2", "--quiet", "all", "--", "results/one/cube.nc")
    new = set(finished.units()) - set(before)
    assert len(new) == 2 * 3 * 2
    assert all(name.endswith("seeds-2.npz") for name in new)


def test_a_learning_rate_trains_its_own_experiment_only(finished):
    change(finished, "two", "training", "learning_rate", {"relative": 0.4})
    after = {**AFTER_CUBE, "plot_figure": 4}
    del after["fit_scaling_laws"]  # two sizes give no law
    assert finished.plan() == {"train_networks": 1, "regress_empirical": 1, "assemble_cube": 1, **after}


def test_two_settings_swapped_are_a_change(finished):
    config = finished.config
    rates = [config["experiments"][name]["training"]["learning_rate"] for name in ("one", "two")]
    for name, rate in zip(("two", "one"), rates, strict=True):
        config["experiments"][name]["training"]["learning_rate"] = rate
    finished.config = config
    assert finished.plan()["train_networks"] == 3


def test_two_settings_of_one_experiment_swapped_are_a_change(finished):
    config = finished.config
    dataset = config["experiments"]["one"]["dataset"]
    dataset["n_validation"], dataset["n_test"] = dataset["n_test"], dataset["n_validation"]
    finished.config = config
    assert finished.plan()["train_networks"] == 2


def test_a_figure_option_redraws_and_nothing_else(finished):
    config = finished.config
    config["figures"]["dpi"] = 60
    finished.config = config
    assert finished.plan() == {"plot_figure": 10, "write_page": 1, "all": 1}


def test_a_ridge_regresses_again_and_trains_nothing(finished):
    change(finished, "one", "regression", "ridge_grid", [0.01, 0.1, 1.0])
    plan = finished.plan()
    assert "train_networks" not in plan
    assert plan["regress_empirical"] == 2
    assert plan["regress_rivals"] == 1


def test_a_predictor_added_is_the_only_one_computed(finished):
    change(finished, "one", "regression", "predictors", ["ntk_init", "ntk_final", "infinite_ntk", "laplace", "rbf"])
    assert finished.plan() == {"regress_rivals": 1, "assemble_cube": 1, **AFTER_CUBE}


@pytest.mark.parametrize(
    ("section", "key", "value", "joined"),
    [
        pytest.param("grid", "width", [4], {}, id="a width"),
        pytest.param(
            "grid",
            "n_train",
            [8, 32],
            {"train_networks": 2, "regress_empirical": 2},
            id="a size",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "grid", "seeds", 1, {"train_networks": 2, "regress_empirical": 2}, id="a seed", marks=pytest.mark.slow
        ),
    ],
)
def test_a_value_removed_from_the_grid_trains_nothing(finished, section, key, value, joined):
    before = finished.units()
    change(finished, "one", section, key, value)
    plan = finished.plan()
    assert {rule: n for rule, n in plan.items() if rule in ("train_networks", "regress_empirical")} == joined
    finished.snakemake("--cores", "2", "--quiet", "all", "--", "results/one/cube.nc")
    assert finished.units() == before


@pytest.mark.slow
def test_another_way_to_group_seeds_trains_nothing(finished):
    before = finished.units()
    change(finished, "one", "training", "seeds_per_unit", 1)
    change(finished, "one", "training", "target_mse", 0.5)
    finished.snakemake("--cores", "2", "--quiet", "all", "--", "results/one/cube.nc")
    assert finished.units() == before


@pytest.mark.slow
def test_init_scales_that_share_a_job_train_nothing_again(finished):
    def run(init_scales_per_job):
        config = finished.config
        config["jobs"] = {"init_scales_per_job": init_scales_per_job}
        finished.config = config
        plan = finished.plan()
        finished.snakemake("--cores", "2", "--quiet", "all", "--", "results/one/cube.nc")
        return plan, xr.open_dataset(finished.folder / "results/one/cube.nc").load()

    stages = ("networks", "initial_ntk", "trained_ntk")
    before = {stage: finished.units(stage) for stage in stages}
    change(finished, "one", "grid", "init_scale", [1.0, 2.0, 3.0])
    plan, in_pairs = run(2)
    assert (plan["train_networks"], plan["regress_empirical"]) == (2 * 2, 2 * 2)
    pairs = {stage: finished.units(stage) for stage in stages}
    for stage in stages:
        assert {name: pairs[stage][name] for name in before[stage]} == before[stage]
        new = set(pairs[stage]) - set(before[stage])
        assert {name.split("init_scale-")[1].split("/")[0] for name in new} == {"1.0", "3.0"}
    plan, together = run(3)
    assert (plan["train_networks"], plan["regress_empirical"]) == (2, 2)
    assert "regress_infinite" not in plan
    assert {stage: finished.units(stage) for stage in stages} == pairs
    xr.testing.assert_identical(together.drop_attrs(), in_pairs.drop_attrs())


def test_an_edit_in_figures_redraws_only(finished):
    finished.edit("src/ntk_atlas/figures/kernel_drift.py", "\nimport ", "\nEXTRA = 1\nimport ")
    assert finished.plan() == {"plot_figure": 2, "all": 1}
    finished.edit("src/ntk_atlas/figures/parts/look.py", "\nimport ", "\nEXTRA = 1\nimport ")
    assert finished.plan() == {"plot_figure": 10, "write_page": 1, "all": 1}


def test_an_edit_in_the_kernel_module_reaches_what_computes_kernels(finished):
    finished.edit("src/ntk_atlas/kernels/empirical/ntk.py", "\nfrom ", "\nEXTRA = 1\nfrom ")
    plan = finished.plan()
    assert (plan["train_networks"], plan["regress_empirical"]) == (3, 3)
    assert "regress_rivals" not in plan
    assert "prepare_dataset" not in plan


def test_comments_docstrings_and_touched_files_run_nothing(finished):
    finished.edit("src/ntk_atlas/kernels/empirical/ntk.py", "\nfrom ", "\n# a remark\nfrom ")
    finished.edit("src/ntk_atlas/streams.py", '"""Explicit random', '"""Very explicit random')
    stamp = time.time() + 5
    for pattern in ("config/config.yaml", "workflow/scripts/*.py", "results/*/dataset.nc", "results/*/networks/*.nc"):
        for file in finished.folder.glob(pattern):
            os.utime(file, (stamp, stamp))
    assert finished.plan() == {}


def test_predictors_in_another_order_join_the_cube_only(finished):
    change(finished, "one", "regression", "predictors", ["laplace", "ntk_final", "infinite_ntk", "ntk_init"])
    assert set(finished.plan()) <= {"assemble_cube", *AFTER_CUBE}


def test_a_data_file_replaced_by_an_older_one_is_read_again(fresh):
    def file(label):
        x = np.random.default_rng(label).normal(size=(80, 3))
        np.savez(fresh.folder / "mine.npz", X=x, y=np.arange(80) % 2)

    config = fresh.config
    del config["experiments"]["two"]
    config["experiments"]["one"]["dataset"] = {
        "source": "file", "path": "mine.npz", "n_validation": 10, "n_test": 10,
    }  # fmt: skip
    fresh.config = config
    file(1)
    fresh.snakemake("--cores", "1", "--quiet", "all", "--", "results/one/dataset.nc")
    assert "prepare_dataset" not in fresh.plan()
    file(2)
    os.utime(fresh.folder / "mine.npz", (1, 1))
    assert fresh.plan()["prepare_dataset"] == 1


def clone_with(finished, folder, copy):
    """A fresh clone of the same commit, beside which the results are copied; what Snakemake remembered is not."""
    clone = copy_repository(folder / "clone")
    clone.config = finished.config
    shutil.copytree(finished.folder / "results", clone.folder / "results", copy_function=copy)
    return clone


def test_a_fresh_clone_beside_copied_results_runs_nothing(finished_once, tmp_path):
    assert clone_with(finished_once, tmp_path, shutil.copy2).plan() == {}


def test_records_of_a_folder_from_before_are_kept(finished):
    link = finished.folder / ".snakemake/metadata"
    assert link.is_symlink()
    records = link.resolve()
    link.unlink()
    shutil.copytree(records, link)
    shutil.rmtree(records)
    assert finished.plan() == {}
    assert link.is_symlink() and link.resolve() == records
    shutil.rmtree(finished.folder / "results")
    assert finished.plan()["train_networks"] == 3


def test_a_change_after_a_fresh_clone_is_seen(finished_once, tmp_path):
    clone = clone_with(finished_once, tmp_path, shutil.copy2)
    change(clone, "two", "training", "learning_rate", {"relative": 0.4})
    assert clone.plan()["train_networks"] == 1
    change(clone, "two", "training", "learning_rate", {"relative": 0.3})
    clone.edit("src/ntk_atlas/figures/kernel_drift.py", "\nimport ", "\nEXTRA = 1\nimport ")
    assert clone.plan() == {"plot_figure": 2, "all": 1}


def test_results_copied_without_their_times_train_nothing(finished_once, tmp_path):
    clone = clone_with(finished_once, tmp_path, shutil.copy)
    before = clone.units()
    clone.snakemake("--cores", "2", "--quiet", "all", "--", "results/one/cube.nc")
    assert clone.units() == before


def test_other_versions_of_dependencies_run_nothing_and_the_next_cube_names_them(finished):
    site = finished.folder / "newer"
    package = site / "xarray-2099.1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: xarray\nVersion: 2099.1.0\n")
    newer = {"PYTHONPATH": str(site)}
    assert finished.plan(newer) == {}
    (finished.folder / "results/one/cube.nc").unlink()
    finished.snakemake("--cores", "1", "--quiet", "all", "--", "results/one/cube.nc", environment=newer)
    assert "xarray 2099.1.0" in str(xr.open_dataset(finished.folder / "results/one/cube.nc").attrs["versions"])
