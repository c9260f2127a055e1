"""Networks linearized at initialization: the network itself where it is linear, and in the limit of large width."""

import numpy as np
import pytest
import torch

from ntk_atlas.config import CheckpointSettings, LearningRateSettings, NetworkSettings, TrainingSettings
from ntk_atlas.families import build_networks
from ntk_atlas.streams import torch_stream
from ntk_atlas.training import UnitData, train_linearized, train_unit

EPOCHS = (0, 1, 2, 5, 20, 60)
N_TRAIN = 12


@pytest.fixture
def data():
    g = torch.Generator().manual_seed(2)
    x = torch.randn(24, 4, generator=g, dtype=torch.float64)
    y = torch.stack([x[:, 0], x[:, 1] * x[:, 2]], 1)
    return UnitData(x[:12], y[:12], x[12:17], y[12:17], x[17:], y[17:], x_probe=x[17:])


def build(depth, width, seeds=(0, 1, 2), n_outputs=2, **settings):
    return build_networks(
        NetworkSettings(**({"bias_variance": 0.1, "activation": "erf"} | settings)),
        depth=depth,
        width=width,
        init_scale=1.5,
        input_shape=(4,),
        n_outputs=n_outputs,
        generators=[torch_stream("linearized", seed) for seed in seeds],
        dtype=torch.float64,
    )


def training(**changes):
    rate = LearningRateSettings(**changes.pop("rate", {"relative": 0.5}))
    return TrainingSettings(
        **{"max_epochs": EPOCHS[-1], "optimizer": "sgd", "dtype": "float64", "learning_rate": rate}
        | {"checkpoints": CheckpointSettings(epochs=EPOCHS)}
        | changes
    )


def both(data, settings, make, target_scale=1.0):
    labels = [("b", seed) for seed in range(make().n_members)]
    unit = train_unit(
        make(), data, settings=settings, n_epochs=EPOCHS[-1], batch_labels=labels, target_scale=target_scale
    )
    linear = train_linearized(
        make(),
        data.x_train,
        data.y_train,
        data.x_probe,
        learning_rates=unit.learning_rate,
        epochs=EPOCHS,
        settings=settings,
        target_scale=target_scale,
    )
    return unit, linear


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("initial_output", ["keep", "subtract"])
def test_a_linear_model_is_its_own_linearization(data, optimizer, initial_output):
    settings = training(optimizer=optimizer, initial_output=initial_output)
    unit, linear = both(data, settings, lambda: build(0, 1), target_scale=3.0)
    np.testing.assert_allclose(linear.predictions, unit.probe_predictions, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(linear.train_mse, unit.train_mse, rtol=1e-8, atol=1e-10)


def test_at_initialization_the_linearization_is_the_network(data):
    unit, linear = both(data, training(), lambda: build(2, 8))
    np.testing.assert_allclose(linear.predictions[:, 0], unit.probe_predictions[:, 0], rtol=1e-12, atol=1e-14)
    assert np.abs(linear.predictions[:, 2:] - unit.probe_predictions[:, 2:]).max() > 1e-3


def test_the_first_step_is_linear_in_the_learning_rate(data):
    """f_1 = f_0 − η Θ₀ (f₀ − y)/n up to η², and outputs mix through the full kernel."""
    errors = []
    for rate in (1e-2, 1e-3):
        unit, linear = both(data, training(rate={"relative": rate}), lambda: build(2, 8))
        step = np.abs(unit.probe_predictions[:, 1] - unit.probe_predictions[:, 0]).max()
        errors.append(np.abs(linear.predictions[:, 1] - unit.probe_predictions[:, 1]).max() / step)
    assert errors[1] < 0.15 * errors[0] < 0.15 * 0.1


def test_wide_lazy_networks_follow_their_linearization(data):
    distance = []
    for width in (16, 256, 4096):
        unit, linear = both(data, training(), lambda width=width: build(1, width, parameterization="ntk"))
        moved = unit.probe_predictions[:, -1] - unit.probe_predictions[:, 0]
        gap = linear.predictions[:, -1] - unit.probe_predictions[:, -1]
        distance.append(np.linalg.norm(gap) / np.linalg.norm(moved))
    assert distance[2] < 0.02 and distance[2] < 0.4 * distance[1] < 0.4 * 0.5 * distance[0]


def test_grouping_of_networks_changes_no_number(data):
    settings = training()
    together = both(data, settings, lambda: build(2, 8))[1]
    for seed in range(3):
        alone = both(data, settings, lambda seed=seed: build(2, 8, seeds=(seed,)))[1]
        np.testing.assert_allclose(alone.predictions[0], together.predictions[seed], rtol=1e-7, atol=1e-9)


def test_an_unstable_linearization_is_lost_from_there_on(data):
    settings = training(divergence_factor=100.0)
    linear = train_linearized(
        build(2, 8),
        data.x_train,
        data.y_train,
        data.x_probe,
        learning_rates=[1e-2, 30.0, 1e-2],
        epochs=EPOCHS,
        settings=settings,
    )
    lost = np.isnan(linear.predictions).all((2, 3))
    assert not lost[[0, 2]].any() and not lost[1, 0] and lost[1, -1]
    assert (np.diff(lost[1].astype(int)) >= 0).all() and (np.isnan(linear.train_mse) == lost).all()
    assert np.nanmax(linear.train_mse[1]) <= 100.0 * linear.train_mse[1, 0]


@pytest.mark.parametrize(
    "changes", [{"batch_size": 4}, {"optimizer": "adam", "rate": {"absolute": 0.1}}, {"loss": "cross_entropy"}]
)
def test_trainings_without_a_linearized_form(data, changes):
    with pytest.raises(ValueError, match="is solved in closed form, which"):
        train_linearized(
            build(1, 4), data.x_train, data.y_train, data.x_probe,
            learning_rates=[0.1] * 3, epochs=EPOCHS, settings=training(**changes),
        )  # fmt: skip
