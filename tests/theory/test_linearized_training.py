"""Networks linearized at initialization: the network itself where it is linear, and in the limit of large width."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from torch.func import functional_call

from ntk_atlas.config import CheckpointSettings, LearningRateSettings, NetworkSettings, TrainingSettings
from ntk_atlas.families import build_networks
from ntk_atlas.networks import StackedModules, linearize
from ntk_atlas.streams import torch_stream
from ntk_atlas.training import MemberBatches, UnitData, train_linearized, train_unit

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


def both(data, settings, make, target_scale=1.0, closed_form=None):
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
        stop_epochs=unit.stop_epoch,
        batch_labels=labels,
        labels_train=data.labels_train,
        closed_form=closed_form,
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


STEP_BY_STEP = {
    "minibatches": {"batch_size": 5},
    "adam": {"optimizer": "adam", "rate": {"absolute": 0.05}},
    "adam in minibatches": {"optimizer": "adam", "rate": {"absolute": 0.05}, "batch_size": 5},
    "cosine": {"schedule": "cosine", "optimizer": "momentum"},
    "cross-entropy": {"loss": "cross_entropy"},
    "stopped": {"stop_loss": 0.3},
    "stopped in minibatches": {"stop_loss": 0.3, "batch_size": 5},
}
"""Trainings of which all but the last but one have no closed form."""


def labelled(data):
    """Two classes, by the larger target."""
    parts = ("train", "validation", "test")
    return dataclasses.replace(data, **{f"labels_{part}": getattr(data, f"y_{part}").argmax(1) for part in parts})


@pytest.mark.parametrize("changes", STEP_BY_STEP.values(), ids=STEP_BY_STEP)
@pytest.mark.parametrize("initial_output", ["keep", "subtract"])
def test_a_linear_model_is_its_own_linearization_however_it_is_trained(data, changes, initial_output):
    settings = training(initial_output=initial_output, **changes)
    unit, linear = both(
        labelled(data), settings, lambda: build(0, 1), target_scale=3.0 if "loss" not in changes else 1.0
    )
    np.testing.assert_allclose(linear.predictions, unit.probe_predictions, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(linear.train_mse, unit.train_mse, rtol=1e-8, atol=1e-10)
    if "stop_loss" in changes:
        assert (unit.stop_epoch < EPOCHS[-1]).any()


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("changes", [{}, {"initial_output": "subtract"}, {"stop_loss": 0.75}])
def test_the_closed_form_is_the_linear_model_trained_step_by_step(data, optimizer, changes):
    settings = training(optimizer=optimizer, **changes)
    unit, solved = both(data, settings, lambda: build(2, 8), closed_form=True)
    _, trained = both(data, settings, lambda: build(2, 8), closed_form=False)
    np.testing.assert_allclose(trained.predictions, solved.predictions, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(trained.train_mse, solved.train_mse, rtol=1e-9, atol=1e-10)
    if "stop_loss" in changes:
        assert (unit.stop_epoch < EPOCHS[-1]).any()


def test_step_by_step_is_a_model_with_the_jacobian_as_its_features(data):
    """An independent linear model: plain torch, J as a matrix, the batches of the network."""
    settings = training(optimizer="adam", rate={"absolute": 0.02}, batch_size=5, loss="cross_entropy")
    data = labelled(data)
    _, linear = both(data, settings, lambda: build(2, 8))
    for index in range(3):
        network = build(2, 8, seeds=(index,))
        state = {name: p.detach() for name, p in network.named_parameters()}
        x = torch.cat([data.x_train, data.x_probe])
        outputs = partial(functional_call, network, args=(x,))
        jacobian = torch.func.jacrev(lambda values, outputs=outputs: outputs(values)[0])(state)
        features = torch.cat([part.flatten(2) for part in jacobian.values()], 2)
        start = network(x)[0].detach()
        delta = torch.zeros(features.shape[2], dtype=torch.float64, requires_grad=True)
        adam = torch.optim.Adam([delta], lr=0.02)
        batches, found = MemberBatches(N_TRAIN, 5, [("b", index)]), [start[N_TRAIN:]]
        for epoch in range(EPOCHS[-1]):
            batches.set_epoch(epoch)
            for (batch,) in batches:
                adam.zero_grad()
                torch.nn.functional.cross_entropy(
                    start[batch] + features[batch] @ delta, data.labels_train[batch]
                ).backward()
                adam.step()
            if epoch + 1 in EPOCHS:
                found.append((start[N_TRAIN:] + features[N_TRAIN:] @ delta).detach())
        np.testing.assert_allclose(linear.predictions[index], torch.stack(found), rtol=1e-6, atol=1e-8)


class Gate(torch.autograd.Function):
    """x², with a backward pass and no rule for tangents."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2.0 * x * gradient


