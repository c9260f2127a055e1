"""Output variance from training to file: the same networks in three ways, what diverged, and bad settings."""

import numpy as np
import pytest
from dictionary_checks import departures

from ntk_atlas.arrays import UnitStore, write_labelled
from ntk_atlas.config import ExperimentSettings, NetworkSettings, StudySettings
from ntk_atlas.cubes import OUTPUT_VARIANCE, CellOutputs, ExperimentFiles, assemble_output_variance, cell_statistics
from ntk_atlas.datasets import read_dataset
from ntk_atlas.jobs import JOBS, job_slice
from ntk_atlas.jobs.linearize_networks import linearize_row, linearized_row
from ntk_atlas.jobs.parts import join_row
from ntk_atlas.jobs.parts.slice import rows
from ntk_atlas.jobs.predict_output_variance import predict_output_variance
from ntk_atlas.jobs.train_networks import network_row, train_row
from ntk_atlas.study import consistency_problems, value_problems


def experiment(**changes) -> ExperimentSettings:
    """A small experiment; keys of the sections `grid`, `network` and `training` may be changed."""
    sections = {
        "dataset": {"source": "teacher", "dimension": 4, "n_samples": 60, "n_validation": 10, "n_test": 20},
        "grid": {"depth": [1], "width": [8], "init_scale": [2.0], "n_train": [6, 12], "draws": 1, "seeds": 10},
        "network": {"activation": "relu", "parameterization": "ntk"},
        "training": {
            "optimizer": "sgd",
            "learning_rate": {"relative": 0.4, "of": "infinite_ntk"},
            "max_epochs": 20,
            "dtype": "float64",
            "seeds_per_unit": 4,
            "checkpoints": {"epochs": [0, 1, 5, 20], "n_probe": 7},
        },
        "regression": {"predictors": []},
        "output_variance": {"n_bootstrap": 100},
    }
    for name, section in changes.items():
        sections[name] = section if not isinstance(section, dict) else sections[name] | section
    return ExperimentSettings.model_validate(sections)


def assembled(settings, folder):
    """What the jobs of an experiment give, in one process."""
    dataset, files = read_dataset(settings.dataset), {"networks": {}, "linearized": {}, "theory": {}}
    for row in rows(settings.grid, 2):
        parts = {"networks": {}, "linearized": {}}
        linear_specs = job_slice("linearize_networks", settings, row.name).per_init_scale()
        for scale, spec in job_slice("train_networks", settings, row.name).per_init_scale().items():
            stores = {stage: UnitStore(folder / "units" / stage / spec.row.name) for stage in parts}
            trained = train_row(spec, dataset, "data", stores["networks"], "source")
            parts["networks"][scale] = network_row(spec, stores["networks"], trained)
            found = linearize_row(linear_specs[scale], dataset, *stores.values(), "source", trained)
            parts["linearized"][scale] = linearized_row(linear_specs[scale], stores["linearized"], found)
        for stage, arrays in parts.items():
            files[stage][row] = folder / stage / f"{row.name}.nc"
            write_labelled(join_row(job_slice("train_networks", settings, row.name), arrays), files[stage][row])
    for scale in settings.grid.init_scale:
        spec = job_slice("predict_output_variance", settings, str(scale))
        files["theory"][scale] = folder / f"theory-{scale}.nc"
        write_labelled(predict_output_variance(spec, dataset), files["theory"][scale])
    return assemble_output_variance(settings, ExperimentFiles(**files), provenance={})


@pytest.fixture(scope="module")
def linear_models(tmp_path_factory):
    settings = experiment(
        grid={"depth": [0, 1], "width": [8, 16], "init_scale": [1.0, 3.0], "seeds": 40},
        network={"bias_variance": 0.1},
        training={"seeds_per_unit": 40},
    )
    return assembled(settings, tmp_path_factory.mktemp("linear"))


