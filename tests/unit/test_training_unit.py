"""train_unit: what must hold of every training, whoever is in the stack."""

import dataclasses
import logging
import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ntk_atlas.arrays import Status
from ntk_atlas.config import CheckpointSettings, LearningRateSettings, NetworkSettings, TrainingSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import empirical_ntk
from ntk_atlas.streams import torch_stream
from ntk_atlas.training import UnitData, train_unit

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
ERRORS = ("train_loss", "train_mse", "validation_mse", "test_mse", "train_error", "test_error")


def build(seeds=(0, 1, 2), **settings):
    return build_networks(
        NetworkSettings(**({"parameterization": "ntk", "activation": "erf"} | settings)),
        depth=2,
        width=8,
        init_scale=2.0,
        input_shape=(5,),
        n_outputs=2,
        generators=[torch_stream("weights", seed) for seed in seeds],
        dtype=torch.float64,
    )


def unit_data(n=14, n_outputs=2):
    g = torch.Generator().manual_seed(11)
    sizes = {"train": n, "validation": 9, "test": 10}
    arrays = {}
    for split, size in sizes.items():
        arrays[f"x_{split}"] = torch.randn(size, 5, generator=g, dtype=torch.float64)
        labels = (arrays[f"x_{split}"][:, 0] > 0).long()
        arrays[f"labels_{split}"] = labels
        arrays[f"y_{split}"] = F.one_hot(labels, 2).double()[:, :n_outputs] * 2 - 1
    return UnitData(x_probe=arrays["x_test"][:4], **arrays)


def training(n_epochs=40, **changes):
    checkpoints = CheckpointSettings(**changes.pop("checkpoints", {"epochs": "every", "weights": "scheduled"}))
    rate = LearningRateSettings(**changes.pop("rate", {"absolute": 0.05}))
    return TrainingSettings(
        max_epochs=n_epochs, dtype="float64", learning_rate=rate, checkpoints=checkpoints, **changes
    )


def train(network, settings, data=None, seeds=None, **arguments):
    seeds = range(network.n_members) if seeds is None else seeds
    return train_unit(
        network,
        data or unit_data(),
        settings=settings,
        n_epochs=settings.max_epochs,
        batch_labels=[("batches", seed) for seed in seeds],
        **arguments,
    )


def assert_same(one, other, members=slice(None), *, exact=False, skip=()):
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name in (*skip, "seconds", "target_scale") or not isinstance(a, np.ndarray):
            continue
        if field.name not in ("epochs", "weight_epochs"):
            a, b = a[members], b[members]
        if exact:
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        else:
            np.testing.assert_allclose(a, b, **CLOSE, err_msg=field.name)


