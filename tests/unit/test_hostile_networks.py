"""Networks as users write them: kernel, products and the callback's kernel against a loop of plain gradients."""

import copy
import random
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from kernel_catalogue import gradients, reduced
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from ntk_atlas.config import LearningRateSettings, NetworkSettings, TrainingSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import (
    OUTPUT_REDUCTIONS,
    EmpiricalNTKOperator,
    MixedSamplesError,
    RandomNetworkError,
    empirical_ntk,
)
from ntk_atlas.networks import StackedModules
from ntk_atlas.streams import torch_stream
from ntk_atlas.training import EmpiricalNTKCheckpoint, train_linearized

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

CLOSE = {"rtol": 1e-10, "atol": 1e-11}


class Net(nn.Module):
    """Parts, and a forward pass of the test's own."""

    def __init__(self, rule, **parts):
        super().__init__()
        self.rule = rule
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.rule(self, x)


class Sine(torch.autograd.Function):
    """A custom function of the old form, without tangents."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].cos()


class OnceDifferentiable(Sine):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].cos()


class WrongTangents(torch.autograd.Function):
    """Tangents that disagree with the backward pass, by which the kernel goes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].cos()

    @staticmethod
    def jvp(ctx, tangent):
        return 5.0 * tangent


class RunsAgain(torch.autograd.Function):
    """Saves memory: runs a module once more in the backward pass, as reversible networks do."""

    @staticmethod
    def forward(ctx, x, module):
        ctx.module = module
        ctx.save_for_backward(x)
        return module(x)

    @staticmethod
    def backward(ctx, gradient):
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            torch.autograd.backward(ctx.module(x), gradient)
        return x.grad, None


def two_layers(between):
    return Net(lambda net, x: net.b(between(net, net.a(x))), a=nn.Linear(4, 5), b=nn.Linear(5, 2), m=nn.Linear(5, 5))


def with_reversal(net, h):
    if h.requires_grad:
        h.register_hook(lambda gradient: -2.0 * gradient)
    return h.tanh()


def on_cpu(net, h):
    with torch.autograd.graph.save_on_cpu():
        return net.m(h.tanh()).tanh()


def counting(net, h):
    net.count += 1
    return h.tanh()


def with_buffer(rule):
    net = two_layers(rule)
    net.register_buffer("count", torch.zeros(1))
    return net


def with_alias():
    net = Net(lambda net, x: net.b((x @ net.alias[0].mT).tanh()), a=nn.Linear(4, 5), b=nn.Linear(5, 2))
    net.alias = [net.a.weight]
    return net


def tokens_of(net, x):
    return (3 * x.abs()).long().clamp(0, 8)


def recurrent(kind):
    return Net(
        lambda net, x: net.b(net.a(x.view(-1, 2, 2))[0][:, -1]), a=kind(2, 3, batch_first=True), b=nn.Linear(3, 2)
    )


def plain_mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 2)).double()


@dataclass(frozen=True)
class Hostile:
    """A network, and what its gradients are those of, where a plain loop fails on it."""

    network: nn.Module
    twin: nn.Module | None = None


def checkpointed(reentrant, *, first=False):
    def rule(net, x):
        if first:
            return net.b(checkpoint(lambda z: net.a(z).tanh(), x, use_reentrant=reentrant))
        return net.b(checkpoint(lambda h: net.m(h).tanh(), net.a(x), use_reentrant=reentrant))

    net = two_layers(None)
    net.rule = rule
    return net


def plain_twin(network, rule):
    twin = copy.deepcopy(network)
    twin.rule = rule
    return twin


def nested(network, rule):
    return Hostile(network, plain_twin(network, rule))


def compiled_inside():
    inner = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh()).double()
    head = nn.Linear(5, 2)
    return Hostile(nn.Sequential(torch.compile(inner, backend="eager"), head), nn.Sequential(inner, head))


def compiled():
    network = plain_mlp()
    return Hostile(torch.compile(network, backend="eager"), network)


