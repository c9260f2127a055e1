import os
import random

import numpy as np
import pytest
import torch
from torch import nn

from ntk_atlas.config import NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.networks import FactoryError, StackedModules, load_factory
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


UNUSABLE = """
import numpy
import torch
from torch import nn
from torch.nn import functional as F

def linear(generator):
    layer = nn.Linear(5, 2)
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_(generator=generator)
    return layer

class Net(nn.Module):
    scale = 1.0
    def __init__(self, forward, generator):
        super().__init__()
        self.layer, self.does = linear(generator), forward
    def forward(self, x):
        return self.does(self, x)

class KeptGraph(nn.Module):
    def __init__(self, generator):
        super().__init__()
        self.layer = linear(generator)
        self.doubled = 2 * self.layer.weight
    def forward(self, x):
        return F.linear(x, self.doubled, self.layer.bias)

class OnlySingle(nn.Module):
    def __init__(self, generator):
        super().__init__()
        self.layer, self.shift = linear(generator), numpy.float32([1, 2, 3, 4, 5])
    def forward(self, x):
        return F.linear(torch.from_numpy(self.shift) * 0 + x, self.layer.weight.float(), self.layer.bias.float())

CACHE = nn.Linear(5, 2)
WEIGHT = nn.Parameter(torch.ones(2, 5))

def cached(generator):
    with torch.no_grad():
        CACHE.weight.normal_(generator=generator)
    return CACHE

def shares_a_weight(generator):
    layer = linear(generator)
    layer.weight = WEIGHT
    return layer

def seeded(generator):
    torch.manual_seed(0)
    return nn.Linear(5, 2)

def of_a_class(generator):
    Net.scale = float(torch.randn((), generator=generator))
    return Net(lambda net, x: net.scale * net.layer(x), generator)

def of_random_width(generator):
    width = 3 + int(torch.randint(999, (), generator=generator))
    return nn.Sequential(nn.Linear(5, width), nn.Linear(width, 2))

def unseeded_features(generator):
    net = Net(lambda net, x: net.layer(x + net.shift), generator)
    net.shift = torch.as_tensor(numpy.random.default_rng().normal(size=5)).float()
    return net

def with_lost_weights(generator):
    layer = linear(generator)
    layer.bias.data.fill_(torch.nan)
    return layer

def halving(net, x):
    with torch.no_grad():
        net.layer.weight.mul_(0.5)
    return net.layer(x)

def counting(net, x):
    net.calls = getattr(net, "calls", 0) + 1
    return net.calls * net.layer(x)

FORWARDS = {
    "nan_outputs": lambda net, x: net.layer(x) / 0,
    "nan_gradients": lambda net, x: net.layer(x) + (net.layer(x) - net.layer(x).detach()).square().sqrt(),
    "a_tuple": lambda net, x: (net.layer(x), x),
    "a_dict": lambda net, x: {"outputs": net.layer(x)},
    "complex_outputs": lambda net, x: 1j * net.layer(x),
    "double_outputs": lambda net, x: net.layer(x).double(),
    "whole_outputs": lambda net, x: net.layer(x).long(),
    "one_axis": lambda net, x: net.layer(x)[:, 0],
    "detached": lambda net, x: net.layer(x).detach(),
    "of_no_weight": lambda net, x: x[:, :2] * torch.ones((), requires_grad=True),
    "dropout": lambda net, x: net.layer(F.dropout(x)),
    "counts": counting,
    "halves_weights": halving,
    "mixes_by_mean": lambda net, x: net.layer(x - x.mean(0)),
    "mixes_by_maximum": lambda net, x: net.layer(x / x.detach().abs().amax()),
    "asks_for_gradients": lambda net, x: net.layer(x) * (1 + torch.is_grad_enabled()),
    "sparse_gradients": lambda net, x: F.embedding((x[:, 0] > 0).long(), net.layer.weight.T[:, :2], sparse=True),
}
MADE = {
    "frozen": lambda g: linear(g).requires_grad_(False),
    "without_parameters": lambda g: nn.Tanh(),
    "on_meta": lambda g: nn.Linear(5, 2, device="meta"),
    "complex_weights": lambda g: nn.Linear(5, 2, dtype=torch.complex64),
    "batch_norm_without_statistics": lambda g: nn.Sequential(linear(g), nn.BatchNorm1d(2, track_running_stats=False)),
    "lazy_convolution": lambda g: nn.Sequential(nn.LazyConv2d(3, 3), nn.Flatten(), nn.LazyLinear(2)),
    "kept_graph": KeptGraph,
    "only_single": OnlySingle,
}

def __getattr__(name):
    if name in FORWARDS:
        return lambda *, generator, **sizes: Net(FORWARDS[name], generator)
    if name in MADE:
        return lambda *, generator, **sizes: MADE[name](generator)
    if name.startswith("call_"):
        return lambda *, generator, **sizes: globals()[name.removeprefix("call_")](generator)
    raise AttributeError(name)
"""
REFUSED = {
    "call_cached": r"gives two networks the same weights in memory \('weight'\): make a new module",
    "call_shares_a_weight": r"gives two networks the same weights in memory \('weight'\)",
    "call_seeded": r"gives two seeds the same network: draw its weights from `generator`",
    "call_of_a_class": r": outputs of the network of seed 0 changed when that of another was built",
    "call_of_random_width": r"different architectures: '0.weight' is .* in the first and .* in number 2",
    "call_unseeded_features": r"gives another network each time for the same `generator`",
    "call_with_lost_weights": r"has weights that are not finite at initialization \('bias'\)",
    "nan_outputs": r"has outputs that are not finite at initialization",
    "nan_gradients": r"has gradients that are not finite at initialization \('layer.weight'\)",
    "a_tuple": r"maps inputs of shape \(4, 5\) to tuple, expected \(4, 2\)",
    "a_dict": r"maps inputs of shape \(4, 5\) to dict, expected",
    "complex_outputs": r"maps torch.float32 inputs to torch.complex64 outputs",
    "double_outputs": r"maps torch.float32 inputs to torch.float64 outputs",
    "whole_outputs": r"maps torch.float32 inputs to torch.int64 outputs",
    "one_axis": r"to \(4,\), expected \(4, 2\)",
    "detached": r"returns outputs without a gradient",
    "of_no_weight": r"has outputs that depend on none of its trainable parameters",
    "dropout": r"gives other outputs each time it is called, also in evaluation mode",
    "counts": r"gives other outputs each time it is called",
    "halves_weights": r"changes its weights \('layer.weight'\) when it is called",
    "mixes_by_mean": r"gives a sample other outputs with another batch",
    "mixes_by_maximum": r"gives a sample other outputs with another batch",
    "asks_for_gradients": r"gives other outputs under torch.no_grad",
    "sparse_gradients": r"has sparse gradients: call F.embedding with `sparse=False`",
    "frozen": r"has no trainable parameters: all of them are frozen",
    "without_parameters": r"has no trainable parameters: make its weights",
    "on_meta": r"has weights without values \('weight' is on the meta device\)",
    "complex_weights": r"has complex parameters \('weight'\)",
    "batch_norm_without_statistics": r"gives a sample other outputs with another batch.*alone it fails: ValueError",
    "lazy_convolution": r"has lazy layers, and fails on inputs of shape \(4, 5\): RuntimeError",
    "kept_graph": r"uses a tensor that was computed from weights before its forward \('doubled'\)",
    "only_single": r"fails in double precision, in which kernels are computed: RuntimeError.*Keep tensors as buffers",
}


