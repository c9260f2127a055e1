"""Learning rates: the best of several, a share of the infinite NTK's limit, and predictions on probe samples."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from ntk_atlas.arrays import Status
from ntk_atlas.config import CheckpointSettings, LearningRateSettings, NetworkSettings, TrainingSettings
from ntk_atlas.families import build_networks
from ntk_atlas.networks import StackedModules
from ntk_atlas.streams import torch_stream
from ntk_atlas.training import UnitData, common_learning_rate, kept_runs, learning_rates, train_unit

NOT_OF_MEMBERS = ("epochs", "weight_epochs", "seconds", "target_scale", "n_rates_diverged")


def build(seeds=(0, 1, 2), **settings):
    return build_networks(
        NetworkSettings(**({"parameterization": "ntk", "activation": "relu"} | settings)),
        depth=2,
        width=8,
        init_scale=2.0,
        input_shape=(5,),
        n_outputs=2,
        generators=[torch_stream("weights", seed) for seed in seeds],
        dtype=torch.float64,
    )


def unit_data():
    g = torch.Generator().manual_seed(11)
    sizes = {"train": 14, "validation": 6, "test": 9}
    x = {split: torch.randn(size, 5, generator=g, dtype=torch.float64) for split, size in sizes.items()}
    arrays = {f"x_{split}": values for split, values in x.items()}
    arrays |= {f"y_{split}": torch.stack([values[:, 0].sign(), values[:, 1]], 1) for split, values in x.items()}
    return UnitData(x_probe=x["test"][:4], **arrays)


def train(network, rate, *, data=None, seeds=None, lambda_max=None, n_epochs=25, target_scale=1.0, **changes):
    seeds = range(network.n_members) if seeds is None else seeds
    settings = TrainingSettings(
        **{
            "max_epochs": n_epochs,
            "dtype": "float64",
            "optimizer": "sgd",
            "learning_rate": LearningRateSettings(**rate),
            "checkpoints": CheckpointSettings(epochs=(0, 1, n_epochs // 5 or 2, n_epochs), weights="scheduled"),
            "divergence_factor": 100.0,
        }
        | changes
    )
    labels = [("batches", seed) for seed in seeds]
    return train_unit(
        network,
        unit_data() if data is None else data,
        settings=settings,
        n_epochs=n_epochs,
        batch_labels=labels,
        lambda_max=lambda_max,
        target_scale=target_scale,
    )


def member_arrays(unit):
    return {f.name: getattr(unit, f.name) for f in dataclasses.fields(unit) if f.name not in NOT_OF_MEMBERS}


RATES = (0.02, 0.3, 3.0, 40.0)


@pytest.mark.parametrize("batch_size", ["full", 5])
@pytest.mark.parametrize("loss_like", [{}, {"optimizer": "momentum", "initial_output": "subtract"}])
def test_the_best_of_several_rates_is_the_best_of_trainings_one_by_one(batch_size, loss_like):
    several = train(build(), {"relative": RATES}, batch_size=batch_size, **loss_like)
    single = [train(build(), {"relative": rate}, batch_size=batch_size, **loss_like) for rate in RATES]
    diverged = np.stack([unit.status == Status.DIVERGED for unit in single])
    assert diverged.any() and not diverged.all(0).any()
    final = np.where(diverged, np.inf, np.stack([unit.train_mse[:, -1] for unit in single]))
    best = final.argmin(0)
    np.testing.assert_array_equal(several.n_rates_diverged, diverged.sum(0))
    for name, values in member_arrays(several).items():
        for s in range(3):
            np.testing.assert_allclose(values[s], getattr(single[best[s]], name)[s], rtol=1e-9, atol=1e-9, err_msg=name)
    assert (several.status != Status.DIVERGED).all() and (several.train_mse[:, -1] <= final.min(0) * (1 + 1e-9)).all()


def test_several_rates_do_not_depend_on_the_stack_and_leave_the_kept_weights_in_the_network():
    network = build()
    together = train(network, {"relative": RATES}, batch_size=5)
    np.testing.assert_array_equal(network.weights(), together.weights[:, -1])
    for seed in range(3):
        alone = train(build([seed]), {"relative": RATES}, seeds=[seed], batch_size=5)
        for name, values in member_arrays(alone).items():
            np.testing.assert_allclose(values[0], getattr(together, name)[seed], rtol=1e-9, atol=1e-9, err_msg=name)


def test_a_network_is_lost_only_if_it_is_at_every_rate():
    unit = train(build(), {"relative": (30.0, 300.0)})
    assert (unit.status == Status.DIVERGED).all() and (unit.n_rates_diverged == 2).all()
    assert np.isnan(unit.train_mse[:, -1]).all()
    assert train(build(), {"relative": (0.1, 300.0)}).n_rates_diverged.tolist() == [1, 1, 1]


@pytest.mark.parametrize("rate", [{"relative": 0.5}, {"absolute": 0.1}, {"relative": (0.2, 0.5)}])
def test_tokens_may_be_integers(rate):
    class Long(nn.Module):
        def forward(self, x):
            return x.long()

    def trained(first, convert):
        modules = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            modules.append(nn.Sequential(first, nn.Embedding(7, 3), nn.Flatten(), nn.Linear(15, 2)))
        generator = torch_stream("tokens")
        tokens = {name: torch.randint(0, 7, (6, 5), generator=generator) for name in ("train", "validation", "test")}
        arrays = {f"x_{name}": convert(x) for name, x in tokens.items()}
        arrays |= {f"y_{name}": x[:, :2].double() / 7 for name, x in tokens.items()}
        stack = StackedModules(modules, (5,), 2, samples=arrays["x_train"])
        return train(stack, rate, data=UnitData(x_probe=arrays["x_test"][:3], **arrays), n_epochs=4)

    found, expected = trained(nn.Identity(), lambda x: x), trained(Long(), lambda x: x.double())
    for name in ("learning_rate", "train_mse", "test_mse", "probe_kernels", "weights"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, err_msg=name)
    assert (found.train_mse[:, -1] < found.train_mse[:, 0]).all()


def test_which_run_is_kept():
    nan = np.nan
    losses = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 5.0], [nan, nan, 7.0], [nan, nan, nan]])
    diverged = np.array([[False, True, False], [False] * 3, [True, True, False], [True] * 3])
    stops = np.array([[9, 9, 9], [9, 9, 9], [3, 1, 9], [2, 5, 5]])
    assert kept_runs(losses, diverged, stops).tolist() == [2, 0, 2, 1]


def test_a_share_of_the_infinite_limit_is_one_rate_for_all():
    rate = {"relative": 0.5, "of": "infinite_ntk"}
    unit = train(build(), rate, lambda_max=50.0)
    assert unit.learning_rate.tolist() == [0.5 * 2 * 14 / 50.0] * 3 and unit.lambda_max.tolist() == [50.0] * 3
    by_number = train(build(), {"absolute": 0.28})
    for name in ("train_mse", "probe_predictions", "weights"):
        np.testing.assert_allclose(getattr(unit, name), getattr(by_number, name), rtol=1e-12, atol=1e-12)
    settings = LearningRateSettings(**rate)
    np.testing.assert_allclose(common_learning_rate(settings, 14, lambda_max=50.0), unit.learning_rate)
    several = learning_rates(
        build().select([0, 0, 1, 1]), unit_data().x_train, LearningRateSettings(relative=(1.0, 0.5)), lambda_max=7.0
    )
    assert several[0].tolist() == [2.0, 4.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("rate", "lambda_max"),
    [({"relative": 0.5, "of": "infinite_ntk"}, None), ({"relative": 0.5}, 3.0), ({"absolute": 0.5}, 3.0)],
)
def test_the_infinite_limit_is_needed_where_it_is_asked_for_only(rate, lambda_max):
    with pytest.raises(ValueError, match="give lambda_max for a relative rate of infinite_ntk, and for no other"):
        train(build(), rate, lambda_max=lambda_max)


def test_networks_without_a_common_rate():
    with pytest.raises(ValueError, match="one learning rate in common"):
        common_learning_rate(LearningRateSettings(relative=0.5), 10)


@pytest.mark.parametrize("initial_output", ["keep", "subtract"])
def test_probe_predictions_are_the_outputs_of_the_recorded_weights(initial_output):
    unit = train(build(), {"absolute": 0.2}, initial_output=initial_output, target_scale=3.0)
    assert unit.probe_predictions.shape == (3, 4, 4, 2)
    network, x = build(), unit_data().x_probe
    with torch.no_grad():
        start = network(x) if initial_output == "subtract" else 0.0
        for e in range(4):
            network.load_weights(torch.from_numpy(unit.weights[:, e]))
            expected = (network(x) - start) / 3.0
            np.testing.assert_allclose(unit.probe_predictions[:, e], expected, rtol=1e-10, atol=1e-12)


def test_probe_predictions_end_where_a_network_diverged():
    unit = train(build(), {"relative": 30.0})
    assert (unit.status == Status.DIVERGED).all()
    lost = unit.epochs >= unit.stop_epoch[:, None]
    assert (np.isnan(unit.probe_predictions).all((2, 3)) == lost).all()
    assert np.isfinite(unit.probe_predictions[~lost]).all()