class FixedPoint(nn.Module):
    """An implicit layer: z = tanh(W z/20 + U x), found without a graph, its backward pass solves for the gradient."""

    def __init__(self, *, unrolled):
        super().__init__()
        self.w, self.u, self.head, self.unrolled = nn.Linear(5, 5), nn.Linear(4, 5), nn.Linear(5, 2), unrolled

    def step(self, z, x):
        return torch.tanh(0.05 * self.w(z) + self.u(x))

    def forward(self, x):
        with torch.set_grad_enabled(self.unrolled):
            z = x.new_zeros(len(x), 5)
            for _ in range(16):
                z = self.step(z, x)
        if self.unrolled:
            return self.head(z)
        z = self.step(z, x)
        at = z.clone().detach().requires_grad_()
        image = self.step(at, x)

        def solve(gradient):
            total = gradient
            for _ in range(16):
                total = torch.autograd.grad(image, at, total, retain_graph=True)[0] + gradient
            return total

        z.register_hook(solve)
        return self.head(z)


def with_derivative(net, x):
    x = x.detach().requires_grad_()
    y = net.b(net.a(x).tanh())
    return torch.cat([y, torch.autograd.grad(y[:, 0].sum(), x, create_graph=True)[0]], 1)


class MeanOfBatch(torch.autograd.Function):
    """A backward pass that divides by the number of samples."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient / len(gradient)


def with_hessian(net, x):
    hessian = torch.func.hessian(lambda sample: net.b(net.a(sample).tanh())[0])
    return torch.vmap(hessian)(x).diagonal(dim1=1, dim2=2)


def with_hessian_by_loops(net, x):
    x = x.detach().requires_grad_()
    (first,) = torch.autograd.grad(net.b(net.a(x).tanh()).sum(), x, create_graph=True)
    seconds = [torch.autograd.grad(first[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(x.shape[1])]
    return torch.stack(seconds, 1)


def with_derivative_by_vmap(net, x):
    first = torch.func.grad(lambda sample: net.b(net.a(sample).tanh())[0])
    return torch.cat([net.b(net.a(x).tanh()), torch.vmap(first)(x)], 1)


def of_tokens(net, x):
    return net.b(net.a(tokens_of(net, x)).mean(1).tanh())


def tied(net, x):
    return nn.functional.linear(net.b(net.a(tokens_of(net, x)).mean(1).tanh()), net.a.weight)


MIDDLE = lambda net, x: net.b(net.m(net.a(x)).tanh())  # noqa: E731
NETWORKS = {
    "checkpoint": lambda: Hostile(checkpointed(False)),
    "reentrant checkpoint": lambda: nested(checkpointed(True), MIDDLE),
    "reentrant checkpoint of inputs": lambda: nested(
        checkpointed(True, first=True), lambda net, x: net.b(net.a(x).tanh())
    ),
    "runs again in its backward pass": lambda: nested(
        two_layers(lambda net, h: RunsAgain.apply(h, net.m).tanh()), MIDDLE
    ),
    "saved on the CPU": lambda: Hostile(two_layers(on_cpu)),
    "custom function of the old form": lambda: Hostile(two_layers(lambda net, h: Sine.apply(h))),
    "differentiable once": lambda: Hostile(two_layers(lambda net, h: OnceDifferentiable.apply(h))),
    "tangents that disagree": lambda: Hostile(two_layers(lambda net, h: WrongTangents.apply(h))),
    "hook on a tensor": lambda: Hostile(two_layers(with_reversal)),
    "fixed point": lambda: Hostile(FixedPoint(unrolled=False), FixedPoint(unrolled=True)),
    "derivative among its outputs": lambda: Hostile(Net(with_derivative, a=nn.Linear(4, 5), b=nn.Linear(5, 1))),
    "derivative by torch.func": lambda: Hostile(
        Net(with_derivative_by_vmap, a=nn.Linear(4, 5), b=nn.Linear(5, 1)),
        Net(with_derivative, a=nn.Linear(4, 5), b=nn.Linear(5, 1)),
    ),
    "second derivative by torch.func": lambda: Hostile(
        Net(with_hessian, a=nn.Linear(4, 5), b=nn.Linear(5, 1)),
        Net(with_hessian_by_loops, a=nn.Linear(4, 5), b=nn.Linear(5, 1)),
    ),
    "mean of a batch in its backward pass": lambda: Hostile(two_layers(lambda net, h: MeanOfBatch.apply(h).tanh())),
    "embedding scaled by frequency": lambda: Hostile(
        Net(of_tokens, a=nn.Embedding(9, 3, scale_grad_by_freq=True), b=nn.Linear(3, 3))
    ),
    "tied sparse embedding": lambda: Hostile(
        Net(tied, a=nn.Embedding(9, 3, sparse=True), b=nn.Linear(3, 3)),
        Net(tied, a=nn.Embedding(9, 3), b=nn.Linear(3, 3)),
    ),
    "straight-through": lambda: Hostile(two_layers(lambda net, h: h + (h.round() - h).detach())),
    "LSTM": lambda: Hostile(recurrent(nn.LSTM)),
    "transformer layer": lambda: Hostile(
        Net(
            lambda net, x: net.b(net.a(x.view(-1, 2, 2)).flatten(1)),
            a=nn.TransformerEncoderLayer(2, 1, 4, batch_first=True, dropout=0.3), b=nn.Linear(4, 2),
        )
    ),
    "scaled dot products": lambda: Hostile(
        Net(
            lambda net, x: net.b(scaled_dot_product_attention(*[net.a(x.view(-1, 2, 2))] * 3).flatten(1)),
            a=nn.Linear(2, 2), b=nn.Linear(4, 2),
        )
    ),
    "sparse embedding": lambda: Hostile(
        Net(lambda net, x: net.b(net.a(tokens_of(net, x)).flatten(1).tanh()), a=nn.Embedding(9, 3, sparse=True),
            b=nn.Linear(12, 2)),
        Net(lambda net, x: net.b(net.a(tokens_of(net, x)).flatten(1).tanh()), a=nn.Embedding(9, 3), b=nn.Linear(12, 2)),
    ),
    "sparse bag": lambda: Hostile(
        Net(lambda net, x: net.b(net.a(tokens_of(net, x)).tanh()), a=nn.EmbeddingBag(9, 3, sparse=True, mode="sum"),
            b=nn.Linear(3, 2)),
        Net(lambda net, x: net.b(net.a(tokens_of(net, x)).tanh()), a=nn.EmbeddingBag(9, 3, mode="sum"),
            b=nn.Linear(3, 2)),
    ),
    "weight norm": lambda: Hostile(
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 2))
    ),
    "weight norm of the old form": lambda: Hostile(
        nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 2))
    ),
    "pruned": lambda: Hostile(
        nn.Sequential(nn.utils.prune.l1_unstructured(nn.Linear(4, 5), "weight", 0.4), nn.Tanh(), nn.Linear(5, 2))
    ),
    "parameter in a list": lambda: Hostile(with_alias()),
    "counts its calls": lambda: Hostile(with_buffer(counting)),
    "unused parameters": lambda: Hostile(two_layers(lambda net, h: h.tanh())),
    "outputs that ignore x": lambda: Hostile(
        Net(lambda net, x: net.p.expand(len(x), 2), p=nn.Parameter(torch.ones(2)))
    ),
    "float64 buffer": lambda: Hostile(with_buffer(lambda net, h: h.tanh() + net.count.double())),
    "scripted": lambda: Hostile(torch.jit.script(plain_mlp())),
    "traced": lambda: Hostile(torch.jit.trace(plain_mlp(), torch.ones(2, 4, dtype=torch.float64))),
    "scripted in part": lambda: Hostile(
        nn.Sequential(torch.jit.script(nn.Sequential(nn.Linear(4, 5), nn.Tanh())), nn.Linear(5, 2))
    ),
    "compiled": compiled,
    "compiled in part": compiled_inside,
    "data parallel": lambda: Hostile(nn.DataParallel(plain_mlp())),
}  # fmt: skip


def inputs(n, name="x"):
    return torch.randn(n, 4, generator=torch_stream("hostile", name), dtype=torch.float64)


def prepared(name):
    hostile = NETWORKS[name]()
    network, twin = hostile.network.double().eval(), (hostile.twin or hostile.network).double().eval()
    generator = torch_stream("hostile weights")
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(0.6 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
        for p, q in zip(network.parameters(), twin.parameters(), strict=True):
            q.copy_(p)
    return network, twin


class Module(nn.Module):
    """Stands for a LightningModule, of which the callback needs the device only."""

    def __init__(self, network):
        super().__init__()
        self.net, self.device = network, torch.device("cpu")


@pytest.mark.parametrize("name", NETWORKS)
def test_kernel_products_and_callback_are_those_of_a_loop(name):
    network, twin = prepared(name)
    x1, x2 = inputs(4), inputs(2, "x2")
    j1, j2 = gradients(twin, x1), gradients(twin, x2)
    for reduction, (other, columns) in zip(OUTPUT_REDUCTIONS, [(None, j1), (x2, j2)] * 2, strict=True):
        expected = reduced(torch.einsum("icp,jdp->ijcd", j1, columns), reduction)
        kernel = empirical_ntk(network, x1, other, output_reduction=reduction)
        torch.testing.assert_close(kernel, expected, **CLOSE)
        v = torch.randn(len(columns), j1.shape[1], generator=torch_stream("hostile v"), dtype=torch.float64)
        product = torch.einsum("ijcd,jd->ic", expected, v) if reduction == "full" else expected @ v
        operator = EmpiricalNTKOperator(network, x1, other, output_reduction=reduction)
        torch.testing.assert_close(operator(v), product, **CLOSE)
    callback = EmpiricalNTKCheckpoint(x1.numpy(), network=lambda module: module.net)
    callback.on_train_start(SimpleNamespace(current_epoch=0), Module(network))
    expected = reduced(torch.einsum("icp,jdp->ijcd", j1, j1), "mean")
    torch.testing.assert_close(torch.from_numpy(callback.kernels[0]), expected, **CLOSE)


def hook_on_gradients(network):
    network[2].register_full_backward_hook(lambda module, given, returned: tuple(-3.0 * g for g in given))
    network[2].register_full_backward_pre_hook(lambda module, returned: tuple(2.0 * g for g in returned))
    network[0].weight.register_hook(lambda gradient: 5.0 * gradient)
    network[2].bias.register_post_accumulate_grad_hook(lambda p: pytest.fail("no gradient may be accumulated"))


@pytest.mark.parametrize("everywhere", [False, True])
def test_hooks_on_gradients_are_no_part_of_the_function_and_stay(everywhere):
    network, x = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double(), inputs(5)
    expected, v = empirical_ntk(network, x), inputs(5, "v")
    hook_on_gradients(network)
    seen = []
    handle = nn.modules.module.register_module_full_backward_hook(lambda *_: seen.append(1)) if everywhere else None
    try:
        torch.testing.assert_close(empirical_ntk(network, x), expected, **CLOSE)
        torch.testing.assert_close(EmpiricalNTKOperator(network, x)(v), expected @ v, **CLOSE)
        assert not seen
        (hooked,) = torch.autograd.grad(network(x)[0, 0], network[0].weight)
        assert bool(seen) is everywhere
    finally:
        if handle is not None:
            handle.remove()
    plain = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    plain.load_state_dict(network.state_dict())
    # Once more in force after the kernel: twice at the output, −3 times below the readout, five times at the weight.
    torch.testing.assert_close(hooked, -30.0 * torch.autograd.grad(plain(x)[0, 0], plain[0].weight)[0])


class Keeps(nn.Module):
    """Keeps something of each run, in every place that a module has."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(4, 5), nn.Linear(5, 2)
        self.register_buffer("moved", torch.zeros(2))
        self.register_buffer("replaced", torch.zeros(2))
        self.calls, self.history, self.cache, self.plain = 0, ["begin"], {"runs": 0}, torch.zeros(3)
        self.embedding = nn.Embedding(3, 2, max_norm=0.5)

    def forward(self, x):
        self.calls += 1
        self.history.append(x.shape)
        self.cache["runs"] += 1
        self.last = x
        self.moved += 1.0
        self.replaced = self.replaced + 1.0
        self.plain.mul_(0.5).add_(1.0)
        random.random()
        np.random.rand()  # noqa: NPY002 (the global stream is what a network may draw from)
        torch.rand(2)
        h = self.inner(x).tanh() + self.embedding(torch.zeros(len(x), dtype=torch.long)).sum(1, keepdim=True)
        return self.head(h)


