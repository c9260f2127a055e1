"""A stack is the networks it was made of: held against a loop over the factory's own modules, in float64."""

import warnings

import hostile_networks
import numpy as np
import pytest
import torch

from ntk_atlas.arrays import Status
from ntk_atlas.config import CheckpointSettings, LearningRateSettings, NetworkSettings, TrainingSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import largest_eigenvalue
from ntk_atlas.streams import global_streams, torch_stream
from ntk_atlas.training import Resume, TrainingTimedOutError, UnitData, train_unit

SEEDS, STEPS, RATE = (0, 1, 2), 5, 0.1
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
NAMES = [*hostile_networks.ON_NUMBERS, *hostile_networks.ON_TOKENS]
QUICK = (
    "PlainTensor", "Threshold", "TupleOfTensors", "Closure", "ClosureOverItself", "UnregisteredLayers",
    "RandomlyFrozen", "CountsCalls", "InPlaceOnInput", "ScalarParameter", "PlainAliases", "LazyByHand", "Checkpointed",
    "RecomputedInHook", "CheckpointedInTheOldForm", "Equilibrium", "Reversible", "of_local_class", "scripted",
    "old_weight_norm", "data_parallel", "sparse_tokens", "Transformer", "WithNameOfAWrapper", "data_parallel_with_hook",
)  # fmt: skip
"""One of each kind; the others are slow together."""

pytestmark = pytest.mark.filterwarnings("ignore::Warning:torch", "ignore:.*deprecated.*")


def all_names(quick=QUICK, without=()):
    return [
        pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in NAMES if name not in without
    ]


def inputs(name, n=6):
    if name in hostile_networks.ON_TOKENS:
        x = torch.randint(0, hostile_networks.TOKENS, (n, 5), generator=torch_stream("x")).double()
        x[0, 3:] = 0
        return x
    return torch.randn(n, 5, generator=torch_stream("x"), dtype=torch.float64)


def targets(n=6):
    return torch.randn(n, 2, generator=torch_stream("y"), dtype=torch.float64)


def made(name, tmp_path, seeds=SEEDS):
    """The stack of float32 networks, brought to float64 as for kernels."""
    file = tmp_path / "my_net.py"
    file.write_text(f"import hostile_networks\nbuild = hostile_networks.factory({name!r})\n")
    stack = build_networks(
        NetworkSettings(factory=f"{file}:build"),
        depth=1,
        width=4,
        init_scale=1.0,
        input_shape=(5,),
        n_outputs=2,
        generators=[torch_stream("w", seed) for seed in seeds],
        samples=inputs(name),
    )
    return stack.double()


def own_modules(name, seeds=SEEDS):
    """What the factory builds, without the package: in float64 and evaluation mode."""
    modules = []
    for seed in seeds:
        generator = torch_stream("w", seed)
        with global_streams(generator.initial_seed()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = hostile_networks.factory(name)(
                depth=1, width=4, init_scale=1.0, input_shape=(5,), n_outputs=2, generator=generator
            )
            if name in ("LazyNet", "LazyByHand"):
                module(inputs(name).float())
        module.eval().double()  # an adapter merges its weights in the precision that it was made in
        for part in module.modules():
            if not isinstance(part, torch.jit.ScriptModule):
                for key, value in vars(part).items():
                    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.is_leaf:
                        setattr(part, key, value.double())
        if name == "UnregisteredLayers":
            module.layers[0].double()
        modules.append(module)
    return modules


def by_itself(module, x):
    """Outputs and gradients of one module, whatever it is."""
    with torch.compiler.set_stance("force_eager"), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        output = module(x.clone())
    parameters = [p for p in module.parameters() if p.requires_grad]
    return output.detach(), gradients(output.pow(3).sum() + output.sum(), parameters)


def gradients(total, parameters):
    for p in parameters:
        p.grad = None
    total.backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.to_dense().clone() for p in parameters]


def assert_is(network, module, x, message=""):
    for found, expected in zip(by_itself(network, x), by_itself(module, x), strict=True):
        torch.testing.assert_close(found, expected, **CLOSE, msg=lambda m: f"{message}: {m}")


