"""Networks that keep things in their modules during a run: passes at a time must not take them from each other."""

import copy
import threading
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from kernel_catalogue import CATALOGUE, ntk_by_loop, reduced, samples
from torch import nn
from torch.func import functional_call
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.checkpoint import checkpoint

from ntk_atlas.config import NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import empirical_ntk
from ntk_atlas.kernels.empirical import evaluation as module
from ntk_atlas.kernels.empirical.evaluation import replicas, twins
from ntk_atlas.networks import StackedModules
from ntk_atlas.streams import torch_stream


class Keeps(nn.Module):
    """Puts the means of images somewhere, goes through two layers, and takes them back."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 3), nn.Linear(3, 2)

    def forward(self, x):
        self.put(x.mean((1, 2, 3)))
        h = torch.tanh(self.second(torch.tanh(self.first(x))))
        return self.head(h.mean((2, 3)) * self.take(len(x))[:, None])


class InAnAttribute(Keeps):
    def put(self, mean):
        self.kept = mean

    def take(self, n):
        return self.kept


class ForAMoment(Keeps):
    kept = None

    def put(self, mean):
        self.kept = mean

    def take(self, n):
        kept, self.kept = self.kept, None
        return kept


class OnAList(Keeps):
    def __init__(self):
        super().__init__()
        self.skips = []

    def put(self, mean):
        self.skips.append(mean)

    def take(self, n):
        return self.skips.pop()


class DeepDown(Keeps):
    def __init__(self):
        super().__init__()
        self.space = SimpleNamespace(table={"a": [None]})

    def put(self, mean):
        self.space.table["a"][0] = mean

    def take(self, n):
        return self.space.table["a"][0]


class InABuffer(Keeps):
    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.zeros(64, dtype=torch.float64))

    def put(self, mean):
        self.kept.data[: len(mean)] = mean.detach()

    def take(self, n):
        return self.kept[:n].clone()


class AsABuffer(InABuffer):
    def put(self, mean):
        self.kept.data = mean.detach()


@dataclass(slots=True)
class Slot:
    value: object = None


class InASlot(Keeps):
    def __init__(self):
        super().__init__()
        self.slot = Slot()

    def put(self, mean):
        self.slot.value = mean

    def take(self, n):
        return self.slot.value


class InAnArray(Keeps):
    def __init__(self):
        super().__init__()
        self.array = np.zeros(64)

    def put(self, mean):
        self.array[: len(mean)] = mean.detach()

    def take(self, n):
        return torch.from_numpy(self.array[:n].copy())


class OnAParameter(Keeps):
    def put(self, mean):
        self.first.weight.kept = mean

    def take(self, n):
        return self.first.weight.kept


class ByAHook(Keeps):
    def __init__(self):
        super().__init__()
        self.seen = {}
        self.first.register_forward_hook(lambda layer, args, output: self.seen.update(mean=output.mean((1, 2, 3))))

    def put(self, mean):
        pass

    def take(self, n):
        return self.seen["mean"]


class OtherWeightsForAMoment(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.target, self.head = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 3), nn.Linear(3, 2)
        self.made = nn.Linear(1, 3)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        one = functional_call(self.target, {"bias": self.made.weight[:, 0] * 0.5}, (h,))
        return self.head((torch.tanh(one) + torch.tanh(self.target(h))).mean((2, 3)))


class RunsAgain(OnAList):
    """Runs its layers again in the backward pass."""

    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


KEEPERS = [
    InAnAttribute, ForAMoment, OnAList, DeepDown, InABuffer, AsABuffer, InASlot, InAnArray, OnAParameter, ByAHook,
    OtherWeightsForAMoment, RunsAgain,
]  # fmt: skip


@pytest.fixture
def four_threads(monkeypatch):
    monkeypatch.setattr("ntk_atlas.kernels.empirical.memory_plan._LARGEST_PASS", 3)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("keeper", KEEPERS)
def test_passes_at_the_same_time_do_not_disturb_each_other(keeper, four_threads):
    network = keeper().double()
    x = torch.randn(40, 2, 6, 6, generator=torch_stream("x"), dtype=torch.float64)
    before = copy.deepcopy(dict(network.named_parameters()))
    expected = reduced(ntk_by_loop(network, x), "mean")
    for _ in range(2):  # the second time with what the first has left
        torch.testing.assert_close(empirical_ntk(network, x), expected, rtol=1e-9, atol=1e-11)
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


def objects(network):
    """All that can be changed and is reached from the modules, parameters aside, by identity."""
    seen = {}

    def enter(held):
        fixed = (str, bytes, int, float, bool, type(None), type, nn.Parameter, torch.dtype, tuple, frozenset)
        if id(held) in seen or (callable(held) and not isinstance(held, nn.Module)):
            return
        if not isinstance(held, fixed):
            seen[id(held)] = held
        slots = [getattr(held, name) for name in getattr(type(held), "__slots__", ()) if hasattr(held, name)]
        for part in [*getattr(held, "__dict__", {}).values(), *slots]:
            enter(part)
        if isinstance(held, dict):
            held = list(held.values())
        for part in held if isinstance(held, list | tuple | set) else ():
            enter(part)

    enter(network)
    return seen


@pytest.mark.parametrize("keeper", [k for k in KEEPERS if k not in (ByAHook, OnAParameter)])
def test_replicas_share_parameters_and_nothing_that_can_be_changed(keeper):
    network = keeper().double().eval()
    first, *others = replicas(network, 3)
    assert first is network
    assert len(others) == 2
    x = torch.randn(5, 2, 6, 6, generator=torch_stream("x"), dtype=torch.float64)
    for other in others:
        assert all(a is b for a, b in zip(network.parameters(), other.parameters(), strict=True))
        assert not objects(network).keys() & objects(other).keys()
        assert all(type(a) is type(b) for a, b in twins(network, other).items())
        torch.testing.assert_close(other(x), network(x), rtol=0, atol=0)
    assert not objects(others[0]).keys() & objects(others[1]).keys()


@pytest.mark.parametrize("name", CATALOGUE)
def test_networks_of_the_catalogue_have_replicas_with_the_same_kernel(name):
    entry = CATALOGUE[name]
    network, x = entry.build(), samples(entry, 5)
    found = replicas(network, 2)
    assert len(found) == 2
    assert torch.equal(empirical_ntk(found[1], x), empirical_ntk(network, x))


def test_known_modules_need_no_copies():
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)).eval()
    settings = NetworkSettings()
    stack = build_networks(
        settings, depth=2, width=4, init_scale=2.0, input_shape=(3,), n_outputs=1, generators=[torch_stream("a")]
    )
    for network in (plain, stack, stack.member(0)):
        assert replicas(network, 3) == [network] * 3
    plain.forward = lambda x: x
    assert replicas(plain, 3)[1] is not plain
    users = StackedModules([InAnAttribute()], (2, 6, 6), 2)
    assert replicas(users, 2)[1] is not users


class Locked(Keeps):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Raising(Keeps):
    @property
    def __deepcopy__(self):
        raise RuntimeError("no")


def large():
    network = InAnAttribute()
    network.kept = [torch.zeros(2**21), {"x": np.zeros(2**21)}]
    return network


def test_the_bytes_of_all_copies_count():
    network = InAnAttribute()
    network.kept = torch.zeros(2**20)  # 4 MiB
    assert len(replicas(network, 4)) == 4
    assert replicas(network, 6) == [network]


def many():
    network = InAnAttribute()
    network.kept = [[1] * 1000] + [[i] for i in range(200_000)]
    return network


def hooked():
    network = InAnAttribute()
    network.second.register_forward_pre_hook(lambda *_: None)
    return network


def marked():
    network = InAnAttribute()
    network.second.weight.mark = 1
    return network


def left_with_a_graph():
    network = InAnAttribute()
    network.kept = network.head.weight * 2
    return network


@pytest.mark.parametrize("build", [Locked, Raising, large, many, hooked, marked, left_with_a_graph])
def test_runs_of_what_cannot_be_copied_come_in_turn(build):
    network = build()
    assert replicas(network, 3) == [network]


def test_runs_come_in_turn_while_there_are_hooks_on_all_modules():
    network = nn.Sequential(nn.Linear(2, 2))
    handle = register_module_forward_hook(lambda *_: None)
    try:
        assert replicas(network, 2) == [network]
    finally:
        handle.remove()
    assert replicas(network, 2) == [network, network]


def test_looking_through_a_network_ends_early(monkeypatch):
    network = InAnAttribute()
    network.kept = range(3), [0] * 10**7
    looked_at = []
    reach = module._reach
    monkeypatch.setattr(module, "_reach", lambda of: (looked_at.append(1) or held for held in reach(of)))
    assert replicas(network, 2) == [network]
    assert len(looked_at) <= module._MOST_OBJECTS + 1