def test_every_variable_is_in_the_dictionary_and_has_its_dimensions(linear_models):
    assert departures(linear_models, OUTPUT_VARIANCE) == []
    cell = ("depth", "width", "init_scale", "n_train", "draw")
    assert linear_models["output_mean_network"].dims == (*cell, "epoch", "probe", "output")
    assert linear_models["output_variance_linearized"].dims == (*cell, "epoch", "probe")
    assert linear_models["variance_ratio_network_linearized_low"].dims == (*cell, "epoch")
    assert linear_models["n_networks"].dims == cell and (linear_models["n_networks"] == 40).all()
    assert linear_models["output_variance_network"].attrs["units"] == "target²"


def test_linear_models_are_their_linearization_and_theory_is_exact(linear_models):
    depth_0 = linear_models.sel(depth=0)
    np.testing.assert_allclose(depth_0["variance_ratio_network_linearized"], 1.0, rtol=1e-6)
    np.testing.assert_allclose(depth_0["output_mean_network"], depth_0["output_mean_linearized"], rtol=1e-6, atol=1e-8)
    low, high = (depth_0[f"variance_ratio_network_infinite_ntk_{end}"].values for end in ("low", "high"))
    covered = (low <= 1.0) & (1.0 <= high)
    # Widths are networks of their own (one stream each), init scales and epochs are not: 2 widths × 2 sizes.
    assert covered.mean() >= 0.75
    error = np.sqrt(depth_0["output_variance_infinite_ntk"] / 40)
    difference = depth_0["output_mean_network"] - depth_0["output_mean_infinite_ntk"]
    pulls = difference.isel(output=0) / error
    assert 0.6 < float(np.sqrt((pulls**2).mean())) < 1.4


def test_a_network_is_its_linearization_at_initialization_only(linear_models):
    ratio = linear_models["variance_ratio_network_linearized"].sel(depth=1)
    np.testing.assert_allclose(ratio.sel(epoch=0), 1.0, rtol=1e-10)
    assert (abs(ratio.sel(epoch=20) - 1.0) > 1e-3).all()


def test_phases_are_one_world_where_everything_scales(tmp_path):
    """ReLU, no biases, NTK parameterization, targets at the scale of f₀: σ_w² is a unit of the output and no more."""
    settings = experiment(
        grid={"depth": [2], "init_scale": [1.0, 2.0, 3.0], "n_train": [12]}, training={"target_scale": "initial_output"}
    )
    found = assembled(settings, tmp_path)
    for name in ("output_variance_infinite_ntk", "output_variance_network", "output_variance_linearized"):
        for scale in (1.0, 3.0):
            same = found[name].sel(init_scale=2.0)
            np.testing.assert_allclose(found[name].sel(init_scale=scale), same, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(found["output_variance_infinite_ntk"].sel(epoch=0).mean(), 1.0, rtol=0.5)


def test_units_are_kept_and_grouping_changes_no_number(tmp_path):
    settings = experiment(grid={"n_train": [12]}, training={"seeds_per_unit": 10})
    together = assembled(settings, tmp_path / "together")
    alone = assembled(experiment(grid={"n_train": [12]}, training={"seeds_per_unit": 1}), tmp_path / "alone")
    for name in ("output_variance_network", "output_variance_linearized", "variance_ratio_network_linearized_high"):
        np.testing.assert_allclose(together[name], alone[name], rtol=1e-7, err_msg=name)
    files = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("units/**/*.npz")}
    assembled(settings, tmp_path / "together")
    assert {f: f.stat().st_mtime_ns for f in tmp_path.rglob("units/**/*.npz")} == files


def cell(n=20, n_epochs=3):
    g = np.random.default_rng(0)
    network = g.standard_normal((n, n_epochs, 4, 2))
    return network, network + 0.1 * g.standard_normal(network.shape), np.zeros((n_epochs, 4, 2)), np.ones((n_epochs, 4))