def state_of(network):
    tensors = {name: t.clone() for name, t in network.state_dict().items()} | {"plain": network.plain.clone()}
    rest = (network.calls, list(network.history), dict(network.cache), hasattr(network, "last"))
    flags = tuple(m.training for m in network.modules())
    streams = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    return tensors, (rest, flags, streams, id(network.replaced), network.embedding.max_norm)


@pytest.mark.parametrize("take", [empirical_ntk, EmpiricalNTKOperator])
def test_the_network_is_left_as_it_was(take):
    network = Keeps().double().train()
    network.head.eval()
    with torch.no_grad():
        network.embedding.weight.fill_(2.0)  # a run shrinks it
    tensors, rest = state_of(network)
    taken = take(network, inputs(6))
    if take is EmpiricalNTKOperator:
        taken(inputs(6))
    after, rest_after = state_of(network)
    assert rest == rest_after
    for name, tensor in tensors.items():
        assert torch.equal(after[name], tensor), name
    assert all(p.grad is None for p in network.parameters())


def test_the_fast_path_of_a_transformer_is_not_taken_for_randomness():
    torch.manual_seed(0)
    tokens = torch.randint(1, 11, (6, 7))
    for i in range(6):
        tokens[i, 3 + i % 3 :] = 0
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    network = Net(
        lambda net, t: net.o(net.t(net.e(t), src_key_padding_mask=t == 0).mean(1)),
        e=nn.Embedding(11, 8, padding_idx=0), o=nn.Linear(8, 3), t=nn.TransformerEncoder(layer, 2),
    ).double().eval()  # fmt: skip
    with torch.no_grad():
        fast = network(tokens)
    assert not torch.allclose(fast, network(tokens), atol=1e-3), "torch is expected to take another path"
    j = gradients(network, tokens)
    expected = torch.einsum("icp,jcp->ij", j, j) / 3
    torch.testing.assert_close(empirical_ntk(network, tokens), expected, **CLOSE)
    v = torch.rand(6, 1, dtype=torch.float64)
    torch.testing.assert_close(EmpiricalNTKOperator(network, tokens)(v), expected @ v, **CLOSE)


