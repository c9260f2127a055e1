"""Wide networks, trained by small full-batch steps, are finite-time kernel regression as functions, not only in error.

Theory: at a finite width M the network's own kernel at initialization is off the infinite one by O(1/√M) and moves by
O(1/M) in training (smooth activations), so that on test points the network is O(1/√M) from regression with the infinite
NTK after the same number of steps, and O(1/M) from regression with its own initial kernel.
"""

import numpy as np
import pytest
import torch

from ntk_atlas.config import CheckpointSettings, LearningRateSettings, NetworkSettings, TrainingSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import empirical_ntk, infinite_kernels, infinite_lambda_max
from ntk_atlas.regression import finite_time_mean
from ntk_atlas.streams import torch_stream
from ntk_atlas.training import UnitData, train_unit

EPOCHS = (0, 10, 40, 160)
N_TRAIN, N_NETWORKS = 12, 12


def data():
    g = torch_stream("function space")
    x = torch.randn(30, 4, generator=g, dtype=torch.float64)
    y = torch.sin(2.0 * x[:, :1]) + x[:, 1:2] * x[:, 2:3]
    return UnitData(x[:12], y[:12], x[12:14], y[12:14], x[14:], y[14:], x_probe=x[14:])


def gaps(depth, width, activation, share):
    """RMS over networks and test points of f_t − regression, over that of the regression, for the two kernels."""
    d, settings = data(), NetworkSettings(parameterization="ntk", activation=activation, bias_variance=0.1)
    choice = {"settings": settings, "init_scale": 1.8, "width": width}

    def networks():
        return build_networks(
            settings, depth=depth, width=width, init_scale=1.8, input_shape=(4,), n_outputs=1,
            generators=[torch_stream("function space", seed) for seed in range(N_NETWORKS)], dtype=torch.float64,
        )  # fmt: skip

    training = TrainingSettings(
        optimizer="sgd", dtype="float64", max_epochs=EPOCHS[-1], initial_output="subtract",
        learning_rate=LearningRateSettings(relative=share, of="infinite_ntk"),
        checkpoints=CheckpointSettings(epochs=EPOCHS),
    )  # fmt: skip
    unit = train_unit(
        networks(), d, settings=training, n_epochs=EPOCHS[-1], batch_labels=[(s,) for s in range(N_NETWORKS)],
        lambda_max=infinite_lambda_max(d.x_train, depth=depth, **choice),
    )  # fmt: skip
    x = torch.cat([d.x_train, d.x_probe])
    infinite = infinite_kernels(x, depths=[depth], **choice).ntk[0]
    own = empirical_ntk(networks(), x)

    def regression(kernel):
        return finite_time_mean(
            kernel[:N_TRAIN, :N_TRAIN], kernel[N_TRAIN:, :N_TRAIN], d.y_train, times=EPOCHS,
            learning_rate=float(unit.learning_rate[0]), dynamics="gradient_descent",
        ).test.numpy()  # fmt: skip

    theory = regression(infinite)
    size = np.sqrt((theory[1:] ** 2).mean((1, 2)))
    found = [
        np.sqrt(((unit.probe_predictions - other)[:, 1:] ** 2).mean((0, 2, 3))) / size
        for other in (theory[None], np.stack([regression(kernel) for kernel in own]))
    ]
    assert unit.train_mse[:, -1].max() < unit.train_mse[:, 0].min() / 5.0, "they have learned something"
    return found


def exponents(depth, widths, activation, share=0.1):
    """Exponents in the width of both gaps at each epoch, and the gaps at the largest width."""
    found = np.array([gaps(depth, width, activation, share) for width in widths])
    x = np.log(np.array(widths, dtype=float))
    x -= x.mean()
    slopes = np.einsum("w,wkt->kt", x, np.log(found)) / (x**2).sum()
    return slopes, found[-1]


def test_networks_of_one_layer_converge_to_finite_time_regression_as_functions():
    slopes, last = exponents(1, (64, 256, 1024), "erf")
    np.testing.assert_allclose(slopes[0], -0.5, atol=0.1)
    assert (slopes[1] < -0.8).all()
    assert last[0].max() < 0.1 and last[1].max() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_deeper_networks_converge_too(activation):
    slopes, last = exponents(3, (64, 256, 1024), activation)
    np.testing.assert_allclose(slopes[0], -0.5, atol=0.15)
    assert (slopes[1] < (-0.5 if activation == "relu" else -0.7)).all()
    assert last[0].max() < 0.15
