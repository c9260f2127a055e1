"""Whether a run left something behind in the modules of a network: what is replaced, added or written is noticed."""

from collections import deque
from types import SimpleNamespace

import pytest
import torch
from kernel_catalogue import CATALOGUE, ntk_by_loop, reduced, samples
from torch import nn

from ntk_atlas.kernels import empirical_ntk
from ntk_atlas.kernels.empirical import held_state
from ntk_atlas.kernels.empirical.held_state import HeldState
from ntk_atlas.kernels.empirical.structure import probe_network
from ntk_atlas.streams import torch_stream


class Holder(nn.Module):
    """Holds things of every kind, in a submodule."""

    def __init__(self):
        super().__init__()
        self.part = nn.BatchNorm1d(2)
        p = self.part
        p.value, p.listed, p.queue, p.table = object(), [1, [2]], deque([1]), {"a": {"b": 1}}
        p.space, p.hidden, p.pair = SimpleNamespace(inner=SimpleNamespace(x=1)), [nn.Linear(2, 2)], (torch.zeros(2), 1)
        p.itself = [self]


CHANGES = {
    "attribute replaced": lambda p: setattr(p, "value", object()),
    "attribute added": lambda p: setattr(p, "new", None),
    "attribute removed": lambda p: delattr(p, "value"),
    "list grown": lambda p: p.listed.append(3),
    "list entry replaced": lambda p: p.listed[1].__setitem__(0, 5),
    "queue turned": lambda p: p.queue.append(p.queue.popleft() + 1000),
    "table entry replaced": lambda p: p.table["a"].__setitem__("b", 2),
    "object's attribute": lambda p: setattr(p.space.inner, "x", 2),
    "buffer written": lambda p: p.running_mean.add_(1),
    "buffer replaced": lambda p: setattr(p, "running_mean", torch.zeros(2)),
    "parameter written": lambda p: p.weight.detach().add_(1),
    "tensor in a tuple written": lambda p: p.pair[0].zero_(),
    "weight of a module in a list": lambda p: p.hidden[0].bias.detach().zero_(),
    "hook added": lambda p: p.register_forward_hook(lambda *_: None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_noticed(name):
    network = Holder()
    before = HeldState(network)
    assert HeldState(network).is_as_in(before)
    CHANGES[name](network.part)
    assert not HeldState(network).is_as_in(before)


def test_an_object_at_the_address_of_a_freed_one_is_another():
    network = Holder()
    before, address = HeldState(network), id(network.part.value)
    for _ in range(100):
        network.part.value = object()
        assert id(network.part.value) != address
        assert not HeldState(network).is_as_in(before)


def test_what_is_too_much_to_look_through_counts_as_changed(monkeypatch):
    network = Holder()
    size = len(HeldState(network)._held)
    for most, same in ((size, True), (size - 1, False)):
        monkeypatch.setattr(held_state, "_MOST", most)
        assert HeldState(network).is_as_in(HeldState(network)) is same
    network.part.listed += range(10**6)
    assert len(HeldState(network)._held) == size


@pytest.mark.parametrize("name", CATALOGUE)
def test_runs_of_ordinary_networks_leave_nothing(name):
    entry = CATALOGUE[name]
    network = entry.build()
    assert not probe_network(network, samples(entry, 5)).stateful


class Keeps(nn.Module):
    """Keeps a value of this run for later in the run."""

    def __init__(self, keep):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 3), nn.Linear(3, 2)
        self.kept, self.spare, self.keep = [None], [None], keep

    def forward(self, x):
        self.keep(self, x.mean((1, 2, 3)))
        h = torch.tanh(self.second(torch.tanh(self.first(x))))
        return self.head(h.mean((2, 3)) * self.kept[0][:, None])


def _in_a_list(network, mean):
    network.kept[0] = mean


def _by_turns(network, mean):
    network.kept, network.spare = network.spare, network.kept
    network.kept[0] = mean


@pytest.mark.parametrize("keep", [_in_a_list, _by_turns])
def test_runs_that_leave_something_in_a_container_do_not_overlap(keep, monkeypatch):
    monkeypatch.setattr("ntk_atlas.kernels.empirical.memory_plan._LARGEST_PASS", 3)
    network, threads = Keeps(keep).double(), torch.get_num_threads()
    x = torch.randn(40, 2, 6, 6, generator=torch_stream("x"), dtype=torch.float64)
    expected = reduced(ntk_by_loop(network, x), "mean")
    torch.set_num_threads(4)
    try:
        torch.testing.assert_close(empirical_ntk(network, x), expected, rtol=1e-9, atol=1e-11)
    finally:
        torch.set_num_threads(threads)


class Toggles(nn.Linear):
    """Holds the same after two runs."""

    def __init__(self):
        super().__init__(3, 2)
        self.odd = False

    def forward(self, x):
        self.odd = not self.odd
        return super().forward(x)


def test_each_run_of_a_probe_is_looked_at():
    network = Toggles()
    x = torch.randn(4, 3, generator=torch_stream("x"))
    assert probe_network(network, x).stateful