def gradients_of_members(stack, x):
    """Gradients of each member, from one pass over the stack."""
    parameters = [p for p in stack.parameters() if p.requires_grad]
    outputs = stack(x)
    found = gradients(outputs.pow(3).sum() + outputs.sum(), parameters)
    of = {id(p): g for g, p in zip(found, parameters, strict=True)}
    return outputs.detach(), [
        [of[id(p)][place].reshape(p[place].shape[1:] if place is not ... else p.shape)
         for p, place in stack.parameters_of([member]) if p.requires_grad]
        for member in range(stack.n_members)
    ]  # fmt: skip


def train_by_hand(modules, x, y, steps=STEPS, rate=RATE):
    """Losses before each step of gradient descent on 1/(2n) Σ‖f − y‖², a list a module."""
    losses = []
    for module in modules:
        losses.append([])
        for _ in range(steps):
            parameters = [p for p in module.parameters() if p.requires_grad]
            with torch.compiler.set_stance("force_eager"):
                loss = (module(x.clone()) - y).square().sum() / (2 * len(x))
            losses[-1].append(float(loss.detach()))
            found = gradients(loss, parameters)
            with torch.no_grad():
                for p, g in zip(parameters, found, strict=True):
                    p -= rate * g
    return losses


@pytest.mark.parametrize("name", all_names())
def test_outputs_gradients_and_training_are_those_of_the_members(name, tmp_path):
    stack, modules, x, y = made(name, tmp_path), own_modules(name), inputs(name), targets()
    kept = x.clone()
    outputs, gradients = gradients_of_members(stack, x)
    assert torch.equal(x, kept)
    for member, module in enumerate(modules):
        expected = by_itself(module, x)
        torch.testing.assert_close((outputs[member], gradients[member]), expected, **CLOSE)
        assert_is(stack.member(member), module, x, "member")
    own_inputs = torch.stack([x, x.flip(0), x])
    torch.testing.assert_close(stack(own_inputs)[1], by_itself(modules[1], x.flip(0))[0], **CLOSE)
    selected = stack.select([2, 0, 2])
    losses = []
    optimizer = torch.optim.SGD([p for p in stack.parameters() if p.requires_grad], lr=RATE, fused=True)
    for _ in range(STEPS):
        loss = (stack(x) - y).square().sum((1, 2)) / (2 * len(x))
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        losses.append(loss.tolist())
    torch.testing.assert_close(
        torch.tensor(losses).T, torch.tensor(train_by_hand(modules, x, y)), rtol=1e-9, atol=1e-11
    )
    for member, module in enumerate(modules):
        assert_is(stack.member(member), module, x, "trained member")
        flat = torch.cat([p.detach().flatten() for p in module.parameters()])
        torch.testing.assert_close(stack.weights()[member], flat, **CLOSE)
    torch.testing.assert_close(selected(x)[1], outputs[0], **CLOSE)  # it has not been trained
    selected.load_weights(stack.weights()[[2, 0, 2]])
    torch.testing.assert_close(selected(x), stack(x)[[2, 0, 2]], **CLOSE)
    with torch.no_grad():
        without_gradients = stack(x)[1]
    torch.testing.assert_close(without_gradients, by_itself(modules[1], x)[0], **CLOSE)


@pytest.mark.parametrize("name", ["Checkpointed", "RecomputedInHook", "Reversible", "PlainAliases"])
def test_one_network_alone_has_its_own_weights_in_the_backward_pass(name, tmp_path):
    """The only member starts with the weights of any template: what runs again must see those that it has later."""
    stack, (module,), x = made(name, tmp_path, seeds=(1,)), own_modules(name, seeds=(1,)), inputs(name)
    weights = torch.randn(stack.weights().shape, generator=torch_stream("other"), dtype=torch.float64)
    stack.load_weights(weights)
    torch.nn.utils.vector_to_parameters(weights[0], module.parameters())
    outputs, (gradients_found,) = gradients_of_members(stack, x)
    torch.testing.assert_close((outputs[0], gradients_found), by_itself(module, x), **CLOSE)
    assert_is(stack.member(0), module, x)


def largest_by_hand(module, x):
    with torch.compiler.set_stance("force_eager"), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        outputs = module(x.clone())
    parameters = [p for p in module.parameters() if p.requires_grad]
    rows = []
    for output in outputs.flatten():
        for p in parameters:
            p.grad = None
        output.backward(retain_graph=True)
        rows.append(
            torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad.to_dense()).flatten() for p in parameters])
        )
    jacobian = torch.stack(rows)
    return torch.linalg.eigvalsh(jacobian @ jacobian.T)[-1]


