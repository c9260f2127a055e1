"""Signals of a chain, all outputs at once, against automatic differentiation, an output at a time."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ntk_atlas.config import NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import probe_network, verified_structure
from ntk_atlas.kernels.empirical.capture import capture_factors
from ntk_atlas.kernels.empirical.structure import Item
from ntk_atlas.streams import torch_stream


def stack(members, **settings):
    return build_networks(
        NetworkSettings(activation="tanh", output_scale=3.0, bias_variance=0.1, **settings),
        depth=3,
        width=6,
        init_scale=1.7,
        input_shape=(5,),
        n_outputs=4,
        generators=[torch_stream("weights", member) for member in range(members)],
        dtype=torch.float64,
    )


def sequential():
    layers = [nn.Linear(5, 7), nn.Linear(7, 6, bias=False), nn.Linear(6, 8), nn.Linear(8, 3)]
    for number, parameter in enumerate(p for layer in layers for p in layer.parameters()):
        nn.init.normal_(parameter, generator=torch_stream("weights", number))
    first, second, third, readout = layers
    return nn.Sequential(first, nn.Identity(), second, nn.Sequential(nn.GELU(), third), nn.SiLU(), readout).double()


NETWORKS = {
    "one": lambda: stack(1),
    "several": lambda: stack(3),
    "ntk": lambda: stack(2, parameterization="ntk", trainable_biases=False),
    "sequential": sequential,
}


@pytest.mark.parametrize("output_reduction", ["full", "trace", "logit_sum"])
@pytest.mark.parametrize("network", NETWORKS)
def test_signals_are_those_of_automatic_differentiation(network, output_reduction):
    network = NETWORKS[network]()
    x = torch.randn(11, 5, generator=torch_stream("x"), dtype=torch.float64)
    structure = verified_structure(network, probe_network(network, x), x)
    assert len(structure.chain) == len(structure.layers) == 4
    layers = structure.layers
    for wanted in (layers, layers[:1], layers[2:3], layers[1:], layers[-1:]):
        items = [Item(layer) for layer in wanted]
        choice = {"output_reduction": output_reduction, "samples_a_pass": 4}
        at_once = capture_factors(network, structure, items, x, **choice)
        one_by_one = capture_factors(network, replace(structure, chain=()), items, x, **choice)
        for found, expected in zip(at_once, one_by_one, strict=True):
            torch.testing.assert_close(found.inputs, expected.inputs, rtol=0, atol=0)
            torch.testing.assert_close(found.signals, expected.signals, rtol=1e-12, atol=1e-13)
            assert found.signals.abs().max() > 0.0


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.readout = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.readout(x + torch.relu(self.second(x)))


@pytest.mark.parametrize(
    "network",
    [
        Residual(),
        nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4).requires_grad_(False), nn.ReLU(), nn.Linear(4, 2)),
    ],
    ids=["residual", "softmax", "norm", "frozen between"],
)
def test_what_is_no_chain(network):
    assert probe_network(network, torch.randn(4, 3, generator=torch_stream("x"))).chain == ()


class Masked(nn.Linear):
    def forward(self, x):
        return super().forward(x) * (1.0 + x.detach()[:, :1])


def test_a_chain_that_classes_do_not_prove_is_not_taken_for_one():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(4, 3, generator=torch_stream("x"))
    structure = probe_network(network, x)
    assert len(structure.chain) == 2
    network[2].__class__ = Masked
    assert verified_structure(network, structure, x).chain == ()
