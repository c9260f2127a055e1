"""Empirical NTK against a loop of autograd.grad, against vmap(jacrev), and under its invariances."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_catalogue import gradients, ntk_by_loop, reduced
from torch import nn
from torch.func import functional_call, jacrev, vmap

from ntk_atlas.config import NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import OUTPUT_REDUCTIONS, MemoryLimitError, empirical_ntk, empirical_ntk_with_record
from ntk_atlas.kernels.empirical.capture import capture_factors
from ntk_atlas.streams import torch_stream

CLOSE = {"rtol": 1e-10, "atol": 1e-12}
N_INPUTS = 4


def stack(members=2, *, depth=2, width=6, n_outputs=3, init_scale=1.8, name="net", **chosen):
    return build_networks(
        NetworkSettings(**({"bias_variance": 0.3} | chosen)),
        depth=depth,
        width=width,
        init_scale=init_scale,
        input_shape=(N_INPUTS,),
        n_outputs=n_outputs,
        generators=[torch_stream(name, i) for i in range(members)],
        dtype=torch.float64,
    )


def inputs(n, *shape, name="x"):
    return torch.randn(n, *(shape or (N_INPUTS,)), generator=torch_stream(name), dtype=torch.float64)


def ntk_of_stack_by_loop(network, x1, x2=None):
    """Members one by one, each as its own output of the stack: no use of `member` or of the layer structure."""

    class Member(nn.Module):
        def __init__(self, index):
            super().__init__()
            self.stack, self.index = network, index

        def forward(self, x):
            return self.stack(x)[self.index]

    return torch.stack([ntk_by_loop(Member(i), x1, x2) for i in range(network.n_members)])


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh", "sigmoid", "gelu"])
@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
@pytest.mark.parametrize("trainable_biases", [True, False])
def test_factors_agree_with_a_loop_of_gradients(activation, parameterization, trainable_biases):
    x1, x2 = inputs(5), inputs(3, name="x2")
    for depth in (0, 1, 2, 3):
        network = stack(
            depth=depth,
            activation=activation,
            parameterization=parameterization,
            trainable_biases=trainable_biases,
            output_scale=1.5,
        )
        same, cross = ntk_of_stack_by_loop(network, x1), ntk_of_stack_by_loop(network, x1, x2)
        for reduction in OUTPUT_REDUCTIONS:
            for expected, kernel in (
                (same, empirical_ntk(network, x1, output_reduction=reduction)),
                (cross, empirical_ntk(network, x1, x2, output_reduction=reduction)),
            ):
                wanted = torch.stack([reduced(full, reduction) for full in expected])
                torch.testing.assert_close(kernel, wanted, **CLOSE)


def test_factors_agree_with_vmap_of_jacrev():
    network, x = stack(1, depth=3, activation="gelu").member(0), inputs(6)
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def outputs(theta, sample):
        return functional_call(network, theta, (sample[None],))[0]

    jacobian = vmap(jacrev(outputs), (None, 0))(parameters, x)
    full = sum(torch.einsum("ic...,jd...->ijcd", j, j) for j in (j.flatten(2) for j in jacobian.values()))
    torch.testing.assert_close(empirical_ntk(network, x, output_reduction="full"), full, **CLOSE)


class ResidualConvolution(nn.Module):
    """Convolutions with a skip connection, an in-place activation, batch normalization, dropout, a linear head."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.drop = nn.Dropout(0.5)
        self.hidden = nn.Linear(3, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        z = self.norm(self.first(x))
        z = z + self.second(torch.tanh(z))
        h = self.hidden(self.drop(z.mean((2, 3))))
        return self.head(nn.functional.relu_(h))


def seeded(module):
    generator = torch_stream("module")
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) * 0.5)
    return module


@pytest.fixture
def convolution():
    network = seeded(ResidualConvolution().double())
    network.norm.running_mean += 0.3
    network.norm.running_var *= 1.7
    return network


@pytest.mark.parametrize("output_reduction", OUTPUT_REDUCTIONS)
def test_convolutions_and_head(convolution, output_reduction):
    x1, x2 = inputs(4, 2, 5, 5), inputs(3, 2, 5, 5, name="x2")
    convolution.eval()
    same, cross = ntk_by_loop(convolution, x1), ntk_by_loop(convolution, x1, x2)
    kernel = empirical_ntk(convolution, x1, output_reduction=output_reduction)
    torch.testing.assert_close(kernel, reduced(same, output_reduction), **CLOSE)
    kernel = empirical_ntk(convolution, x1, x2, output_reduction=output_reduction)
    torch.testing.assert_close(kernel, reduced(cross, output_reduction), **CLOSE)