def causal(net, x):
    return net.b(net.a(x).cumsum(0))


def dropped(net, x):
    return net.b(nn.functional.dropout(net.a(x)))


BATCH_STATISTICS = nn.BatchNorm1d(5, track_running_stats=False)
REFUSED = {
    "drops in evaluation mode": (
        lambda: Net(dropped, a=nn.Linear(4, 5), b=nn.Linear(5, 2)),
        RandomNetworkError,
        "random",
    ),
    "draws from NumPy": (
        lambda: Net(lambda net, x: net.b(x) * float(np.random.rand()), b=nn.Linear(4, 2)),  # noqa: NPY002
        RandomNetworkError,
        "gives other outputs when it is called again",
    ),
    "statistics of the batch": (
        lambda: nn.Sequential(nn.Linear(4, 5), BATCH_STATISTICS, nn.Linear(5, 2)),
        MixedSamplesError,
        "rest of the batch",
    ),
    "earlier samples": (
        lambda: Net(causal, a=nn.Linear(4, 5), b=nn.Linear(5, 2)),
        MixedSamplesError,
        "rest of the batch",
    ),
    "earlier samples without a gradient": (
        lambda: Net(lambda net, x: net.b(x.detach().cumsum(0)), b=nn.Linear(4, 2)),
        MixedSamplesError,
        "rest of the batch",
    ),
    "inputs changed in place": (
        lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)),
        ValueError,
        "changes its inputs in place",
    ),
    "a tuple": (lambda: Net(lambda net, x: (net.b(x), x), b=nn.Linear(4, 2)), ValueError, "gives a tuple: wrap it"),
    "no axis of outputs": (
        lambda: Net(lambda net, x: net.b(x)[:, 0], b=nn.Linear(4, 2)),
        ValueError,
        r"let it return `output.unsqueeze\(-1\)`",
    ),
    "an axis too many": (
        lambda: Net(lambda net, x: net.b(x)[..., None], b=nn.Linear(4, 2)),
        ValueError,
        r"return `output.flatten\(1\)`",
    ),
    "classes": (
        lambda: Net(lambda net, x: net.b(x).argmax(1, keepdim=True), b=nn.Linear(4, 2)),
        ValueError,
        "logits, not classes",
    ),
    "no gradient": (
        lambda: Net(lambda net, x: net.b(x).detach(), b=nn.Linear(4, 2)),
        ValueError,
        "outputs have no gradient",
    ),
    "no parameters": (lambda: nn.Flatten(), ValueError, "no trainable parameter"),
    "lazy": (lambda: nn.LazyLinear(2), ValueError, "'weight' of a lazy module has no values yet"),
    "complex": (lambda: nn.Linear(4, 2, dtype=torch.complex128), ValueError, "convert it to one real precision"),
    "no module": (lambda: torch.sin, ValueError, "give a torch.nn.Module"),
    "fails": (
        lambda: nn.Linear(7, 2),
        ValueError,
        r"fails on inputs of shape \(2, 4\), torch.float64: RuntimeError: mat1",
    ),
    "infinite outputs": (
        lambda: Net(lambda net, x: net.b(x).exp().exp() / 0, b=nn.Linear(4, 2)),
        ValueError,
        "outputs are not finite, though weights and inputs are",
    ),
    "infinite gradients": (
        lambda: Net(lambda net, x: (0 * net.b(x)).sqrt(), b=nn.Linear(4, 2)),
        ValueError,
        "not finite, though weights and inputs are",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_kernel_is_refused_by_kernel_and_operator_alike(name):
    build, kind, message = REFUSED[name]
    network, x = build(), inputs(9)
    network = network.double() if isinstance(network, nn.Module) and name not in ("complex", "lazy") else network

    def product():
        return EmpiricalNTKOperator(network, x)(inputs(9, "v"))

    for call in (lambda: empirical_ntk(network, x), product):
        with pytest.raises(kind, match=message):
            call()


def test_weights_that_are_lost_are_named():
    network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    with torch.no_grad():
        network[2].weight[0, 1] = torch.inf
    for call in (empirical_ntk, EmpiricalNTKOperator):
        with pytest.raises(ValueError, match=r"parameter '2.weight' of the network has a NaN or infinite entry"):
            call(network, inputs(3))


def test_a_memory_limit_is_a_number_of_bytes():
    network, x = plain_mlp(), inputs(3)
    for limit in ("1 GiB", True, float("nan")):
        for call in (empirical_ntk, EmpiricalNTKOperator):
            with pytest.raises(ValueError, match="give a number of bytes"):
                call(network, x, memory_limit=limit)
    torch.testing.assert_close(empirical_ntk(network, x, memory_limit=float("inf")), empirical_ntk(network, x))


def test_tokens_out_of_range_are_named_wherever_they_are():
    network = nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(6, 2))
    tokens = torch.zeros(40, 2, dtype=torch.long)
    tokens[21, 1] = 9
    with pytest.raises(ValueError, match=r"fails on inputs of shape .* torch.int64.*: IndexError: index out of range"):
        empirical_ntk(network, tokens)
    with pytest.raises(ValueError, match="integers are taken for tokens: else give floating-point inputs"):
        empirical_ntk(nn.Linear(2, 2), tokens)