# Hooks on gradients are no part of a kernel.
@pytest.mark.parametrize(
    "name",
    all_names(
        ("Attention", "Equilibrium", "OnceDifferentiable", "weight_norm"),
        without=("HookOnGradients",),
    ),
)
def test_learning_rates_are_shares_of_the_limit_of_each_member(name, tmp_path):
    stack, x = made(name, tmp_path), inputs(name, n=4)
    found = largest_eigenvalue(stack, x, generator=torch_stream("s"))
    expected = torch.stack([largest_by_hand(module, x) for module in own_modules(name)])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def unit_data(name):
    x, y = inputs(name, n=12), targets(12)
    return UnitData(x[:6], y[:6], x[6:8], y[6:8], x[8:], y[8:], x[8:10])


def trained(name, tmp_path, resume=None, **settings):
    stack = made(name, tmp_path)
    defaults = {"optimizer": "sgd", "learning_rate": LearningRateSettings(absolute=RATE), "stop_loss": None}
    settings = TrainingSettings(
        **defaults | settings, dtype="float64", max_epochs=STEPS, checkpoints=CheckpointSettings(epochs=(1, 2, 3, 4))
    )
    labels = [("b", seed) for seed in SEEDS]
    return stack, train_unit(
        stack, unit_data(name), settings=settings, n_epochs=STEPS, batch_labels=labels, resume=resume
    )


@pytest.mark.parametrize("name", all_names(("PlainTensor", "CheckpointedInTheOldForm"), without=("HookOnGradients",)))
def test_a_unit_of_training_has_the_losses_of_a_loop_by_hand(name, tmp_path):
    stack, unit = trained(name, tmp_path)
    modules, data = own_modules(name), unit_data(name)
    losses = train_by_hand(modules, data.x_train, data.y_train, STEPS + 1)
    np.testing.assert_allclose(unit.train_loss, losses, rtol=1e-9)
    for member, module in enumerate(own_modules(name)):
        train_by_hand([module], data.x_train, data.y_train, STEPS)
        assert_is(stack.member(member), module, data.x_test)
        np.testing.assert_allclose(unit.test_predictions[member], by_itself(module, data.x_test)[0], rtol=1e-9)


def test_several_rates_divergence_and_early_stops_member_by_member(tmp_path):
    """Runs of a network that is no stack of parameters: copies, frozen one by one."""
    rates = (0.1, 0.5, 50.0)
    stack, unit = trained("PlainTensor", tmp_path, learning_rate=LearningRateSettings(relative=rates))
    assert not stack.vectorized
    data = unit_data("PlainTensor")
    best = []
    for rate in rates[:2]:
        modules = own_modules("PlainTensor")
        for module in modules:
            eta = rate * 2 * 6 / float(largest_by_hand(module, data.x_train))
            train_by_hand([module], data.x_train, data.y_train, STEPS, rate=eta)
        best.append([float((m(data.x_train) - data.y_train).square().sum().detach()) / 12 for m in modules])
    np.testing.assert_allclose(unit.train_loss[:, -1], np.min(best, axis=0), rtol=1e-3)  # a rate has two digits
    assert (unit.n_rates_diverged == 1).all()
    _, lost = trained("PlainTensor", tmp_path, learning_rate=LearningRateSettings(absolute=1e3), optimizer="momentum")
    assert (lost.status == Status.DIVERGED).all() and np.isnan(lost.weights[:, -1]).all()
    _, stopped = trained("PlainTensor", tmp_path, stop_loss=1.2, optimizer="momentum")
    assert len(set(stopped.stop_epoch.tolist())) > 1  # some stop, others go on


def test_a_killed_training_of_modules_goes_on_where_it_was(tmp_path):
    whole = trained("CountsCalls", tmp_path)[1]
    resume = Resume(tmp_path / "state", every=0.0, share=1e9)
    settings = {"max_seconds": 1e-9, "resume": resume}
    for _ in range(STEPS + 1):
        try:
            resumed = trained("CountsCalls", tmp_path, **settings)[1]
            break
        except TrainingTimedOutError:
            settings["max_seconds"] = None
    np.testing.assert_array_equal(resumed.train_loss, whole.train_loss)
    np.testing.assert_array_equal(resumed.weights, whole.weights)
