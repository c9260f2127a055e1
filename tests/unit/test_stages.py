"""Stages run in one process: units of a row, kernels around zero or around the network, scaled targets."""

import numpy as np
import pytest

from ntk_atlas.config import (
    CheckpointSettings,
    ExperimentSettings,
    GridSettings,
    LearningRateSettings,
    NetworkSettings,
    RegressionSettings,
    TrainingSettings,
    section_of,
)
from ntk_atlas.datasets import make_draw, read_dataset
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.parts import join_row, recorded_digests
from ntk_atlas.jobs.parts.slice import rows
from ntk_atlas.jobs.regress_empirical import RowStores, empirical_predictions, regress_row
from ntk_atlas.jobs.train_networks import network_row, train_row

DigitsSettings = section_of("digits")
TeacherSettings = section_of("teacher")

HUGE = 1e9


def experiment(*, network=None, regression=None, seeds=2, n_train=(6, 12), **training) -> ExperimentSettings:
    return ExperimentSettings(
        dataset=TeacherSettings(dimension=4, n_samples=60, n_validation=10, n_test=20),
        grid=GridSettings(depth=(1,), width=(8,), init_scale=(2.0,), n_train=n_train, draws=1, seeds=seeds),
        network=NetworkSettings(**(network or {})),
        training=TrainingSettings(
            **{
                "optimizer": "sgd",
                "learning_rate": LearningRateSettings(relative=0.5),
                "max_epochs": 5,
                "dtype": "float64",
                "seeds_per_unit": 2,
                "checkpoints": CheckpointSettings(epochs=(0, 2, 5), n_probe=4, weights="scheduled"),
                **training,
            }
        ),
        regression=RegressionSettings(
            **{"predictors": ("ntk_init", "ntk_final", "ntk_epoch_2"), "ridge_grid": (HUGE,), **(regression or {})}
        ),
    )


def trained(settings, folder):
    (row,) = rows(settings.grid)
    spec, dataset = job_slice("train_networks", settings, row.name), read_dataset(settings.dataset)
    stores = RowStores.of_row(folder, row.name)
    digests = train_row(spec, dataset, "data", stores.networks, "source")
    return network_row(spec, stores.networks, digests), stores, digests, dataset, spec


def regressed(settings, folder):
    joined, stores, digests, dataset, train = trained(settings, folder)
    spec = job_slice("regress_empirical", settings, train.row.name)
    results = empirical_predictions(spec, stores, regress_row(spec, dataset, "data", stores, "source", digests))
    return at_12(joined, "test_mse"), {name: results[name][1, 0] for name in results.arrays if "test_mse" in name}


def at_12(joined, name):
    """Values at n_train = 12 and draw 0, (seed, epoch); the epochs are 0, 2, 5."""
    return joined[name][list(joined["n_train"]).index(12), 0]


def test_a_row_is_trained_once_and_later_only_what_is_new(tmp_path):
    joined, _, digests, *_ = trained(experiment(), tmp_path)
    files = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.npz")}
    more, _, more_digests, _, spec = trained(experiment(seeds=3, n_train=(6, 9, 12)), tmp_path)
    after = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.npz")}
    assert {f: after[f] for f in files} == files
    assert sorted(f.name for f in set(after) - set(files)) == ["seeds-0-1.npz", *["seeds-2.npz"] * 3]
    assert digests == {unit: more_digests[unit] for unit in digests}
    assert np.array_equal(more["test_mse"][[0, 2]][:, :, :2], joined["test_mse"])
    assert recorded_digests(join_row(spec, {2.0: more})) == {2.0: more_digests}


def test_what_kills_left_is_removed_when_the_jobs_of_a_row_start_and_nothing_else(tmp_path):
    settings = experiment()
    regressed(settings, tmp_path)
    finished = sorted(file for file in tmp_path.rglob("*") if file.is_file())
    assert {file.parents[3].name for file in finished} == {"networks", "initial_ntk", "trained_ntk"}
    for file in finished:
        file.with_name(f".{file.name}.123.tmp").touch()
        if file.parents[3].name == "networks":  # a kill between the writing of a block and the removal of its state
            file.with_name(f"progress-{file.stem}.ckpt").touch()
            file.with_name("progress-seeds-0-1-2.ckpt").touch()
    under_way = {file for file in tmp_path.rglob("progress-seeds-0-1-2.ckpt")}
    regressed(settings, tmp_path)
    assert {file for file in tmp_path.rglob("*") if file.is_file()} == {*finished, *under_way}