def test_training_mode_is_neither_used_nor_lost(convolution):
    x = inputs(4, 2, 5, 5)
    expected = empirical_ntk(convolution.eval(), x)
    convolution.train()
    convolution.norm.eval()
    before = convolution.norm.running_mean.clone()
    torch.testing.assert_close(empirical_ntk(convolution, x), expected, rtol=0, atol=0)
    assert convolution.training and convolution.drop.training and not convolution.norm.training
    assert torch.equal(convolution.norm.running_mean, before)


def test_in_no_grad_and_in_inference_mode(convolution):
    x = inputs(3, 2, 5, 5)
    expected = empirical_ntk(convolution, x)
    with torch.no_grad():
        assert torch.equal(empirical_ntk(convolution, x), expected)
    with torch.inference_mode():
        assert torch.equal(empirical_ntk(convolution, x.clone()), expected)
    assert all(p.grad is None for p in convolution.parameters())


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(48))

    def forward(self, x):
        return x * self.scale.exp()


def many_channels():
    layers = [nn.Conv2d(2, 8, 3), nn.Tanh(), nn.Conv2d(8, 48, 3), nn.GELU(), nn.Flatten(), Scale(), nn.Linear(48, 2)]
    return seeded(nn.Sequential(*layers).double())


def test_memory_limit_does_not_change_the_kernel():
    convolution, x1, x2 = many_channels(), inputs(20, 2, 5, 5), inputs(9, 2, 5, 5, name="x2")
    groups = set()
    for reduction in ("full", "mean", "logit_sum"):
        for other in (None, x2):
            expected = empirical_ntk(convolution, x1, other, output_reduction=reduction)
            for limit in smallest_limit(convolution, x1, other, output_reduction=reduction) * np.array([1.5, 2.5, 20]):
                kernel, record = empirical_ntk_with_record(
                    convolution, x1, other, output_reduction=reduction, memory_limit=int(limit) + 1
                )
                torch.testing.assert_close(kernel, expected, **CLOSE)
                assert record.peak_bytes <= int(limit) + 1
                groups.add("groups" in record.layers)
    assert groups == {True, False}, "the limits were meant to divide the work, and not to"


def smallest_limit(network, x1, x2, **choice):
    """The least that works, as the message about a limit that does not work has it."""
    with pytest.raises(MemoryLimitError, match="allow at least") as caught:
        empirical_ntk(network, x1, x2, **choice, memory_limit=1)
    return 2**20 * (float(re.search(r"allow at least ([\d.e-]+) MiB", str(caught.value))[1]))


@pytest.mark.parametrize(
    "error",
    [RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), torch.OutOfMemoryError(), MemoryError()],
)
def test_out_of_memory_halves_the_limit_and_goes_on(monkeypatch, caplog, error):
    network, x, passes = many_channels(), inputs(60, 2, 5, 5), []
    expected = empirical_ntk(network, x)

    def failing(*arguments, **keywords):
        passes.append(keywords["samples_a_pass"])
        if len(passes) < 3:
            raise error
        return capture_factors(*arguments, **keywords)

    monkeypatch.setattr("ntk_atlas.kernels.empirical.ntk.capture_factors", failing)
    torch.testing.assert_close(empirical_ntk(network, x), expected, **CLOSE)
    assert passes[0] == 60 > passes[2], "the work should have been cut smaller"
    assert caplog.text.count("out of memory: once more with a memory limit of") == 2
    monkeypatch.setattr("ntk_atlas.kernels.empirical.ntk.capture_factors", lambda *a, **k: failing())
    passes.clear()
    with pytest.raises(KeyError):  # no other error is taken for it
        empirical_ntk(network, x)


def test_a_device_that_never_has_enough_memory_is_named_with_the_limit_tried_last(monkeypatch):
    def failing(*arguments, **keywords):
        raise MemoryError

    monkeypatch.setattr("ntk_atlas.kernels.empirical.ntk.capture_factors", failing)
    with pytest.raises(MemoryLimitError, match=r"cpu ran out of memory, .* after halving, memory_limit is"):
        empirical_ntk(many_channels(), inputs(60, 2, 5, 5))