def test_arrays_and_lists_go_to_the_precision_of_the_network():
    network, x = plain_mlp().float(), inputs(5).float()
    expected = empirical_ntk(network, x, x[:3])
    frame = np.asfortranarray(x.double().numpy()).astype(">f8")
    for given in (frame, x.numpy()[::-1].copy()[::-1], x.tolist(), list(x)):
        torch.testing.assert_close(empirical_ntk(network, given, given[:3]), expected)
        operator = EmpiricalNTKOperator(network, given, given[:3])
        torch.testing.assert_close(operator(np.eye(3)), expected)
    with pytest.raises(
        ValueError, match=r"x2 has entries up to 1e\+300, beyond torch.float32, the network's precision"
    ):
        empirical_ntk(network, x, np.full((2, 4), 1e300))
    tokens = np.array([[1, 2], [0, 3]], dtype=np.int32)
    table = nn.Sequential(nn.Embedding(4, 3), nn.Flatten(), nn.Linear(6, 1))
    torch.testing.assert_close(empirical_ntk(table, tokens), empirical_ntk(table, torch.tensor(tokens)))


@pytest.mark.parametrize("reduction", OUTPUT_REDUCTIONS)
def test_products_with_a_network_of_tokens_are_not_rounded_to_integers(reduction):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Tanh(), nn.Linear(12, 2)).double()
    tokens = torch.randint(0, 20, (7, 3))
    kernel = empirical_ntk(network, tokens, output_reduction=reduction)
    operator = EmpiricalNTKOperator(network, tokens, output_reduction=reduction)
    for v in (torch.rand(7, 2), torch.ones(7, 2, dtype=torch.long), np.full((7, 2), 0.25)):
        w = torch.as_tensor(v).double()
        expected = torch.einsum("ijcd,jd->ic", kernel, w) if reduction == "full" else kernel @ w
        torch.testing.assert_close(operator(v), expected, **CLOSE)
    with pytest.raises(ValueError, match="the vector is complex"):
        operator(torch.ones(7, 2, dtype=torch.complex64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_kernels_in_single_precision(dtype):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv1d(1, 8, 3), nn.ReLU(), nn.BatchNorm1d(8), nn.Flatten(), nn.Linear(240, 64), nn.LayerNorm(64),
        nn.PReLU(), nn.Linear(64, 4),
    ).eval().to(dtype)  # fmt: skip
    x = (60 * torch.randn(6, 1, 32)).to(dtype)
    with torch.no_grad():
        network[7].weight.mul_(30.0)  # products of gradients exceed 65504, the largest float16
    exact = copy.deepcopy(network).double()
    v = torch.ones(6, 4)
    for reduction in ("full", "mean"):
        kernel = empirical_ntk(network, x, output_reduction=reduction)
        expected = empirical_ntk(exact, x.double(), output_reduction=reduction)
        assert kernel.dtype == torch.float32 and float(expected.abs().max()) > 65504
        assert float((kernel - expected).norm() / expected.norm()) < 0.03
        operator = EmpiricalNTKOperator(network, x, output_reduction=reduction)
        product = torch.einsum("ijcd,jd->ic", expected, v.double()) if reduction == "full" else expected @ v.double()
        assert operator(v).dtype == torch.float32
        assert float((operator(v) - product).norm() / product.norm()) < 0.03


def test_what_overflows_is_refused_with_the_precision_that_would_do():
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    with torch.no_grad():
        network[2].weight.fill_(1e20)
    with pytest.raises(ValueError, match=r"if they overflow torch.float32, convert network and inputs to float64"):
        empirical_ntk(network, inputs(5).float())
    assert torch.isfinite(empirical_ntk(network.double(), inputs(5))).all()
    half = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2)).half()
    with torch.no_grad():
        half[0].weight.fill_(1e4)
        half[1].weight.fill_(1e4)
    with pytest.raises(ValueError, match=r"if they overflow torch.float16, convert network and inputs to float32"):
        empirical_ntk(half, torch.ones(3, 4).half())


