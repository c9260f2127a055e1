import os
import random

import numpy as np
import pytest
import torch
from torch import nn

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.networks.build import build_networks
from ntk_atlas.networks.user import FactoryError, StackedModules, load_factory
from ntk_atlas.streams import torch_stream

RESIDUAL = """
import random

import numpy
import torch
from torch import nn

class Residual(nn.Module):
    def __init__(self, depth, width, channels, n_outputs):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(depth)
        )
        self.head = nn.Linear(width, n_outputs)

    def forward(self, x):
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h.clone())
        return self.head(h.mean(dim=(2, 3)))

def build(depth, width, init_scale, input_shape, n_outputs, generator):
    network = Residual(depth, width, input_shape[0], n_outputs)
    with torch.no_grad():
        for p in network.parameters():
            if p.dim() > 1:
                p.normal_(0, (init_scale / p[0].numel()) ** 0.5, generator=generator)
    return network

class Branching(Residual):
    def forward(self, x):
        return super().forward(x) if float(x.sum()) < 1e9 else x

def branching(depth, width, init_scale, input_shape, n_outputs, generator):
    network = build(depth, width, init_scale, input_shape, n_outputs, generator)
    network.__class__ = Branching
    return network

def lazy(depth, width, init_scale, input_shape, n_outputs, generator):
    return nn.Sequential(nn.Flatten(), nn.Linear(32, width), nn.ReLU(), nn.Linear(width, n_outputs))

def no_network(**arguments):
    return "a network"

def wrong_shape(**arguments):
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 5))

def fails(**arguments):
    return nn.Linear(3, 2)

def by_numpy(depth, width, init_scale, input_shape, n_outputs, generator):
    network = nn.Sequential(nn.Flatten(), nn.Linear(32, n_outputs))
    with torch.no_grad():
        network[1].weight.copy_(torch.as_tensor(numpy.random.randn(n_outputs, 32) * random.random()))
    return network

def by_the_clock(depth, width, init_scale, input_shape, n_outputs, generator):
    network = nn.Sequential(nn.Flatten(), nn.Linear(32, n_outputs))
    with torch.no_grad():
        network[1].bias.copy_(torch.as_tensor(numpy.random.default_rng().normal(size=n_outputs)))
    return network

def of_any_size(depth, width, init_scale, input_shape, n_outputs, generator, sizes=iter(range(3, 99))):
    return nn.Sequential(nn.Flatten(), nn.Linear(32, next(sizes)))

number = 7
"""