def test_grouping_of_seeds_changes_no_number_and_no_digest(tmp_path):
    together, _, digests, *_ = trained(experiment(), tmp_path / "together")
    alone, _, other, *_ = trained(experiment(seeds_per_unit=1), tmp_path / "alone")
    assert digests == other
    for name in ("train_mse", "test_mse", "probe_kernels"):
        np.testing.assert_allclose(together[name], alone[name], rtol=1e-10)


@pytest.mark.parametrize("initial_output", ["keep", "subtract"])
@pytest.mark.parametrize("target_scale", ["unit", "initial_output"])
def test_around_the_network_an_infinite_ridge_leaves_the_networks_prediction(tmp_path, initial_output, target_scale):
    settings = experiment(
        initial_output=initial_output, target_scale=target_scale, regression={"predictor_center": "network"}
    )
    network, kernels = regressed(settings, tmp_path)
    for name, checkpoint in (("test_mse_ntk_init", 0), ("test_mse_ntk_epoch_2", 1), ("test_mse_ntk_final", 2)):
        np.testing.assert_allclose(kernels[name][:, 1], network[:, checkpoint], rtol=1e-6)


def test_around_zero_an_infinite_ridge_predicts_zero(tmp_path):
    settings = experiment()
    _, kernels = regressed(settings, tmp_path)
    from ntk_atlas.datasets import make_draw

    draw = make_draw(read_dataset(settings.dataset), settings.dataset, 0)
    np.testing.assert_allclose(kernels["test_mse_ntk_final"][:, 1], np.mean(draw.y_test**2), rtol=1e-6)


def test_another_training_regresses_with_the_trained_kernels_only(tmp_path):
    regressed(experiment(), tmp_path)
    before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("initial_ntk/**/*.npz")}
    regressed(experiment(optimizer="momentum", learning_rate=LearningRateSettings(relative=0.3)), tmp_path)
    after = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("initial_ntk/**/*.npz")}
    assert before == after
    assert len(list(tmp_path.rglob("trained_ntk/**/*.npz"))) == 2 * 2


def test_scaled_targets_are_measured_in_their_own_units(tmp_path):
    """At initialization the error of f₀/scale is that of a network shrunk by the scale."""
    unit = at_12(trained(experiment(), tmp_path / "unit")[0], "test_mse")[:, 0]
    scaled = at_12(trained(experiment(target_scale="initial_output"), tmp_path / "scaled")[0], "test_mse")[:, 0]
    zero = at_12(trained(experiment(initial_output="subtract"), tmp_path / "zero")[0], "test_mse")[:, 0]
    assert np.all(np.abs(scaled - unit) > 1e-3)
    assert np.ptp(zero) < 1e-12


def test_training_sets_that_lack_a_class_are_named(tmp_path, caplog):
    digits = DigitsSettings(n_validation=10, n_test=20)
    settings = experiment(n_train=(6, 400)).model_copy(update={"dataset": digits})
    with caplog.at_level("WARNING"):
        trained(settings, tmp_path)
    labels = make_draw(read_dataset(digits), digits, 0).labels_pool[:6]
    lacking = ", ".join(str(c) for c in range(10) if c not in labels)
    said = [record.getMessage() for record in caplog.records if "none of the classes" in record.getMessage()]
    assert said == [
        f"n_train-6_draw-0: its 6 training samples have none of the classes {lacking}, which cannot be learned from "
        "them: a larger n_train has them"
    ]


def test_kernels_in_float32_predict_as_those_in_float64(tmp_path):
    found = [
        regressed(
            experiment(regression={"kernel_dtype": dtype, "ridge_grid": (1e-2,), "predictor_center": "both"}),
            tmp_path / dtype,
        )[1]
        for dtype in ("float64", "float32")
    ]
    assert found[0].keys() == found[1].keys()
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, rtol=1e-4, atol=1e-6, err_msg=name)
        assert not np.array_equal(found[1][name], values), "the precision is that of the kernel"