def test_gradients_of_zero_up_to_rounding_do_not_cost_the_batch(caplog):
    class KeyBiases(nn.Sequential):
        pass

    network = KeyBiases(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), nn.Flatten(), nn.Linear(24, 1)).double()
    x = torch.randn(4, 3, 8, generator=torch_stream("keys"), dtype=torch.float64)
    j = gradients(network.eval(), x)
    torch.testing.assert_close(empirical_ntk(network, x), j[:, 0] @ j[:, 0].mT, **CLOSE)
    assert "one sample at a time" not in caplog.text


def test_why_a_network_goes_one_sample_at_a_time_is_said_once(caplog):
    class Choosing(Net):
        pass

    network = Choosing(
        lambda net, x: torch.cat(
            [net.a(row) if float(row.detach().sum()) > 0 else 2 * net.a(-row) for row in x.split(1)]
        ),
        a=nn.Linear(4, 1),
    )
    for n in (3, 4):
        empirical_ntk(network.double(), inputs(n))
    lines = [record.getMessage() for record in caplog.records if "Choosing" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith(
        "Choosing goes one sample at a time: torch.func.vmap cannot batch it (vmap: It looks like"
    )


def test_linearized_training_takes_tokens_as_tokens():
    torch.manual_seed(0)
    seen = set()

    class Table(nn.Sequential):
        def forward(self, x):
            seen.add(x.dtype)
            return super().forward(x.long())

    members = [
        Table(nn.Embedding(9, 3, sparse=True), nn.Flatten(), nn.Tanh(), nn.Linear(6, 1)).double() for _ in range(2)
    ]
    tokens = torch.randint(0, 9, (8, 2))
    y = torch.randn(8, 1, generator=torch_stream("targets"), dtype=torch.float64)
    stack = StackedModules(members, (2,), 1, samples=tokens.double())
    seen.clear()
    found = train_linearized(
        stack, tokens, y, tokens[:3], learning_rates=[0.1, 0.2], epochs=[0, 50],
        settings=TrainingSettings(optimizer="sgd", learning_rate=LearningRateSettings(absolute=0.1)),
    )  # fmt: skip
    assert seen == {torch.int64}
    with torch.no_grad():
        np.testing.assert_allclose(found.predictions[:, 0], stack(tokens[:3]), rtol=1e-12)
    assert (found.train_mse[:, 1] < found.train_mse[:, 0]).all()


def test_overflow_in_a_stack_is_said_and_spares_the_other_members(caplog):
    settings = NetworkSettings(activation="tanh")
    stack = build_networks(
        settings, depth=1, width=5, init_scale=2.0, input_shape=(4,), n_outputs=2,
        generators=[torch_stream("overflow", i) for i in range(3)], dtype=torch.float32,
    )  # fmt: skip
    x = inputs(4).float()
    expected = empirical_ntk(stack, x)
    with torch.no_grad():
        stack.layers[1].weight[1] = 1e30
    kernel = empirical_ntk(stack, x)
    assert torch.equal(kernel[[0, 2]], expected[[0, 2]]) and not torch.isfinite(kernel[1]).all()
    assert "the kernel of 1 of 3 networks is not finite though their weights are: torch.float32" in caplog.text
    assert "(members 1)" in caplog.text
