"""Networks that look simpler than they are: the kernel must be right, whatever path it takes."""

from types import MethodType

import pytest
import torch
from kernel_catalogue import ntk_by_loop, reduced
from torch import nn

from ntk_atlas.kernels import (
    OUTPUT_REDUCTIONS,
    EmpiricalNTKOperator,
    MixedSamplesError,
    empirical_ntk,
    is_plain_stack,
    probe_network,
)
from ntk_atlas.networks import StackedModules
from ntk_atlas.streams import torch_stream

CLOSE = {"rtol": 1e-9, "atol": 1e-11}


class Net(nn.Module):
    """Two linear layers, and a forward pass of the test's own."""

    def __init__(self, rule, hidden=5):
        super().__init__()
        self.a, self.b = nn.Linear(4, hidden), nn.Linear(max(hidden, 5), 3)
        self.rule = rule
        generator = torch_stream("verification")
        self.double()
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))

    def forward(self, x):
        return self.rule(self, x)


def rare_mask(net, x):
    # Off for one of forty samples: a look at few of them does not see it.
    return net.b(torch.tanh(net.a(x))) * (x[:, :1] < 1.65)


def in_order_of_length(net, x):
    order = x.detach().norm(dim=1).argsort()
    return net.b(torch.tanh(net.a(x[order])))[order.argsort()]


RULES = {
    "scaled by an input": lambda net, x: net.b(torch.tanh(net.a(x))) * x.detach()[:, :1],
    "masked": lambda net, x: net.b(torch.tanh(net.a(x))) * (x[:, :1] > 0),
    "rarely masked": rare_mask,
    "reciprocal": lambda net, x: 3.0 / (net.b(torch.tanh(net.a(x))) ** 2 + 1.0),
    "times itself without a gradient": lambda net, x: (h := net.b(torch.tanh(net.a(x)))) * h.detach(),
    "hidden units scaled by the sample": lambda net, x: net.b(torch.tanh(net.a(x)) * x.detach().norm(dim=1)[:, None]),
    "reversed and back": lambda net, x: net.b(torch.tanh(net.a(x.flip(0)))).flip(0),
    "sorted and back": in_order_of_length,
    "in chunks": lambda net, x: torch.cat([net.b(torch.tanh(net.a(part))) for part in x.split(3)]),
    "in long chunks": lambda net, x: torch.cat([net.b(torch.tanh(net.a(part))) for part in x.split(39)]),
    "weight used elsewhere": lambda net, x: (
        net.b(torch.tanh(nn.functional.linear(x - 1, net.a.weight, net.a.bias))) + 0.0 * net.a(x).detach().sum()
    ),
    "layer called without a gradient": lambda net, x: net.b(_without_gradient(net, x) + torch.ones_like(x[:, :1])),
}


def _without_gradient(net, x):
    with torch.no_grad():
        return net.a(x)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("output_reduction", OUTPUT_REDUCTIONS)
def test_kernel_is_right_whatever_the_network_does(name, output_reduction):
    network = Net(RULES[name])
    x1 = torch.randn(40, 4, generator=torch_stream("x1"), dtype=torch.float64)
    x2 = torch.randn(7, 4, generator=torch_stream("x2"), dtype=torch.float64)
    assert name != "rarely masked" or 0 < int((x1[:, 0] >= 1.65).sum()) < 4
    kernel = empirical_ntk(network, x1, output_reduction=output_reduction)
    torch.testing.assert_close(kernel, reduced(ntk_by_loop(network, x1), output_reduction), **CLOSE)
    kernel = empirical_ntk(network, x2, x1, output_reduction=output_reduction)
    torch.testing.assert_close(kernel, reduced(ntk_by_loop(network, x2, x1), output_reduction), **CLOSE)