def statistics(network, linearized, mean, variance):
    settings = experiment().output_variance
    return cell_statistics(CellOutputs(network, linearized, mean, variance), settings, np.random.default_rng(1))


def test_a_network_that_diverged_late_is_left_out_at_all_times():
    network, linearized, mean, variance = cell()
    network[3, 2:], linearized[5, 1:] = np.nan, np.nan
    found = statistics(network, linearized, mean, variance)
    kept = np.delete(np.arange(20), 3)
    expected = network[kept].var(axis=0, ddof=1).mean(-1)
    np.testing.assert_allclose(found["output_variance_network"], expected)
    np.testing.assert_allclose(found["variance_ratio_network_infinite_ntk"], expected.mean(-1))
    assert (found["n_networks"], found["n_linearized"], found["n_both"]) == (19, 19, 18)
    both = np.delete(np.arange(20), [3, 5])
    ratio = network[both].var(axis=0, ddof=1).mean((1, 2)) / linearized[both].var(axis=0, ddof=1).mean((1, 2))
    np.testing.assert_allclose(found["variance_ratio_network_linearized"], ratio)


def test_nothing_is_left_where_all_networks_diverged():
    network, linearized, mean, variance = cell()
    network[:] = np.nan
    found = statistics(network, linearized, mean, variance)
    assert np.isnan(found["variance_ratio_network_infinite_ntk"]).all() and found["n_networks"] == 0
    assert np.isnan(found["output_variance_network"]).all()
    assert np.isfinite(found["variance_ratio_linearized_infinite_ntk"]).all()


@pytest.mark.parametrize(
    ("changes", "key", "text"),
    [
        ({"training": {"batch_size": 4}}, "training.batch_size", "which minibatches do not have: use full"),
        (
            {"training": {"optimizer": "adam", "learning_rate": {"absolute": 0.1}}},
            "training.optimizer",
            "which adam does not have: use sgd or momentum",
        ),
        ({"training": {"initial_output": "subtract"}}, "training.initial_output", "that theory predicts is 0"),
        ({"training": {"learning_rate": {"relative": 0.5}}}, "training.learning_rate", "needs one learning rate"),
        (
            {"training": {"learning_rate": {"relative": [0.1, 0.5], "of": "infinite_ntk"}}},
            "training.learning_rate",
            "with a single η₀",
        ),
        ({"training": {"stop_loss": 0.1}}, "training.stop_loss", "a network that stopped has left it"),
        ({"training": {"loss": "cross_entropy"}}, "training.loss", "use mse"),
        ({"grid": {"seeds": 3}}, "grid.seeds", "a variance over 3 networks says nothing: give at least 8"),
        ({"network": {"factory": "n.py:build"}}, "output_variance", "of a network of your own is not known"),
    ],
)  # fmt: skip
def test_settings_that_have_no_comparison_are_refused(changes, key, text):
    if "network" in changes:
        settings = experiment().model_copy(update={"network": NetworkSettings(**changes["network"])})
    else:
        settings = experiment(**changes)
    found = [*JOBS.head("predict_output_variance").problems(settings), *value_problems(settings, own=False)]
    problems = [message for where, message in found if where == key]
    assert len(problems) == 1 and text in problems[0]
    without = settings.model_copy(update={"output_variance": None})
    assert not list(JOBS.head("predict_output_variance").problems(without))


def test_good_settings_have_no_problem_and_a_factory_no_infinite_rate():
    good = experiment()
    assert not list(JOBS.head("predict_output_variance").problems(good))
    absolute = experiment(training={"learning_rate": {"absolute": 0.1}})
    assert not list(JOBS.head("predict_output_variance").problems(absolute))
    own = good.model_copy(update={"network": NetworkSettings(factory="n.py:build")})
    found = {
        problem.key[-2:]: problem.message for problem in consistency_problems(StudySettings(experiments={"one": own}))
    }
    message = found["learning_rate", "of"]
    assert "of a network of your own is not known" in message