@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_cannot_be_used_are_refused_in_one_message(name, tmp_path):
    file = tmp_path / "unusable.py"
    file.write_text(UNUSABLE)
    for seeds in ((0, 1), (3,)):  # a single network is held against another one, too
        with pytest.raises(FactoryError, match=rf"^network factory '.*unusable\.py:{name}'.*{REFUSED[name]}"):
            build_networks(
                NetworkSettings(factory=f"{file}:{name}"),
                depth=2,
                width=4,
                init_scale=2.0,
                input_shape=(5,),
                n_outputs=2,
                generators=[torch_stream("w", seed) for seed in seeds],
                samples=inputs(4, 5),
            )


def test_one_module_twice_and_weights_in_two_modules_are_no_stack():
    one, other = nn.Linear(4, 2), nn.Linear(4, 2)
    with pytest.raises(FactoryError, match=r"the network gives two networks the same weights in memory \('weight'\)"):
        StackedModules([one, one], (4,), 2)
    other.weight = one.weight
    with pytest.raises(FactoryError, match="the same weights in memory"):
        StackedModules([one, other], (4,), 2)


def test_samples_decide_what_networks_are_tried_on():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.out = nn.Embedding(9, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.out(self.embedding(x.long()).mean(1))

    networks, tokens = [Tokens(), Tokens()], torch.tensor([[0.0, 8.0], [3.0, 1.0]])
    stack = StackedModules(networks, (2,), 2, samples=tokens)
    torch.testing.assert_close(stack(tokens)[1], networks[1](tokens))
    assert StackedModules(networks, (2,), 2)(tokens).shape == (2, 2, 2)  # zeros and ones will do
    with pytest.raises(FactoryError, match=r"IndexError: .*\(tried on training samples in float32\)"):
        StackedModules(networks, (2,), 2, samples=tokens + 1)
    with pytest.raises(FactoryError, match=r"tried on made-up numbers: give samples=, some real inputs"):
        StackedModules([nn.Linear(3, 2)], (2,), 2)


@pytest.mark.parametrize(
    ("modules", "samples", "message"),
    [
        ([], None, r"the network has no members"),
        ([nn.Linear(5, 2), "a network"], None, r"the network is a str: it must be a torch.nn.Module"),
        (
            [nn.Linear(5, 2)],
            np.ones((3, 4)),
            r"samples of shape \(3, 4\): give finite numbers of shape \(n, \*\(5,\)\)",
        ),
        ([nn.Linear(5, 2)], np.full((3, 5), np.nan), r"give finite numbers"),
        ([nn.LazyLinear(2)], None, r"has lazy layers without weights \('weight'\): call the network on samples once"),
        ([nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2).double())], None, r"torch.float32 and torch.float64"),
    ],
)
def test_bad_arguments_of_a_stack(modules, samples, message):
    with pytest.raises(FactoryError, match=message):
        StackedModules(modules, (5,), 2, samples=samples)