@pytest.mark.parametrize("output_reduction", OUTPUT_REDUCTIONS)
def test_one_hidden_unit_spread_over_several(output_reduction):
    network = Net(lambda net, x: net.b(torch.tanh(net.a(x) * torch.arange(1.0, 6.0, dtype=x.dtype))), hidden=1)
    x = torch.randn(6, 4, generator=torch_stream("x1"), dtype=torch.float64)
    kernel = empirical_ntk(network, x, output_reduction=output_reduction)
    torch.testing.assert_close(kernel, reduced(ntk_by_loop(network, x), output_reduction), **CLOSE)


def test_a_replaced_forward_is_noticed_and_gradient_hooks_do_not_count():
    network = Net(lambda net, x: net.b(torch.tanh(net.a(x))))
    x = torch.randn(6, 4, generator=torch_stream("x1"), dtype=torch.float64)
    network.a.forward = MethodType(lambda self, z: nn.functional.linear(2 * z, self.weight, self.bias), network.a)
    expected = reduced(ntk_by_loop(network, x), "mean")
    torch.testing.assert_close(empirical_ntk(network, x), expected, **CLOSE)
    network.b.weight.register_hook(lambda gradient: gradient * (gradient > 0))
    torch.testing.assert_close(empirical_ntk(network, x), expected, **CLOSE)