VARIANTS = [
    {"optimizer": "momentum"},
    {"optimizer": "momentum", "batch_size": 4},
    {"optimizer": "adam", "batch_size": 4, "rate": {"absolute": 0.01}},
    {"optimizer": "sgd", "rate": {"relative": 0.5}, "initial_output": "subtract", "batch_size": 5},
    {"optimizer": "adam", "loss": "cross_entropy", "rate": {"absolute": 0.01}},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_member_trains_as_if_it_were_alone(variant):
    settings = training(12, **variant)
    stacked = train(build(), settings)
    assert np.isfinite(stacked.test_mse).all() and (stacked.train_loss[:, -1] < stacked.train_loss[:, 0]).all()
    for seed in range(3):
        alone = train(build([seed]), settings, seeds=[seed])
        for field in dataclasses.fields(alone):
            a, s = getattr(alone, field.name), getattr(stacked, field.name)
            if isinstance(a, np.ndarray) and field.name not in ("epochs", "weight_epochs"):
                np.testing.assert_allclose(a[0], s[seed], **CLOSE, err_msg=field.name)


def test_full_batch_momentum_is_the_textbook_loop():
    data, network = unit_data(), build()
    trained = train(build(), training(15, optimizer="momentum", momentum=0.8), data)
    for s in range(3):
        member = network.member(s)
        weights = list(member.parameters())
        velocity = [torch.zeros_like(p) for p in weights]
        for epoch in range(15):
            loss = (member(data.x_train) - data.y_train).square().sum() / (2 * len(data.x_train))
            np.testing.assert_allclose(loss.item(), trained.train_loss[s, epoch], **CLOSE)
            with torch.no_grad():
                for p, v, g in zip(weights, velocity, torch.autograd.grad(loss, weights), strict=True):
                    v.mul_(0.8).add_(g)
                    p.sub_(0.05 * v)
        with torch.no_grad():
            np.testing.assert_allclose(member(data.x_test), trained.test_predictions[s], **CLOSE)
            flat = torch.cat([p.flatten() for p in weights])
        np.testing.assert_allclose(flat, trained.weights[s, -1], **CLOSE)


def test_minibatch_cross_entropy_adam_is_the_textbook_loop():
    data, network = unit_data(), build([1])
    settings = training(
        4, optimizer="adam", loss="cross_entropy", batch_size=4, rate={"absolute": 0.02}, initial_output="subtract"
    )
    trained = train(build([1]), settings, data, seeds=["s"])
    member = network.member(0)
    with torch.no_grad():
        start, start_test = member(data.x_train), member(data.x_test)
    optimizer = torch.optim.Adam(member.parameters(), lr=0.02)
    for epoch in range(4):
        order = torch.randperm(14, generator=torch_stream("batches", "s", epoch))
        for batch in order.split(4):
            optimizer.zero_grad()
            logits = member(data.x_train[batch]) - start[batch]
            F.cross_entropy(logits, data.labels_train[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        np.testing.assert_allclose(member(data.x_test) - start_test, trained.test_predictions[0], **CLOSE)


def test_recorded_kernels_and_errors_are_those_of_the_recorded_weights():
    data, network = unit_data(), build()
    trained = train(build(), training(6), data)
    assert trained.probe_kernels.shape == (3, 7, 4, 4)
    for e in (0, 3, 6):
        network.load_weights(torch.from_numpy(trained.weights[:, e]))
        kernel = empirical_ntk(network, data.x_probe).detach()
        np.testing.assert_allclose(trained.probe_kernels[:, e], kernel, rtol=1e-12, atol=1e-12)
        with torch.no_grad():
            outputs = network(data.x_validation)
        mse = (outputs - data.y_validation).square().mean(dim=(1, 2))
        error = (outputs.argmax(2) != data.labels_validation).double().mean(1)
        np.testing.assert_allclose(trained.validation_mse[:, e], mse, **CLOSE)
        np.testing.assert_allclose(trained.validation_error[:, e], error, **CLOSE)


@pytest.mark.parametrize("variant", VARIANTS[:3])
def test_a_diverging_member_leaves_the_others_untouched(variant):
    settings = training(20, divergence_factor=50.0, **variant)
    calm, wild = build(activation="relu"), build(activation="relu")
    weights = wild.weights()
    weights[1] *= 8.0 if variant["optimizer"] != "adam" else torch.nan
    wild.load_weights(weights)
    with_calm, with_wild = train(calm, settings), train(wild, settings)
    assert_same(with_calm, with_wild, [0, 2], exact=True)
    assert with_wild.status.tolist()[1] == Status.DIVERGED and with_wild.status[0] != Status.DIVERGED
    stop = with_wild.stop_epoch[1]
    assert stop < 20
    for name in (*ERRORS, "probe_kernels", "weights"):
        values = getattr(with_wild, name)[1]
        assert np.isnan(values[stop:]).all(), name
        assert np.isfinite(values[:stop]).all(), name
    assert np.isnan(with_wild.test_predictions[1]).all()


@pytest.mark.parametrize("batch_size", ["full", 4])
def test_a_member_at_the_stopping_loss_stands_still(batch_size):
    plain = train(build(), training(40, batch_size=batch_size))
    stop_loss = float(np.sort(plain.train_mse[:, 25])[1])
    stopped = train(build(), training(40, batch_size=batch_size, stop_loss=stop_loss, target_mse=stop_loss))
    expected = [int(np.argmax(row <= stop_loss)) if (row <= stop_loss).any() else 40 for row in plain.train_mse]
    assert stopped.stop_epoch.tolist() == expected and min(expected) < 40
    for s, epoch in enumerate(expected):
        for name in (*ERRORS, "probe_kernels", "weights"):
            a, b = getattr(plain, name)[s], getattr(stopped, name)[s]
            np.testing.assert_array_equal(a[: epoch + 1], b[: epoch + 1], err_msg=name)
            np.testing.assert_array_equal(b[epoch:], np.broadcast_to(b[epoch], b[epoch:].shape), err_msg=name)
    assert (stopped.status == np.where(stopped.train_mse[:, -1] <= stop_loss, 0, 1)).all()


def test_training_ends_when_every_member_stopped():
    every = train(build(), training(200, stop_loss=0.1, rate={"relative": 0.5}))
    assert (every.stop_epoch < 200).all()
    sparse = {"epochs": (0, 3, 5_000_000), "weights": "scheduled"}
    settings = training(5_000_000, stop_loss=0.1, rate={"relative": 0.5}, checkpoints=sparse)
    unit = train(build(), settings)
    assert unit.epochs.tolist() == [0, 3, 5_000_000]
    for name in (*ERRORS, "probe_kernels", "weights"):
        np.testing.assert_array_equal(getattr(unit, name), getattr(every, name)[:, [0, 3, 200]], err_msg=name)
    assert (unit.status == Status.BUDGET_SPENT).all()


def test_a_member_lost_from_the_start_is_a_result_too():
    settings = training(6, rate={"relative": 0.5})
    network = build()
    weights = network.weights()
    weights[1] = torch.nan
    network.load_weights(weights)
    unit = train(network, settings)
    assert_same(unit, train(build(), settings), [0, 2], exact=True)
    assert unit.status[1] == Status.DIVERGED and unit.stop_epoch[1] == 0 and np.isnan(unit.train_mse[1]).all()


def test_a_dead_network_has_no_stability_limit_and_stays():
    network = build(trainable_biases=False)
    network.load_weights(torch.zeros_like(network.weights()))
    unit = train(network, training(4, rate={"relative": 0.5}))
    assert unit.learning_rate.tolist() == [0.0] * 3 and unit.lambda_max.tolist() == [0.0] * 3
    assert (unit.status == Status.BUDGET_SPENT).all() and (unit.weights == 0).all()


def test_training_is_quiet(caplog):
    with caplog.at_level(logging.INFO), warnings.catch_warnings():
        warnings.simplefilter("error")
        train(build(), training(2))
    assert not [record for record in caplog.records if "lightning" in record.name]


def test_everything_diverged_is_still_a_result():
    unit = train(build(), training(30, rate={"absolute": 1e6}))
    assert (unit.status == Status.DIVERGED).all() and (unit.stop_epoch < 30).all()
    assert np.isnan(unit.test_mse[:, -1]).all() and np.isfinite(unit.test_mse[:, 0]).all()


def test_best_validation_selects_a_checkpoint():
    data = unit_data(n=4)
    data = dataclasses.replace(data, y_validation=0.3 * data.y_validation)
    best = train(build(), training(60, selection="best_validation"), data)
    last = train(build(), training(60), data)
    assert_same(best, last, skip=[f.name for f in dataclasses.fields(best) if "select" in f.name or "pred" in f.name])
    chosen = best.validation_mse.argmin(axis=1)
    assert (chosen < 60).any() and best.selected_epoch.tolist() == chosen.tolist()
    y = data.y_test.numpy()
    np.testing.assert_allclose(((best.test_predictions - y) ** 2).mean((1, 2)), best.selected_test_mse, **CLOSE)
    np.testing.assert_allclose(best.test_mse[range(3), chosen], best.selected_test_mse, **CLOSE)
    np.testing.assert_allclose(((last.test_predictions - y) ** 2).mean((1, 2)), last.test_mse[:, -1], **CLOSE)


def test_target_scale_is_training_on_scaled_targets():
    data = unit_data()
    scaled = dataclasses.replace(
        data, **{f"y_{split}": 3.0 * getattr(data, f"y_{split}") for split in ("train", "validation", "test")}
    )
    by_scale, by_hand = train(build(), training(10), data, target_scale=3.0), train(build(), training(10), scaled)
    np.testing.assert_allclose(by_scale.weights, by_hand.weights, **CLOSE)
    for name in ("train_loss", "train_mse", "validation_mse", "test_mse", "selected_test_mse"):
        np.testing.assert_allclose(9.0 * getattr(by_scale, name), getattr(by_hand, name), **CLOSE)
    np.testing.assert_allclose(3.0 * by_scale.test_predictions, by_hand.test_predictions, **CLOSE)
    np.testing.assert_array_equal(by_scale.test_error, by_hand.test_error)
    assert by_scale.target_scale == 3.0


@pytest.mark.parametrize("batch_size", ["full", 4])
def test_subtracting_the_initial_output_starts_at_zero(batch_size):
    data, network = unit_data(), build()
    unit = train(build(), training(8, initial_output="subtract", batch_size=batch_size), data)
    np.testing.assert_allclose(unit.train_mse[:, 0], data.y_train.square().mean(), **CLOSE)
    with torch.no_grad():
        start = network(data.x_test)
        network.load_weights(torch.from_numpy(unit.weights[:, -1]))
        np.testing.assert_allclose(network(data.x_test) - start, unit.test_predictions, **CLOSE)


def test_large_output_scale_is_lazy_at_the_same_speed_in_function_space():
    drift, first_step = [], []
    for alpha in (1.0, 100.0, 1e4):
        settings = training(60, initial_output="subtract", rate={"absolute": 0.5})
        unit = train(build(output_scale=alpha), settings)
        np.testing.assert_allclose(unit.learning_rate, 0.5 / alpha**2)
        k = unit.probe_kernels
        drift.append(np.linalg.norm(k[:, -1] - k[:, 0]) / np.linalg.norm(k[:, 0]))
        first_step.append(unit.train_loss[:, 1])
    assert drift[1] < 0.03 * drift[0] and drift[2] < 0.03 * drift[1]
    np.testing.assert_allclose(first_step[1], first_step[2], rtol=5e-3)
    np.testing.assert_allclose(first_step[0], first_step[2], rtol=0.2)


def test_float32_is_float32():
    settings = training(5).model_copy(update={"dtype": "float32"})
    unit = train(build(), settings)
    assert unit.probe_kernels.dtype == unit.weights.dtype == unit.test_predictions.dtype == np.float32
    double = train(build(), training(5))
    assert double.probe_kernels.dtype == np.float64
    np.testing.assert_allclose(unit.test_mse, double.test_mse, rtol=1e-4)


def test_weights_of_the_ends_and_regression_without_labels():
    data = dataclasses.replace(unit_data(), labels_train=None, labels_validation=None, labels_test=None)
    unit = train(build(), training(9, checkpoints={"epochs": (2, 5)}), data)
    assert unit.epochs.tolist() == [0, 2, 5, 9] and unit.weight_epochs.tolist() == [0, 9]
    np.testing.assert_array_equal(unit.weights[:, 0], build().weights())
    assert np.isnan(unit.test_error).all() and np.isfinite(unit.test_mse).all()


def test_training_leaves_no_global_state():
    torch.manual_seed(1)
    before = torch.random.get_rng_state(), torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    train(build(), training(3, batch_size=4))
    after = torch.random.get_rng_state(), torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="2 batch_labels for 3 members"):
        train(build(), training(2), seeds=(0, 1))
    data = dataclasses.replace(unit_data(), labels_train=None)
    with pytest.raises(ValueError, match="cross_entropy needs class labels"):
        train(build(), training(2, loss="cross_entropy"), data)