def test_passes_and_tiles_do_not_change_the_kernel(monkeypatch, convolution):
    network, x, x2 = stack(2), inputs(23), inputs(9, name="x2")
    image = inputs(7, 2, 5, 5)

    def kernels():
        return [
            empirical_ntk(network, a, b, output_reduction=r)
            for a, b in ((x, None), (x, x2), (x.expand(2, -1, -1), x2))
            for r in OUTPUT_REDUCTIONS
        ] + [empirical_ntk(convolution, image)]

    expected = kernels()
    monkeypatch.setattr("ntk_atlas.kernels.empirical.memory_plan._LARGEST_PASS", 4)
    for name, value in {"_ROWS": 5, "_COLUMNS": 7, "_ROWS_OF_PAIRS": 6, "_COLUMNS_OF_PAIRS": 10}.items():
        monkeypatch.setattr(f"ntk_atlas.kernels.empirical.gram.{name}", value)
    for kernel, wanted in zip(kernels(), expected, strict=True):
        torch.testing.assert_close(kernel, wanted, **CLOSE)
    square = empirical_ntk(network, x)
    assert torch.equal(square, square.mT)
    full = empirical_ntk(network, x, output_reduction="full")
    assert torch.equal(full, full.permute(0, 2, 1, 4, 3))


class Shared(nn.Module):
    """One layer object used twice, one weight owned by two layers, one weight also used outside its layer."""

    def __init__(self):
        super().__init__()
        self.twice, self.once = nn.Linear(4, 4), nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.once.weight
        self.borrowed = nn.Linear(4, 2)
        self.unused = nn.Linear(4, 4)

    def forward(self, x):
        h = torch.tanh(self.twice(torch.tanh(self.twice(x))))
        h = torch.tanh(self.tied(torch.tanh(self.once(h))))
        return self.borrowed(h).sin() + 0.1 * (h @ self.borrowed.weight.T)


class Tokens(nn.Module):
    """A linear layer on tokens (3-D), one on tokens flattened into the batch, one that does not see the samples."""

    def __init__(self):
        super().__init__()
        self.tokens, self.flat, self.position = nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 2)
        self.where = nn.Parameter(torch.ones(2, 2))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        h = torch.tanh(self.tokens(x.reshape(-1, 2, 2)))
        h = torch.tanh(self.flat(h.reshape(-1, 3))).reshape(-1, 2, 2)
        return self.head(torch.tanh(h + self.position(self.where)).flatten(1))


