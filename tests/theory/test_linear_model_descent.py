"""A linear model under gradient descent follows kernel theory exactly: f_t − y = (I − ηΘ/n)^t (f_0 − y)."""

import numpy as np
import pytest
import torch

from ntk_atlas.arrays import Status
from ntk_atlas.config import CheckpointSettings, LearningRateSettings, NetworkSettings, TrainingSettings
from ntk_atlas.families import build_networks
from ntk_atlas.streams import torch_stream
from ntk_atlas.training import UnitData, train_unit

N_TRAIN, N_TEST, DIMENSION = 12, 5, 4
FLOAT = {"dtype": torch.float64}


@pytest.fixture
def data():
    g = torch.Generator().manual_seed(2)
    x, y = torch.randn(22, DIMENSION, generator=g, **FLOAT), torch.randn(22, 3, generator=g, **FLOAT)
    return UnitData(x[:12], y[:12], x[12:17], y[12:17], x[17:], y[17:], x_probe=x[17:])


def linear_networks(output_scale=1.0):
    return build_networks(
        NetworkSettings(output_scale=output_scale, bias_variance=0.1),
        depth=0,
        width=1,
        init_scale=1.5,
        input_shape=(DIMENSION,),
        n_outputs=3,
        generators=[torch_stream("linear", seed) for seed in range(2)],
        dtype=torch.float64,
    )


def train(data, n_epochs, rate, network=None, **changes):
    settings = TrainingSettings(
        max_epochs=n_epochs,
        learning_rate=LearningRateSettings(**rate),
        dtype="float64",
        checkpoints=CheckpointSettings(epochs="every"),
        **changes,
    )
    labels = [("b", 0), ("b", 1)]
    network = network or linear_networks()
    return train_unit(network, data, settings=settings, n_epochs=n_epochs, batch_labels=labels)


def kernel(x1, x2):
    """The NTK of a linear model with bias, by hand, for each output."""
    return x1 @ x2.T + 1.0


def descent_of_theory(data, start, start_test, rate, n_epochs, momentum):
    """Training MSE after every step, and the last test outputs, from the kernel alone."""
    theta, theta_test = kernel(data.x_train, data.x_train), kernel(data.x_test, data.x_train)
    f, f_test, f_before, f_test_before = start, start_test, start, start_test
    errors = [float((f - data.y_train).square().mean())]
    for _ in range(n_epochs):
        step = rate / N_TRAIN * (data.y_train - f)
        f, f_before = f + theta @ step + momentum * (f - f_before), f
        f_test, f_test_before = f_test + theta_test @ step + momentum * (f_test - f_test_before), f_test
        errors.append(float((f - data.y_train).square().mean()))
    return errors, f_test


@pytest.mark.parametrize(("optimizer", "momentum"), [("sgd", 0.0), ("momentum", 0.7)])
def test_descent_follows_the_kernel(data, optimizer, momentum):
    unit = train(data, 60, {"relative": 0.6}, optimizer=optimizer, momentum=momentum)
    network = linear_networks()
    with torch.no_grad():
        start, start_test = network(data.x_train), network(data.x_test)
    for s in range(2):
        rate = float(unit.learning_rate[s])
        errors, f_test = descent_of_theory(data, start[s], start_test[s], rate, 60, momentum)
        np.testing.assert_allclose(unit.train_mse[s], errors, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(unit.test_predictions[s], f_test, rtol=1e-10, atol=1e-10)


def test_matrix_power_form(data):
    unit = train(data, 40, {"relative": 0.5}, optimizer="sgd")
    theta = kernel(data.x_train, data.x_train)
    with torch.no_grad():
        start = linear_networks()(data.x_train)
    for s in range(2):
        propagator = torch.eye(N_TRAIN, **FLOAT) - float(unit.learning_rate[s]) / N_TRAIN * theta
        residual = torch.linalg.matrix_power(propagator, 40) @ (start[s] - data.y_train)
        np.testing.assert_allclose(unit.train_mse[s, -1], residual.square().mean(), rtol=1e-10)


def test_relative_rate_is_a_share_of_the_stability_limit(data):
    largest = float(torch.linalg.eigvalsh(kernel(data.x_train, data.x_train))[-1])
    below = train(data, 120, {"relative": 0.97}, optimizer="sgd")
    above = train(data, 120, {"relative": 1.03}, optimizer="sgd", divergence_factor=30.0)
    np.testing.assert_allclose(below.lambda_max, largest, rtol=1e-5)
    np.testing.assert_allclose(below.learning_rate, 0.97 * 2 * N_TRAIN / largest, rtol=1e-5)
    assert (below.status != Status.DIVERGED).all() and (below.train_mse[:, -1] <= below.train_mse[:, 1:].min(1)).all()
    assert (above.status == Status.DIVERGED).all()


def test_output_scale_does_not_move_a_linear_model(data):
    """With f_0 subtracted, α only changes Θ by α² and η by α⁻²: the function takes the same path."""
    units = [
        train(data, 30, {"absolute": 0.2}, linear_networks(alpha), initial_output="subtract", optimizer="sgd")
        for alpha in (1.0, 20.0)
    ]
    np.testing.assert_allclose(units[0].test_mse, units[1].test_mse, rtol=1e-9)
    np.testing.assert_allclose(400 * units[0].probe_kernels, units[1].probe_kernels, rtol=1e-12)
