"""Which parameters the layer factors stand for, and which are left to the Jacobian."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from ntk_atlas.config import NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import probe_network
from ntk_atlas.kernels.empirical.capture import capture_factors
from ntk_atlas.kernels.empirical.structure import Item
from ntk_atlas.streams import torch_stream


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.twice, self.tied, self.tie = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.tie.weight = self.tied.weight
        self.borrowed, self.frozen = nn.Linear(3, 3), nn.Linear(3, 3).requires_grad_(False)
        self.unused, self.normed = nn.Linear(3, 3), parametrizations.weight_norm(nn.Linear(3, 3))
        self.hooked, self.plain = nn.Linear(3, 3), nn.Linear(3, 3, bias=False)
        self.partly = nn.Linear(3, 3)
        self.partly.weight.requires_grad_(False)
        self.hooked.register_forward_pre_hook(lambda module, args: (2 * args[0],))

    def forward(self, x):
        x = self.tie(self.tied(self.twice(self.twice(x))))
        x = self.borrowed(x) @ self.borrowed.weight
        return self.partly(self.plain(input=self.hooked(self.normed(self.frozen(x)))))


def test_only_layers_that_own_their_parameters_and_are_called_once():
    network = Head()
    structure = probe_network(network, torch.randn(4, 3, generator=torch_stream("x")))
    names = {module: name for name, module in network.named_modules()}
    found = {names[layer.module]: (layer.has_weight, layer.has_bias) for layer in structure.layers}
    assert structure.n_outputs == 3
    assert found == {
        "tied": (False, True),
        "tie": (False, True),
        "borrowed": (False, True),
        "plain": (True, False),
        "partly": (False, True),
    }


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
def test_factors_of_a_stack_multiply_to_the_gradients(parameterization):
    network = build_networks(
        NetworkSettings(parameterization=parameterization, bias_variance=0.2, activation="tanh"),
        depth=2,
        width=4,
        init_scale=1.5,
        input_shape=(3,),
        n_outputs=2,
        generators=[torch_stream("w", i) for i in range(3)],
        dtype=torch.float64,
    )
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch_stream("x"))
    structure = probe_network(network, x)
    factors = capture_factors(network, structure, [Item(layer) for layer in structure.layers], x)
    assert [tuple(f.inputs.shape) for f in factors] == [(1, 5, 4), (3, 5, 5), (3, 5, 5)]
    assert [f.signals.shape[1] for f in factors] == [5, 5, 1], "the readout's signals are the same for all samples"
    for layer, factor in zip(network.layers, factors, strict=True):
        for member, sample, c in [(0, 0, 0), (2, 3, 1)]:
            gradient = torch.autograd.grad(network(x)[member, sample, c], [layer.weight, layer.bias])
            a = factor.inputs[member if len(factor.inputs) > 1 else 0, sample]
            signals = factor.signals.expand(-1, 5, -1, -1)
            outer = torch.outer(a, signals[member, sample, c])
            torch.testing.assert_close(outer[:-1], gradient[0][member], rtol=1e-12, atol=1e-14)
            torch.testing.assert_close(outer[-1], gradient[1][member], rtol=1e-12, atol=1e-14)


def grams(network, x, output_reduction):
    structure = probe_network(network, x)
    items = [Item(layer) for layer in structure.layers]
    factors = capture_factors(network, structure, items, x, output_reduction=output_reduction)
    products = [f.signals.flatten(2) @ f.signals.flatten(2).mT for f in factors]
    return [f.signals.shape[-1] for f in factors], products


def test_sum_of_outputs_needs_one_signal():
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5)).double()
    x = torch.randn(6, 3, generator=torch_stream("x"), dtype=torch.float64)
    structure = probe_network(network, x)
    items = [Item(layer) for layer in structure.layers]
    one, every = (capture_factors(network, structure, items, x, output_reduction=r) for r in ("logit_sum", "full"))
    for summed, apart in zip(one, every, strict=True):
        torch.testing.assert_close(summed.signals, apart.signals.sum(2, keepdim=True))


class Skip(nn.Module):
    def __init__(self, elementwise):
        super().__init__()
        self.first, self.second, self.readout = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 5)
        self.elementwise = elementwise

    def forward(self, x):
        z = self.second(torch.tanh(self.first(x)))
        return 2.0 * self.readout(self.elementwise(z))


@pytest.mark.parametrize(
    ("elementwise", "short"),
    [
        (torch.relu, True),
        (lambda z: nn.functional.gelu(z) / 3.0, True),
        (lambda z: z + torch.tanh(z), False),
        (lambda z: z * torch.sigmoid(z), False),
        (lambda z: torch.softmax(z, -1), False),
    ],
)
def test_last_hidden_layer_has_one_signal_behind_an_elementwise_activation(elementwise, short):
    network = Skip(elementwise).double()
    x = torch.randn(6, 3, generator=torch_stream("x"), dtype=torch.float64)
    widths, products = grams(network, x, "trace")
    assert widths == [20, 4 if short else 20, 25]
    _, by_output = grams(network, x, "full")
    torch.testing.assert_close(products[1], by_output[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("output_reduction", ["full", "trace", "logit_sum"])
def test_passes_beside_each_other_give_the_bits_of_passes_in_turn(output_reduction):
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 6, 2), nn.GELU(), nn.Flatten(), nn.Linear(54, 5), nn.ReLU(),
        nn.Linear(5, 3),
    )  # fmt: skip
    x = torch.randn(23, 2, 6, 6, generator=torch_stream("x"))
    structure = probe_network(network, x)
    items = [*map(Item, structure.layers), *(Item(part, "gradients") for part in structure.parts)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        in_turn, at_once, by_copies = (
            capture_factors(
                network, structure, items, x, output_reduction=output_reduction, samples_a_pass=3, at_once=networks
            )
            for networks in (
                [],
                [network] * 4,
                [network, *(copy.deepcopy(network, {id(p): p for p in network.parameters()}) for _ in range(3))],
            )
        )
    finally:
        torch.set_num_threads(threads)
    assert torch.get_num_threads() == threads
    for one, other in [*zip(in_turn, at_once, strict=True), *zip(in_turn, by_copies, strict=True)]:
        assert torch.equal(one.signals, other.signals)
        assert (one.inputs is None) == (other.inputs is None)
        assert one.inputs is None or torch.equal(one.inputs, other.inputs)
    assert not any(module._forward_hooks for module in network.modules())


def test_an_error_in_a_pass_beside_others_is_the_error():
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    x = torch.randn(9, 2, 6, 6, generator=torch_stream("x"))
    structure = probe_network(network, x)
    network[0].register_forward_hook(lambda module, args, output: output[:1])
    items = [*map(Item, structure.layers), *(Item(part, "gradients") for part in structure.parts)]
    with pytest.raises(ValueError, match=r"the network must map \(3, 2, 6, 6\)"):
        capture_factors(network, structure, items, x, samples_a_pass=3, at_once=[network] * 2)
    assert torch.get_num_threads() >= 1