def test_integers_are_tokens_where_networks_take_them():
    def network(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2))

    tokens = torch.randint(0, 9, (6, 5), generator=torch_stream("tokens"))
    stack = StackedModules([network(0), network(1)], (5,), 2, samples=tokens)
    for member in (0, 1):
        torch.testing.assert_close(stack(tokens)[member], network(member)(tokens))
        torch.testing.assert_close(stack.member(member)(tokens), network(member)(tokens))
    with pytest.raises(FactoryError, match=r"in float32; if they are tokens, let forward begin with x = x.long\(\)"):
        StackedModules([network(0)], (5,), 2, samples=tokens.float())
    numbers = StackedModules([nn.Linear(5, 2)], (5,), 2, samples=tokens.numpy())
    assert numbers(tokens.float()).shape == (1, 6, 2)


def test_a_graph_that_networks_share_is_named():
    class Mixing(nn.Module):
        def __init__(self, mixing):
            super().__init__()
            self.layer, self.mixing = nn.Linear(5, 2), mixing

        def forward(self, x):
            return self.layer(x @ self.mixing)

    mixing = torch.eye(5, requires_grad=True).exp()
    with pytest.raises(FactoryError, match="computed from others with gradients before it, and perhaps by other net"):
        StackedModules([Mixing(mixing), Mixing(mixing)], (5,), 2, samples=torch.ones(2, 5))


def test_what_is_plain_follows_a_stack_to_another_precision_and_back():
    class Shifted(nn.Module):
        def __init__(self, shift):
            super().__init__()
            self.layer, self.held = nn.Linear(3, 2), {"shift": (torch.full((3,), shift), [torch.eye(3)])}

        def forward(self, x):
            return self.layer((x + self.held["shift"][0]) @ self.held["shift"][1][0])

    for shifts in ((1.0, 2.0), (1.0, 1.0)):
        networks, x = [Shifted(shift) for shift in shifts], inputs(4, 3)
        stack = StackedModules(networks, (3,), 2, samples=x)
        assert stack.vectorized == (shifts[0] == shifts[1])
        single = stack(x.float()).detach()
        for copy in (stack.double(), stack.double().select([0, 1])):
            torch.testing.assert_close(copy(x).float(), single, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(stack.member(1)(x).float(), single[1], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(stack.member(1).float()(x.float()), single[1], rtol=1e-5, atol=1e-5)