class Branching(nn.Module):
    """Python control flow on the data, which vmap cannot follow."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        z = self.layer(x)
        return z if float(z.detach().sum()) > 1e9 else torch.tanh(z)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_net.py").write_text(RESIDUAL)
    monkeypatch.chdir(tmp_path)


def build(factory, seeds=(0, 1, 2), dtype=torch.float64, output_scale=1.0):
    return build_networks(
        NetworkSettings(factory=factory, output_scale=output_scale),
        depth=2,
        width=4,
        init_scale=2.0,
        input_shape=(2, 4, 4),
        n_outputs=3,
        generators=[torch_stream("w", seed) for seed in seeds],
        dtype=dtype,
    )


def inputs(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def test_members_of_a_stack_are_the_networks_themselves(folder):
    network = build("my_net.py:build", output_scale=3.0)
    x = inputs(6, 2, 4, 4)
    assert network.vectorized
    for i in range(3):
        alone = load_factory("my_net.py:build")(
            depth=2, width=4, init_scale=2.0, input_shape=(2, 4, 4), n_outputs=3, generator=torch_stream("w", i)
        )
        weights = dict(network.member(i).module.named_parameters())
        assert torch.equal(weights["first.weight"], alone.first.weight.double())
        torch.testing.assert_close(network.member(i)(x), network(x)[i], rtol=1e-12, atol=1e-12)
        own = torch.stack([x, x + 1, x * 2])
        torch.testing.assert_close(network.member(i)(own[i]), network(own)[i], rtol=1e-12, atol=1e-12)
        reference = alone.double().eval()
        reference.load_state_dict(network.member(i).module.state_dict())
        torch.testing.assert_close(3.0 * reference(x), network(x)[i], rtol=1e-12, atol=1e-12)


def test_vmap_and_loop_agree_with_gradients(folder):
    x, results = inputs(5, 2, 4, 4), []
    for factory in ("build", "branching"):
        network = build(f"my_net.py:{factory}")
        assert network.vectorized == (factory == "build")
        outputs = network(x)
        gradients = torch.autograd.grad(outputs.square().sum(), list(network.parameters()))
        results.append([outputs, *(g.reshape(-1) for g in gradients)])
    (mapped, *stacked), (looped, *apart) = results
    torch.testing.assert_close(mapped, looped, rtol=1e-10, atol=1e-10)
    by_member = [torch.cat(apart[i : i + len(stacked)]) for i in range(0, len(apart), len(stacked))]
    expected = torch.cat([g.reshape(3, -1) for g in stacked], dim=1)
    torch.testing.assert_close(torch.stack(by_member), expected, rtol=1e-10, atol=1e-10)


def test_what_vmap_cannot_do_runs_in_a_loop():
    modules = [Branching().double() for _ in range(2)]
    network, x = StackedModules(modules, (4,), 2), inputs(5, 4)
    assert not network.vectorized
    for own in (x.expand(2, 5, 4), x):
        for i, module in enumerate(modules):
            torch.testing.assert_close(network(own)[i], module(x), rtol=1e-13, atol=1e-13)


def test_batch_normalization_is_always_in_evaluation_mode():
    modules = [nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).double() for _ in range(2)]
    for module in modules:
        module[1].running_mean.fill_(0.3)
    network, x = StackedModules(modules, (4,), 3).train(), inputs(6, 4)
    assert not network.training
    torch.testing.assert_close(network(x)[1], modules[1].eval()(x), rtol=1e-12, atol=1e-12)
    assert torch.equal(network.member(1).train().module[1].running_mean, modules[1][1].running_mean)
    torch.testing.assert_close(network(x[:1])[0], network(x)[0, :1], rtol=1e-12, atol=1e-12)


def test_one_output_may_come_without_its_axis():
    modules = [nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)) for _ in range(2)]
    network = StackedModules(modules, (4,), 1)
    assert network(torch.ones(3, 4)).shape == (2, 3, 1)
    assert network.member(0)(torch.ones(3, 4)).shape == (3, 1)


def test_weights_round_trip_and_frozen_parameters():
    modules = [nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).double() for _ in range(3)]
    for module in modules:
        module[0].bias.requires_grad_(False)
    network, x = StackedModules(modules, (4,), 2), inputs(3, 4)
    assert [p.requires_grad for p in network.parameters()] == [True, False, True, True]
    other = network.select([2, 1, 0])
    torch.testing.assert_close(other(x), network(x)[[2, 1, 0]], rtol=1e-13, atol=1e-13)
    other.load_weights(network.weights())
    assert torch.equal(other(x), network(x))


@pytest.mark.parametrize("factory", ["lazy", "by_numpy"])
def test_a_factory_without_generator_is_still_reproducible(folder, factory):
    state, of_numpy, of_python = torch.random.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    first, second = build(f"my_net.py:{factory}", seeds=(0, 1)), build(f"my_net.py:{factory}", seeds=(1,))
    assert torch.equal(first.weights()[1:], second.weights())
    assert not torch.equal(first.weights()[0], first.weights()[1])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert random.getstate() == of_python
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), of_numpy, strict=True))  # noqa: NPY002


def test_an_edit_of_the_same_size_and_second_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    file, loaded = tmp_path / "net.py", []
    for n in (3, 4):
        file.write_text(f"from torch import nn\ndef build(**arguments): return nn.Linear({n}, 1)\n")
        os.utime(file, (1.7e9, 1.7e9))
        loaded.append(load_factory(f"{file}:build")().in_features)
    assert loaded == [3, 4]


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("other.py:build", r"'other.py:build': no file .*other.py"),
        ("my_net.py:absent", r"'my_net.py:absent': my_net.py has no function 'absent'"),
        ("my_net.py:number", r"has no function 'number'"),
        ("broken.py:build", r"'broken.py:build': broken.py cannot be imported: ZeroDivisionError"),
        ("notes.txt:build", r"notes.txt is not a Python file"),
        ("my_net.py:no_network", r"'my_net.py:no_network' returned str: it must return a torch.nn.Module"),
        ("my_net.py:by_the_clock", r"'my_net.py:by_the_clock' gives another network each time for the same `gener"),
        ("my_net.py:of_any_size", r"'my_net.py:of_any_size' gives another network each time"),
        ("my_net.py:wrong_shape", r"'my_net.py:wrong_shape' maps .*\(2, 2, 4, 4\) to \(2, 5\), expected \(2, 3\)"),
        ("my_net.py:fails", r"'my_net.py:fails' fails on inputs of shape \(2, 2, 4, 4\): RuntimeError"),
    ],
)
def test_bad_factories_are_named(folder, tmp_path, factory, message):
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "notes.txt").write_text("build")
    with pytest.raises(FactoryError, match=message):
        build(factory)


def test_members_follow_their_stack_to_another_precision():
    """Kernels of networks trained in float32 are computed in float64."""
    modules = [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(2)]
    stack = StackedModules(modules, (3,), 2)
    x = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)
    single = stack(x.float()).detach()
    stack = stack.double()
    assert stack.member(1)(x).dtype == torch.float64
    assert stack.select([1])(x).dtype == torch.float64
    torch.testing.assert_close(stack.member(1)(x), stack(x)[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(stack(x).float(), single, rtol=1e-4, atol=1e-5)