class Stash(nn.Module):
    """Leaves a value of this run in itself for later in the run."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 3), nn.Linear(3, 2)

    def forward(self, x):
        self.skip = x.mean((1, 2, 3))
        h = torch.tanh(self.second(torch.tanh(self.first(x))))
        return self.head(h.mean((2, 3)) * self.skip[:, None])


def test_runs_that_leave_something_in_their_modules_do_not_overlap(monkeypatch):
    monkeypatch.setattr("ntk_atlas.kernels.empirical.memory_plan._LARGEST_PASS", 3)
    network, threads = Stash().double(), torch.get_num_threads()
    x = torch.randn(40, 2, 6, 6, generator=torch_stream("x"), dtype=torch.float64)
    expected = reduced(ntk_by_loop(network, x), "mean")
    torch.set_num_threads(4)
    try:
        torch.testing.assert_close(empirical_ntk(network, x), expected, **CLOSE)
    finally:
        torch.set_num_threads(threads)


def test_parameters_frozen_on_a_stack_do_not_count():
    modules = [Net(lambda net, x: net.b(torch.tanh(net.a(x)))) for _ in range(2)]
    stack = StackedModules(modules, (4,), 3)
    stack.stacked[0].requires_grad_(False)
    modules[0].a.weight.requires_grad_(False)
    x = torch.randn(6, 4, generator=torch_stream("x1"), dtype=torch.float64)
    torch.testing.assert_close(empirical_ntk(stack, x)[0], reduced(ntk_by_loop(modules[0], x), "mean"), **CLOSE)


def test_statistics_of_the_batch_without_a_gradient_are_refused():
    network = Net(lambda net, x: net.b(torch.tanh(net.a(x / x.detach().abs().amax()))))
    x = torch.randn(9, 4, generator=torch_stream("x1"), dtype=torch.float64)
    with pytest.raises(MixedSamplesError, match="depends on the rest of the batch"):
        empirical_ntk(network, x)


class Merging(nn.Linear):
    """Changes its weight in evaluation mode, as low-rank adapters do."""

    def train(self, mode=True):
        with torch.no_grad():
            self.weight += (1.0 if self.training else 0.0) - (1.0 if mode else 0.0)
        return super().train(mode)


def test_what_a_train_method_does_is_undone():
    network = nn.Sequential(Merging(4, 3), nn.Tanh(), nn.Linear(3, 2)).double().train()
    weight, x = network[0].weight.clone(), torch.randn(5, 4, generator=torch_stream("x1"), dtype=torch.float64)
    empirical_ntk(network, x)
    torch.testing.assert_close(network[0].weight, weight)
    assert network.training and network[0].training


def test_autocast_does_not_reach_kernels():
    network = Net(lambda net, x: net.b(torch.tanh(net.a(x)))).float()
    x = torch.randn(6, 4, generator=torch_stream("x1"))
    expected = empirical_ntk(network, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(empirical_ntk(network, x), expected)
        product = EmpiricalNTKOperator(network, x)(torch.ones(6, 1))
    torch.testing.assert_close(product, expected.sum(1, keepdim=True))
    assert product.dtype == torch.float32


def test_one_precision_is_asked_for():
    mixed = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2).double())
    with pytest.raises(ValueError, match=r"parameters are torch\.float32 and torch\.float64: convert it to one"):
        empirical_ntk(mixed, torch.ones(3, 4))


def test_operator_and_inference_mode():
    network = Net(lambda net, x: net.b(torch.tanh(net.a(x))))
    x = torch.randn(6, 4, generator=torch_stream("x1"), dtype=torch.float64)
    expected = EmpiricalNTKOperator(network, x)(torch.ones(6, 1, dtype=x.dtype))
    with torch.inference_mode():
        product = EmpiricalNTKOperator(network, x.clone())(torch.ones(6, 1, dtype=x.dtype))
        torch.testing.assert_close(product, expected, **CLOSE)


def test_many_members_share_a_small_limit():
    modules = [Net(lambda net, x: torch.tanh(net.a(x))) for _ in range(30)]
    stack = StackedModules([nn.Sequential(m.a, nn.PReLU(), nn.Linear(5, 1)).double() for m in modules], (4,), 1)
    x = torch.randn(4, 4, generator=torch_stream("x1"), dtype=torch.float64)
    torch.testing.assert_close(empirical_ntk(stack, x, memory_limit=2**18), empirical_ntk(stack, x), **CLOSE)


def _chain(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), *modules, nn.Linear(4, 2)).double()


def _hooked() -> nn.Module:
    network = _chain(nn.Tanh())
    network[0].register_forward_hook(lambda module, args, output: 2 * output)
    return network


def _replaced() -> nn.Module:
    network = _chain(nn.Tanh())
    network[1].forward = lambda z: z.cumsum(-1)
    return network


@pytest.mark.parametrize(
    ("network", "plain"),
    [
        (_chain(nn.Tanh()), True),
        (_chain(nn.ReLU(), nn.Linear(4, 4), nn.GELU()), True),
        (_chain(nn.Softmax(-1)), False),
        (_chain(nn.LayerNorm(4)), False),
        (_chain(nn.ReLU(inplace=True)), False),
        (_chain(type("Odd", (nn.Tanh,), {"forward": lambda self, z: z.cumsum(-1)})()), False),
        (_hooked(), False),
        (_replaced(), False),
    ],
)
def test_classes_alone_are_believed_only_for_a_chain_of_layers_and_activations(network, plain):
    x = torch.randn(4, 3, dtype=torch.float64)
    assert is_plain_stack(network, probe_network(network, x)) is plain


@pytest.mark.parametrize(
    ("convolution", "plain"),
    [({"padding": 1}, True), ({"stride": 2, "bias": False}, True), ({"padding": 1, "padding_mode": "circular"}, False)],
)
def test_convolutions_in_a_chain_are_believed_if_they_pad_zeros(convolution, plain):
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3, **convolution), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.LazyLinear(4), nn.Tanh(),
        nn.Linear(4, 2),
    ).double()  # fmt: skip
    x = torch.randn(5, 2, 8, 8, generator=torch_stream("images"), dtype=torch.float64)
    network(x)
    assert is_plain_stack(network, probe_network(network, x)) is plain
    jacobian = torch.stack(
        [
            torch.cat([g.flatten() for g in torch.autograd.grad(f, list(network.parameters()), retain_graph=True)])
            for f in network(x)[:, 0]
        ]
    )
    found = empirical_ntk(network, x, output_reduction="full")[..., 0, 0]
    torch.testing.assert_close(found, jacobian @ jacobian.mT, **CLOSE)