class OwnNetwork(torch.nn.Module):
    def __init__(self, seed, *, gate):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.last, self.gate = torch.nn.Linear(4, 6), torch.nn.Linear(6, 2), gate
        self.first.bias.requires_grad_(False)

    def forward(self, x):
        z = self.first(x)
        return self.last(Gate.apply(z) if self.gate else z.tanh())


@pytest.mark.parametrize("gate", [False, True], ids=["tangents", "a second backward pass"])
def test_a_network_of_the_users_own_is_linearized(data, gate):
    def make():
        return StackedModules([OwnNetwork(seed, gate=gate).double() for seed in (0, 1)], (4,), 2, output_scale=2.0)

    settings = training(rate={"relative": 0.2})
    _, solved = both(data, settings, make, closed_form=True)
    _, trained = both(data, settings, make, closed_form=False)
    np.testing.assert_allclose(trained.predictions, solved.predictions, rtol=1e-9, atol=1e-10)


def test_the_linear_model_of_a_module_is_a_module(data):
    module = OwnNetwork(0, gate=False).double()
    linear = linearize(module)
    assert [p.requires_grad for p in linear.parameters()] == [p.requires_grad for p in module.parameters()]
    torch.testing.assert_close(linear(data.x_test), module(data.x_test))
    generator, step, before = torch.Generator().manual_seed(3), 1e-6, module(data.x_test).detach()
    with torch.no_grad():
        for mine, p in zip(linear.parameters(), module.parameters(), strict=True):
            if p.requires_grad:
                direction = torch.randn(p.shape, generator=generator, dtype=torch.float64)
                mine += direction
                p += step * direction
    moved = linear(data.x_test).detach() - before  # the module that it was made of may go on, and ℓ stays
    torch.testing.assert_close(moved, (module(data.x_test).detach() - before) / step, rtol=1e-4, atol=1e-5)


def test_members_of_a_linear_stack_are_those_of_the_stack(data):
    linear = linearize(build(2, 8))
    with torch.no_grad():
        for p in linear.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    outputs = linear(data.x_test)
    torch.testing.assert_close(linear.member(1)(data.x_test), outputs[1])
    torch.testing.assert_close(linear.select([2, 0])(data.x_test), outputs[[2, 0]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"batch_size": 4}, "give batch_labels"), ({"loss": "cross_entropy"}, "give labels_train")],
)
def test_what_a_training_step_by_step_needs_is_said(data, changes, message):
    with pytest.raises(ValueError, match=message):
        train_linearized(
            build(1, 4), data.x_train, data.y_train, data.x_probe,
            learning_rates=[0.1] * 3, epochs=EPOCHS, settings=training(**changes),
        )  # fmt: skip
    with pytest.raises(ValueError, match="is solved in closed form, which"):
        train_linearized(
            build(1, 4), data.x_train, data.y_train, data.x_probe,
            learning_rates=[0.1] * 3, epochs=EPOCHS, settings=training(**changes), closed_form=True,
        )  # fmt: skip
