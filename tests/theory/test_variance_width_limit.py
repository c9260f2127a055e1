"""Output variance of theory at finite time: that of wide networks and their linearizations, not of narrow deep ones."""

import numpy as np
import pytest
import torch

from ntk_atlas.config import CheckpointSettings, LearningRateSettings, NetworkSettings, TrainingSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import infinite_kernels, infinite_lambda_max, largest_eigenvalue
from ntk_atlas.regression import finite_time_variance
from ntk_atlas.statistics import resampling_weights, variance_ratio
from ntk_atlas.streams import torch_stream
from ntk_atlas.training import UnitData, dynamics_of, train_linearized, train_unit

EPOCHS = (0, 1, 3, 10, 40)
N_TRAIN, N_NETWORKS = 12, 80


def data():
    g = torch.Generator().manual_seed(2)
    x = torch.randn(26, 4, generator=g, dtype=torch.float64)
    y = (x[:, 0] * x[:, 1]).sign()[:, None]
    return UnitData(x[:12], y[:12], x[12:14], y[12:14], x[14:], y[14:], x_probe=x[14:])


def networks(depth, width, settings, init_scale, seeds=range(N_NETWORKS)):
    return build_networks(
        settings,
        depth=depth,
        width=width,
        init_scale=init_scale,
        input_shape=(4,),
        n_outputs=1,
        generators=[torch_stream("variance", seed) for seed in seeds],
        dtype=torch.float64,
    )


def measured_over_theory(depth, width, *, parameterization, optimizer="sgd", init_scale=2.0, share=0.3):
    """Ratio and 99 % interval of the trained and of the linearized networks at each epoch."""
    d, settings = data(), NetworkSettings(parameterization=parameterization, bias_variance=0.1)
    choice = {"settings": settings, "init_scale": init_scale, "width": width}
    lambda_max = infinite_lambda_max(d.x_train, depth=depth, **choice)
    training = TrainingSettings(
        optimizer=optimizer,
        dtype="float64",
        max_epochs=EPOCHS[-1],
        learning_rate=LearningRateSettings(relative=share, of="infinite_ntk"),
        checkpoints=CheckpointSettings(epochs=EPOCHS),
    )
    unit = train_unit(
        networks(depth, width, settings, init_scale), d, settings=training, n_epochs=EPOCHS[-1],
        batch_labels=[(seed,) for seed in range(N_NETWORKS)], lambda_max=lambda_max,
    )  # fmt: skip
    linear = train_linearized(
        networks(depth, width, settings, init_scale), d.x_train, d.y_train, d.x_probe,
        learning_rates=unit.learning_rate, epochs=EPOCHS, settings=training,
    )  # fmt: skip
    kernels = infinite_kernels(torch.cat([d.x_train, d.x_probe]), depths=[depth], **choice)
    ntk, nngp, n = kernels.ntk[0], kernels.nngp[0], N_TRAIN
    theory = finite_time_variance(
        ntk[:n, :n], ntk[n:, :n], nngp[:n, :n], nngp[n:, :n], nngp[n:, n:].diagonal(),
        times=EPOCHS, learning_rate=float(unit.learning_rate[0]), dynamics=dynamics_of(training),
    ).test.mean(1)  # fmt: skip
    weights = resampling_weights(N_NETWORKS, 400, np.random.default_rng(0))
    return [
        [
            variance_ratio(outputs[:, e].reshape(N_NETWORKS, -1), float(theory[e]), weights, confidence=0.99)
            for e in range(len(EPOCHS))
        ]
        for outputs in (unit.probe_predictions, linear.predictions)
    ]


@pytest.mark.parametrize(("parameterization", "optimizer"), [("ntk", "sgd"), ("standard", "momentum")])
def test_wide_shallow_networks_have_the_variance_of_theory(parameterization, optimizer):
    trained, linearized = measured_over_theory(1, 2048, parameterization=parameterization, optimizer=optimizer)
    for ratio in (*trained, *linearized):
        assert ratio.low < 1.0 < ratio.high
        assert abs(np.log(ratio.value)) < 0.45
    # What remains is the sample of networks; training and linearization see the same one.
    for a, b in zip(trained, linearized, strict=True):
        assert abs(np.log(a.value / b.value)) < 0.03


def test_narrow_deep_networks_do_not():
    trained, _ = measured_over_theory(4, 8, parameterization="ntk", share=0.1)
    assert trained[-1].high < 0.9 and trained[2].high < 0.9


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_largest_eigenvalue_of_wide_networks_is_that_of_the_infinite_kernel(parameterization):
    settings = NetworkSettings(parameterization=parameterization, bias_variance=0.1, output_scale=3.0)
    own = largest_eigenvalue(
        networks(1, 4096, settings, 2.0, seeds=range(6)), data().x_train, generator=torch_stream("start")
    )
    infinite = infinite_lambda_max(data().x_train, depth=1, settings=settings, init_scale=2.0, width=4096)
    np.testing.assert_allclose(own.mean(), infinite, rtol=0.03)
