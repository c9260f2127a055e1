"""The predictor `linearized`: networks' own linearization on test samples, at the checkpoint that selection takes."""

import numpy as np
import pytest

from ntk_atlas.arrays import UnitStore
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
from ntk_atlas.datasets import read_dataset
from ntk_atlas.jobs import JOBS, job_slice
from ntk_atlas.jobs.linearize_networks import linearize_row, linearized_row
from ntk_atlas.jobs.parts.slice import rows
from ntk_atlas.jobs.train_networks import network_row, train_row
from ntk_atlas.study import value_problems

DigitsSettings = section_of("digits")
TeacherSettings = section_of("teacher")


def experiment(*, depth=0, dataset=None, network=None, predictors=("linearized",), **training) -> ExperimentSettings:
    return ExperimentSettings(
        dataset=dataset or TeacherSettings(dimension=4, n_samples=60, n_validation=10, n_test=20),
        grid=GridSettings(depth=(depth,), width=(8,), init_scale=(2.0,), n_train=(6, 12), draws=2, seeds=3),
        network=NetworkSettings(**(network or {})),
        training=TrainingSettings(
            **{
                "optimizer": "momentum",
                "learning_rate": LearningRateSettings(relative=0.5),
                "max_epochs": 40,
                "dtype": "float64",
                "seeds_per_unit": 2,
                "checkpoints": CheckpointSettings(epochs=(0, 2, 5, 40), n_probe=4),
                **training,
            }
        ),
        regression=RegressionSettings(predictors=predictors),
    )


def both(settings, folder):
    """The row of networks and that of their linearizations."""
    (row,) = rows(settings.grid)
    spec, dataset = job_slice("linearize_networks", settings, row.name), read_dataset(settings.dataset)
    networks, store = UnitStore(folder / "networks"), UnitStore(folder / "linearized")
    trained = train_row(job_slice("train_networks", settings, row.name), dataset, "data", networks, "source")
    found = linearize_row(spec, dataset, networks, store, "source", trained)
    return network_row(job_slice("train_networks", settings, row.name), networks, trained), linearized_row(
        spec, store, found
    )


@pytest.mark.parametrize("selection", ["final", "best_validation"])
@pytest.mark.parametrize("initial_output", ["keep", "subtract"])
def test_a_linear_model_is_its_own_linearization_on_test_samples(tmp_path, selection, initial_output):
    settings = experiment(selection=selection, initial_output=initial_output)
    network, linearized = both(settings, tmp_path)
    np.testing.assert_allclose(linearized["test_mse_linearized"], network["selected_test_mse"], rtol=1e-7)
    np.testing.assert_allclose(linearized["final_train_mse_linearized"], network["final_train_mse"], rtol=1e-6)
    np.testing.assert_allclose(linearized["test_predictions"], network["test_predictions"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(linearized["selected_epoch_linearized"], network["selected_epoch"])
    assert np.isnan(linearized["test_error_linearized"]).all()


def test_classes_are_counted_as_for_networks(tmp_path):
    digits = DigitsSettings(n_validation=20, n_test=40)
    network, linearized = both(experiment(dataset=digits, max_epochs=5, checkpoints={"epochs": (5,)}), tmp_path)
    np.testing.assert_allclose(linearized["test_error_linearized"], network["selected_test_error"], atol=1e-12)


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    both(experiment(), tmp_path)
    finished = {file for file in (tmp_path / "linearized").rglob("*") if file.is_file()}
    for file in finished:
        file.with_name(f".{file.name}.123.tmp").touch()
    both(experiment(), tmp_path)
    assert {file for file in (tmp_path / "linearized").rglob("*") if file.is_file()} == finished


def test_a_hidden_layer_tells_them_apart_unless_it_is_lazy(tmp_path):
    gaps = []
    for scale in (1.0, 1000.0):
        network, linearized = both(
            experiment(depth=1, network={"output_scale": scale, "activation": "erf"}, initial_output="subtract"),
            tmp_path / str(scale),
        )
        gap = linearized["test_predictions"] - network["test_predictions"]
        gaps.append(np.sqrt((gap**2).mean() / (linearized["test_predictions"] ** 2).mean()))
    assert gaps[0] > 0.05 and gaps[1] < 0.02 * gaps[0]


def test_without_the_predictor_only_probe_samples_are_computed(tmp_path):
    settings = experiment(predictors=())
    _, linearized = both(settings, tmp_path)
    assert "test_mse_linearized" not in linearized.arrays
    assert linearized["linearized_predictions"].shape == (2, 2, 3, 4, 4, 1)


@pytest.mark.parametrize(
    "training",
    [
        {"batch_size": 4, "learning_rate": {"relative": 0.05}},
        {"optimizer": "adam", "learning_rate": {"absolute": 0.1}},
        {"stop_loss": 0.6},
        {"stop_loss": 0.6, "batch_size": 4, "learning_rate": {"relative": 0.05}, "selection": "best_validation"},
    ],
)
def test_a_linear_model_is_its_own_linearization_however_it_is_trained(tmp_path, training):
    network, linearized = both(experiment(**training), tmp_path)
    np.testing.assert_allclose(linearized["test_predictions"], network["test_predictions"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(linearized["final_train_mse_linearized"], network["final_train_mse"], rtol=1e-6)
    assert ("stop_loss" in training) == bool((network["stop_epoch"] < 40).any())
    assert not problems_of(experiment(**training))


def problems_of(settings):
    return [*JOBS.head("linearize_networks").problems(settings), *value_problems(settings, own=False)]


def test_classes_are_learned_by_cross_entropy_too(tmp_path):
    digits = DigitsSettings(n_validation=20, n_test=40)
    settings = experiment(dataset=digits, loss="cross_entropy", learning_rate={"absolute": 0.1}, optimizer="adam")
    network, linearized = both(settings, tmp_path)
    np.testing.assert_allclose(linearized["test_error_linearized"], network["selected_test_error"], atol=1e-12)
    np.testing.assert_allclose(linearized["test_predictions"], network["test_predictions"], rtol=1e-4, atol=1e-4)
