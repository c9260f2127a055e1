"""Optimizers: stability limits are where training turns, and a linear model trains as the linearization says."""

import pytest
import torch

from ntk_atlas.config import ExperimentSettings, NetworkSettings, TrainingSettings
from ntk_atlas.families import build_networks
from ntk_atlas.jobs import job_slice
from ntk_atlas.jobs.parts import Row
from ntk_atlas.optimizers import OPTIMIZERS, optimizer
from ntk_atlas.registry import value_files
from ntk_atlas.regression import finite_time_mean
from ntk_atlas.study import value_problems
from ntk_atlas.training import UnitData, train_unit

N, BETA = 12, 0.6


@pytest.fixture
def linear_problem():
    g = torch.Generator().manual_seed(2)
    x = torch.randn(N, 4, generator=g, dtype=torch.float64)
    return x, x @ torch.randn(4, 1, generator=g, dtype=torch.float64)


def trained(linear_problem, name, rate, epochs):
    x, y = linear_problem
    network = build_networks(
        NetworkSettings(trainable_biases=False), depth=0, width=1, init_scale=1.0, input_shape=(4,), n_outputs=1,
        generators=[torch.Generator().manual_seed(0)], dtype=torch.float64,
    )  # fmt: skip
    settings = TrainingSettings(
        optimizer=name, momentum=BETA, learning_rate={"absolute": rate}, max_epochs=epochs, dtype="float64",
        divergence_factor=1e30, initial_output="subtract",
    )  # fmt: skip
    data = UnitData(x, y, x, y, x, y, x)
    return train_unit(network, data, settings=settings, n_epochs=epochs, batch_labels=[("a",)])


CLOSED = [name for name in OPTIMIZERS.names() if optimizer(name).linearization() is not None]


@pytest.mark.parametrize("name", CLOSED)
def test_training_turns_at_the_stability_limit(linear_problem, name):
    x, _ = linear_problem
    rate = optimizer(name).stability_limit(BETA) * N / float(torch.linalg.eigvalsh(x @ x.T)[-1])
    below, above = (trained(linear_problem, name, factor * rate, 120).train_mse[0] for factor in (0.97, 1.03))
    assert below[-1] < below[0] and above[-1] > 3.0 * above[0]


@pytest.mark.parametrize("name", CLOSED)
def test_a_linear_model_trains_as_the_linearization_says(linear_problem, name):
    x, y = linear_problem
    unit = trained(linear_problem, name, 0.1, 15)
    theory = finite_time_mean(
        x @ x.T, x @ x.T, y, times=unit.epochs, learning_rate=0.1, dynamics=optimizer(name).linearization(),
        momentum=BETA,
    )  # fmt: skip
    torch.testing.assert_close(torch.as_tensor(unit.probe_predictions[0]), theory.test)


def test_an_optimizer_that_normalizes_gradients_has_no_limit_and_no_linearization():
    adam = optimizer("adam")
    assert adam.normalizes_gradients() and adam.stability_limit(0.9) is None and adam.linearization() is None
    settings = ExperimentSettings(
        dataset={"source": "digits"},
        grid={"width": (8,), "depth": (2,), "init_scale": (2.0,), "n_train": (16,), "seeds": 8, "draws": 1},
        training={"optimizer": "adam", "learning_rate": {"absolute": 1e-3}},
        regression={"predictors": ("linearized",)},
        output_variance={},
    )
    problems = list(value_problems(settings, own=False))
    assert [key for key, _ in problems] == ["training.optimizer"]
    assert all("adam does not have: use sgd or momentum" in text for _, text in problems)
    with pytest.raises(ValueError, match="which adam does not have: give learning_rate"):
        TrainingSettings(optimizer="adam", learning_rate={"relative": 0.5})


def test_a_job_depends_on_the_values_that_its_settings_name_and_on_no_other():
    settings = ExperimentSettings(
        dataset={"source": "digits"},
        network={"parameterization": "mup"},
        grid={"width": (8,), "depth": (2,), "init_scale": (2.0,), "n_train": (16,), "seeds": 1, "draws": 1},
        training={"optimizer": "adam", "learning_rate": {"absolute": 1e-3}},
    )
    files = {
        f"{file.parent.name}/{file.name}"
        for file in value_files(job_slice("train_networks", settings, Row(2, 8, (2.0,)).name))
    }
    rooms = {file for file in files if file.startswith(("parameterizations", "optimizers"))}
    assert rooms == {"parameterizations/mup.py", "optimizers/adam.py"}


def test_a_wrong_name_says_what_there_is():
    with pytest.raises(ValueError, match=r"no optimizer 'Adam'; did you mean `adam`\? known here: adam, momentum, sgd"):
        TrainingSettings(optimizer="Adam", learning_rate={"absolute": 0.1})


def test_members_at_different_rates_are_one_step_of_one_optimizer(linear_problem):
    """Two networks at two rates side by side are those trained alone."""
    x, y = linear_problem
    shape = {"depth": 2, "width": 16, "init_scale": 2.0, "input_shape": (4,), "n_outputs": 1, "dtype": torch.float64}
    settings = TrainingSettings(
        optimizer="sgd", learning_rate={"relative": (0.2, 0.7)}, max_epochs=20, dtype="float64", momentum=BETA,
    )  # fmt: skip
    both, weights = [], []
    for relative in ((0.2, 0.7), 0.2, 0.7):
        network = build_networks(
            NetworkSettings(parameterization="mup"), generators=[torch.Generator().manual_seed(0)], **shape
        )
        chosen = settings.model_copy(update={"learning_rate": type(settings.learning_rate)(relative=relative)})
        unit = train_unit(network, UnitData(x, y, x, y, x, y, x), settings=chosen, n_epochs=20, batch_labels=[("a",)])
        both.append(unit.train_mse[0, -1])
        weights.append(torch.as_tensor(unit.weights[0, -1]))
    best = 1 if both[1] < both[2] else 2
    torch.testing.assert_close(weights[0], weights[best])