class DataDependent(nn.Module):
    """A branch on a value, which vmap cannot batch."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(4, 2))
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        rows = [row @ self.kernel * (2.0 if float(row[0].detach()) > 0 else 0.5) for row in x]
        return self.head(torch.stack(rows).tanh())


@pytest.mark.parametrize("architecture", [Shared, Tokens, DataDependent])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_unusual_uses_of_layers(architecture, n):
    network, x = seeded(architecture().double()), inputs(n)
    full = ntk_by_loop(network, x)
    for reduction in OUTPUT_REDUCTIONS:
        kernel = empirical_ntk(network, x, output_reduction=reduction)
        torch.testing.assert_close(kernel, reduced(full, reduction), **CLOSE)


def test_plain_sequential_with_hooks_and_a_parametrization():
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3))
    network = seeded(network.double())
    x = inputs(5)
    torch.testing.assert_close(empirical_ntk(network, x), reduced(ntk_by_loop(network, x), "mean"), **CLOSE)
    network[2].register_forward_hook(lambda module, args, output: output * args[0].sum(1, keepdim=True))
    nn.utils.parametrizations.weight_norm(network[4])
    torch.testing.assert_close(empirical_ntk(network, x), reduced(ntk_by_loop(network, x), "mean"), **CLOSE)


def test_frozen_parameters_do_not_count(convolution):
    convolution.eval()
    for p in (convolution.first.weight, convolution.norm.bias, convolution.hidden.weight, convolution.head.bias):
        p.requires_grad_(False)
    x = inputs(4, 2, 5, 5)
    full = ntk_by_loop(convolution, x)
    torch.testing.assert_close(empirical_ntk(convolution, x, output_reduction="full"), full, **CLOSE)


def test_stack_of_user_modules_goes_member_by_member(convolution):
    from ntk_atlas.networks import StackedModules

    other = seeded(ResidualConvolution().double())
    network = StackedModules([convolution, other], (2, 5, 5), 2, output_scale=0.7)
    x = inputs(4, 2, 5, 5)
    expected = torch.stack([0.49 * reduced(ntk_by_loop(m.eval(), x), "mean") for m in (convolution, other)])
    torch.testing.assert_close(empirical_ntk(network, x), expected, **CLOSE)
    per_member = empirical_ntk(network, torch.stack([x, 2 * x]), x)
    torch.testing.assert_close(per_member[0], expected[0], **CLOSE)
    torch.testing.assert_close(per_member[1], 0.49 * reduced(ntk_by_loop(other, 2 * x, x), "mean"), **CLOSE)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(n=st.integers(1, 9), depth=st.integers(0, 3), n_outputs=st.integers(1, 3), seed=st.integers(0, 99))
def test_kernels_are_positive_symmetric_and_follow_permutations(n, depth, n_outputs, seed):
    network = stack(2, depth=depth, n_outputs=n_outputs, name=f"member {seed}")
    x = inputs(n, name=f"x {seed}")
    full = empirical_ntk(network, x, output_reduction="full")
    matrix = full.transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)
    assert torch.equal(matrix, matrix.mT)
    assert (torch.linalg.eigvalsh(matrix)[:, 0] >= -1e-10 * matrix.diagonal(dim1=1, dim2=2).sum(1)).all()
    order = torch.randperm(n, generator=torch_stream("order", seed))
    permuted = empirical_ntk(network, x[order], output_reduction="full")
    torch.testing.assert_close(permuted, full[:, order][:, :, order], **CLOSE)


def test_trace_is_the_sum_of_squared_gradients():
    network, x = stack(1), inputs(6)
    squares = (gradients(network.member(0), x) ** 2).sum((1, 2))
    kernel = empirical_ntk(network, x, output_reduction="trace")[0]
    torch.testing.assert_close(kernel.diagonal(), squares, **CLOSE)


def test_a_member_does_not_depend_on_its_stack():
    network, x = stack(5), inputs(6)
    together = empirical_ntk(network, x)
    for i in range(5):
        torch.testing.assert_close(empirical_ntk(network.member(i), x), together[i], **CLOSE)


def test_a_lost_member_keeps_its_failure_to_itself():
    network, x = stack(3), inputs(6)
    expected = empirical_ntk(network, x)
    with torch.no_grad():
        network.layers[1].weight[1, 0, 0] = torch.nan
    kernel = empirical_ntk(network, x)
    assert torch.isnan(kernel[1]).all()
    assert torch.equal(kernel[[0, 2]], expected[[0, 2]])


class BatchMean(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2).double()

    def forward(self, x):
        return self.layer(x - x.mean(0))


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(4, 2, dtype=torch.float64))

    def forward(self, x):
        return nn.functional.dropout(x @ self.kernel, 0.5)


def frozen():
    return nn.Linear(4, 2).double().requires_grad_(False)


@pytest.mark.parametrize(
    ("network", "x1", "x2", "choice", "message"),
    [
        (stack(), inputs(3), None, {"output_reduction": "sum"}, "choose one of full, trace, mean, logit_sum"),
        (stack(), inputs(3).index_fill(0, torch.tensor([1]), torch.nan), None, {}, r"x1 has a NaN .* \(1, 0\)"),
        (stack(), inputs(3), inputs(3) / 0, {}, "x2 has a NaN or infinite entry"),
        (stack(), inputs(0), None, {}, "x1 is empty"),
        (stack(), inputs(3).float(), None, {}, "x1 is torch.float32, the network's parameters are torch.float64"),
        (stack(), inputs(3), inputs(3).float(), {}, "x2 is torch.float32"),
        (stack(), inputs(3).to("meta"), None, {}, "x1 is on meta, the network on cpu"),
        (stack(), inputs(3, 5), None, {}, r"x1 has shape \(3, 5\), the networks want"),
        (nn.Linear(4, 2).double(), inputs(3), inputs(3, 5), {}, r"a sample of x1 has shape \(4,\)"),
        (frozen(), inputs(3), None, {}, "no trainable parameter"),
        (nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).double(), inputs(3), None, {}, "must map"),
        (BatchMean(), inputs(3), None, {}, "depends on the rest of the batch"),
        (Noisy(), inputs(3), None, {}, "its NTK is random"),
    ],
)
def test_bad_input_gives_one_clear_message(network, x1, x2, choice, message):
    with pytest.raises(ValueError, match=message):
        empirical_ntk(network, x1, x2, **choice)
