"""Factories of networks that hold more than parameters and buffers, or run parts of themselves again."""

import dataclasses
import functools

import torch
from torch import nn
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrizations import orthogonal
from torch.utils.checkpoint import checkpoint

FEATURES, TOKENS, WIDTH = 5, 9, 6


class Net(nn.Module):
    """A readout of tanh features, with something of its own in between."""

    def __init__(self, n_outputs, generator):
        super().__init__()
        self.first, self.second, self.out = (
            nn.Linear(FEATURES, WIDTH),
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, n_outputs),
        )
        self.set_up(lambda *shape: torch.randn(*shape, generator=generator))

    def set_up(self, draw):
        pass

    def inner(self, h):
        return torch.tanh(self.second(h))

    def forward(self, x):
        return self.out(self.inner(torch.tanh(self.first(x))))


class PlainTensor(Net):
    def set_up(self, draw):
        self.features = draw(WIDTH, WIDTH)

    def inner(self, h):
        return torch.sin(self.second(h @ self.features))


class PlainTensorThatFollowsNoInput(PlainTensor):
    """float32 features: nothing brings them to the precision of x but the stack."""


class Scalar(Net):
    def set_up(self, draw):
        self.scale = float(draw(1))

    def inner(self, h):
        return torch.tanh(self.scale * self.second(h))


class Threshold(Net):
    """Acts on few inputs: samples may miss it."""

    def set_up(self, draw):
        self.threshold = 50.0 + float(draw(1))

    def inner(self, h):
        z = self.second(h)
        return torch.where(self.first.weight.sum() * 0 + z.abs() > self.threshold, z * 0, torch.tanh(z))


class Permutation(Net):
    def set_up(self, draw):
        self.order = draw(WIDTH).argsort().tolist()

    def inner(self, h):
        return torch.tanh(self.second(h)[:, self.order])


class TupleOfTensors(Net):
    def set_up(self, draw):
        self.pair = (draw(WIDTH), {"signs": [draw(WIDTH).sign()]})

    def inner(self, h):
        return torch.tanh(self.second(h) * self.pair[0].to(h)) * self.pair[1]["signs"][0].to(h)


@dataclasses.dataclass
class Wiring:
    mask: torch.Tensor
    power: int


class HeldObject(Net):
    def set_up(self, draw):
        self.wiring = Wiring((draw(WIDTH) > 0).float(), 1 + int(draw(1).abs() > 0.5))

    def inner(self, h):
        return torch.tanh(self.second(h)) ** self.wiring.power * self.wiring.mask.to(h)


class NumpyArray(Net):
    def set_up(self, draw):
        self.features = draw(WIDTH).numpy()

    def inner(self, h):
        return torch.tanh(self.second(h) * torch.as_tensor(self.features).to(h))


class Closure(Net):
    def set_up(self, draw):
        shift = draw(WIDTH)
        self.shifted = lambda h: h + shift.to(h)

    def inner(self, h):
        return torch.tanh(self.shifted(self.second(h)))


class Partial(Net):
    def set_up(self, draw):
        self.shifted = functools.partial(lambda shift, h: h + shift.to(h), draw(WIDTH))

    def inner(self, h):
        return torch.tanh(self.shifted(self.second(h)))


class ClosureOverItself(Net):
    """A copy's function still calls the layers of the original."""

    def set_up(self, draw):
        self.act = lambda h: torch.tanh(self.second(h))

    def inner(self, h):
        return self.act(h)


class Hook(Net):
    def set_up(self, draw):
        shift = draw(WIDTH)
        self.second.register_forward_hook(lambda module, inputs, output: output * shift.to(output))


class KeepsGenerator(Net):
    def set_up(self, draw):
        self.generator = torch.Generator().manual_seed(int(1e6 * float(draw(1).abs())))
        self.features = torch.randn(WIDTH, generator=self.generator)

    def inner(self, h):
        return torch.tanh(self.second(h) * self.features.to(h))


class UnregisteredLayers(Net):
    def set_up(self, draw):
        self.layers = [nn.Linear(WIDTH, WIDTH), nn.Tanh()]
        with torch.no_grad():
            self.layers[0].weight.copy_(draw(WIDTH, WIDTH))

    def inner(self, h):
        for layer in self.layers:
            h = layer(h)
        return self.second(h)


class RandomActivation(Net):
    def set_up(self, draw):
        self.act = [nn.Tanh, nn.SiLU, nn.GELU][int(draw(1).abs() * 1000) % 3]()

    def inner(self, h):
        return self.act(self.second(h))


class RandomlyFrozen(Net):
    def set_up(self, draw):
        for layer in (self.first, self.second):
            layer.weight.requires_grad_(float(draw(1)) > 0)


class KeepsActivations(Net):
    def inner(self, h):
        self.kept = torch.tanh(self.second(h))
        return self.kept


class CountsCalls(Net):
    def set_up(self, draw):
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def inner(self, h):
        self.calls += 1
        return torch.tanh(self.second(h))


class ReplacesABuffer(Net):
    def set_up(self, draw):
        self.register_buffer("mean", draw(WIDTH))

    def inner(self, h):
        self.mean = h.detach().mean(0)
        return torch.tanh(self.second(h))


class ComplexBuffer(Net):
    def set_up(self, draw):
        self.register_buffer("phases", torch.polar(torch.ones(WIDTH // 2), draw(WIDTH // 2)))

    def inner(self, h):
        z = torch.view_as_complex(self.second(h).reshape(len(h), WIDTH // 2, 2)) * self.phases
        return torch.tanh(torch.view_as_real(z).flatten(1))


class Tied(Net):
    def inner(self, h):
        return torch.tanh(self.second(torch.tanh(self.second(h)))) @ self.second.weight


class InPlaceOnInput(Net):
    def forward(self, x):
        x -= 0.3
        x.mul_(1.5)
        return super().forward(x)


class ScalarParameter(Net):
    def set_up(self, draw):
        self.temperature = nn.Parameter(draw(1)[0])

    def inner(self, h):
        return torch.tanh(self.second(h) * self.temperature)


class PlainAliases(Net):
    """A list that is no ParameterList leads to a weight that is registered."""

    def set_up(self, draw):
        self.weights = [self.second.weight]

    def inner(self, h):
        return torch.tanh(h @ self.weights[0])


class TwoNames(Net):
    """One module under two names."""

    def set_up(self, draw):
        self.block = nn.Sequential(self.second, nn.Tanh())

    def inner(self, h):
        return self.block(h)


class SparseBuffer(Net):
    """A wiring between units, as graph networks have it."""

    def set_up(self, draw):
        self.register_buffer("wiring", (draw(WIDTH, WIDTH) * (draw(WIDTH, WIDTH) > 0)).to_sparse())

    def inner(self, h):
        return torch.tanh(torch.sparse.mm(self.wiring.to(h.dtype), self.second(h).T).T)


class LongList(Net):
    def set_up(self, draw):
        self.order = [*draw(WIDTH).argsort().tolist(), *range(50_000)]

    def inner(self, h):
        return torch.tanh(self.second(h))[:, self.order[:WIDTH]]


class WritesByNumpy(Net):
    def forward(self, x):
        x.detach().numpy()[:] += 0.5
        return super().forward(x)


class Merging(nn.Linear):
    """Changes its weight in evaluation mode, as low-rank adapters do."""

    def train(self, mode=True):
        with torch.no_grad():
            self.weight += (0.5 if self.training else 0.0) - (0.5 if mode else 0.0)
        return super().train(mode)


class Adapter(Net):
    def set_up(self, draw):
        self.second = Merging(WIDTH, WIDTH)


class HyperNetwork(Net):
    """Calls a part of itself with weights that it computes."""

    def inner(self, h):
        weight = torch.tanh(self.second.weight) + 0.1
        return torch.tanh(torch.func.functional_call(self.second, {"weight": weight}, (h,)))


class ComplexArithmetic(Net):
    def inner(self, h):
        return torch.fft.irfft(
            torch.fft.rfft(self.second(h)) * torch.exp(1j * self.second.bias[: WIDTH // 2 + 1]), n=WIDTH
        )


class LinearSolve(Net):
    def inner(self, h):
        matrix = torch.eye(WIDTH).to(h) * 3 + torch.tanh(self.second.weight)
        return torch.linalg.solve(matrix, h.T).T


class WritesInPlace(Net):
    def inner(self, h):
        z = torch.zeros_like(h).index_add_(1, torch.tensor([1, 0, 2, 3, 5, 4]), self.second(h))
        z[:, 0] = torch.sin(z[:, 1].clone())
        return F.relu(z, inplace=True)


class LazyByHand(Net):
    """Makes a layer when it is first called."""

    def inner(self, h):
        if not hasattr(self, "third"):
            self.third = nn.Linear(WIDTH, WIDTH).to(h)
        return torch.tanh(self.third(h))


class CopiesNothing(Net):
    def __deepcopy__(self, memo):
        return self


class HookOnGradients(Net):
    """Training descends what the hook makes of a gradient."""

    def set_up(self, draw):
        scale = float(draw(1))
        self.second.weight.register_hook(lambda g: scale * g)


class Branching(Net):
    def inner(self, h):
        return torch.tanh(self.second(h)) if float(h.detach().sum()) < 1e9 else h


class Checkpointed(Net):
    def inner(self, h):
        return checkpoint(super().inner, h, use_reentrant=False)


class CheckpointedInTheOldForm(Net):
    """Runs a backward pass within the backward pass."""

    def inner(self, h):
        return checkpoint(super().inner, h, use_reentrant=True)


class CheckpointedTwice(Net):
    def inner(self, h):
        return checkpoint(lambda z: checkpoint(self.second, torch.sin(z), use_reentrant=False), h, use_reentrant=False)


class OffloadedTensors(Net):
    def inner(self, h):
        with save_on_cpu():
            return super().inner(h)


class RecomputedInHook(Net):
    """What is saved for the backward pass is computed from the weights of that moment."""

    def inner(self, h):
        def unpack(saved):
            return torch.tanh(self.second(h.detach())).detach() if saved is None else saved

        def pack(tensor):
            return (
                None
                if tensor.shape == h.shape and tensor.grad_fn is not None and "Tanh" in str(tensor.grad_fn)
                else tensor
            )

        with saved_tensors_hooks(pack, unpack):
            return torch.tanh(self.second(h))


class Equilibrium(Net):
    """z = tanh(W z + h), whose backward pass solves another fixed point by the module's own layers."""

    def set_up(self, draw):
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def inner(self, h):
        def step(z):
            return torch.tanh(self.second(z) + h)

        with torch.no_grad():
            z = torch.zeros_like(h)
            for _ in range(30):
                z = step(z)
        z = step(z)
        if z.requires_grad:
            start = z.detach().requires_grad_()
            f0 = step(start)

            def solved(gradient):
                g = gradient
                for _ in range(30):
                    g = torch.autograd.grad(f0, start, g, retain_graph=True)[0] + gradient
                return g

            z.register_hook(solved)
        return z


class Recompute(torch.autograd.Function):
    """Runs a module again in the backward pass, and gives gradients to its parameters."""

    @staticmethod
    def forward(ctx, module, x, *parameters):
        ctx.module = module
        ctx.save_for_backward(x)
        with torch.no_grad():
            return module(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            output = ctx.module(x)
        found = torch.autograd.grad(output, [x, *ctx.module.parameters()], gradient)
        return None, *found


class Reversible(Net):
    def set_up(self, draw):
        self.block = nn.Sequential(self.second, nn.Tanh())

    def inner(self, h):
        return Recompute.apply(self.block, h, *self.block.parameters())


class Rectifier(torch.autograd.Function):
    """A backward rule that cannot be differentiated again, and no forward rule."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z.clamp(min=0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (z,) = ctx.saved_tensors
        return torch.from_numpy(gradient.numpy() * (z.detach().numpy() > 0))


class OnceDifferentiable(Net):
    def inner(self, h):
        return Rectifier.apply(self.second(h))


class Recurrent(nn.Module):
    def __init__(self, n_outputs, generator):
        super().__init__()
        self.cells, self.out = nn.LSTM(1, WIDTH, batch_first=True), nn.Linear(WIDTH, n_outputs)

    def forward(self, x):
        return self.out(self.cells(x.unsqueeze(2))[0][:, -1])


class Tokens(nn.Module):
    def __init__(self, n_outputs, generator, sparse=False):
        super().__init__()
        self.embedding, self.out = nn.Embedding(TOKENS, WIDTH, sparse=sparse), nn.Linear(WIDTH, n_outputs)

    def forward(self, x):
        return self.out(torch.tanh(self.embedding(x.long()).mean(1)))


class Transformer(nn.Module):
    def __init__(self, n_outputs, generator):
        super().__init__()
        self.embedding, self.out = nn.Embedding(TOKENS, WIDTH, padding_idx=0), nn.Linear(WIDTH, n_outputs)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 8, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x):
        tokens = x.long()
        return self.out(self.encoder(self.embedding(tokens), src_key_padding_mask=tokens == 0).mean(1))


class Attention(nn.Module):
    def __init__(self, n_outputs, generator):
        super().__init__()
        self.embedding, self.out = nn.Embedding(TOKENS, WIDTH), nn.Linear(WIDTH, n_outputs)
        self.keys = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        h = self.embedding(x.long()).unsqueeze(1)
        return self.out(F.scaled_dot_product_attention(h, self.keys(h), h).mean((1, 2)))


class LazyNet(nn.Module):
    def __init__(self, n_outputs, generator):
        super().__init__()
        self.first, self.act, self.out = nn.LazyLinear(WIDTH), nn.Tanh(), nn.LazyLinear(n_outputs)

    def forward(self, x):
        return self.out(self.act(self.first(x)))


BACKBONE = nn.Linear(FEATURES, WIDTH).requires_grad_(False)


class SharedBackbone(Net):
    def set_up(self, draw):
        self.first = BACKBONE


def of_local_class(n_outputs, generator):
    class Local(Net):
        pass

    return Local(n_outputs, generator)


def of_local_class_with_features(n_outputs, generator):
    features = torch.randn(WIDTH, generator=generator)

    class Local(Net):
        def inner(self, h):
            return torch.tanh(self.second(h) * features.to(h))

    return Local(n_outputs, generator)


def of_local_class_attribute(n_outputs, generator):
    class Local(Net):
        features = torch.randn(WIDTH, generator=generator)

        def inner(self, h):
            return torch.tanh(self.second(h) * self.features.to(h))

    return Local(n_outputs, generator)


def with_second_layer(change):
    def make(n_outputs, generator):
        network = Net(n_outputs, generator)
        network.second = change(network.second) or network.second
        return network

    return make


def compiled(n_outputs, generator):
    return torch.compile(Net(n_outputs, generator), backend="aot_eager")


class WithNameOfAWrapper(nn.Module):
    """Has a part under the name that `torch.compile` uses, and does more than the part."""

    def __init__(self, n_outputs, generator):
        super().__init__()
        self._orig_mod = Net(n_outputs, generator)

    def forward(self, x):
        return 2.0 * self._orig_mod(x)


def data_parallel_with_hook(n_outputs, generator):
    wrapper = nn.DataParallel(Net(n_outputs, generator))
    wrapper.register_forward_hook(lambda module, inputs, output: 2.0 * output)
    return wrapper


def with_compiled_part(n_outputs, generator):
    network = Net(n_outputs, generator)
    network.second = torch.compile(nn.Sequential(network.second, nn.LayerNorm(WIDTH)), backend="aot_eager")
    network.out.compile(backend="aot_eager")
    return network


def scripted(n_outputs, generator):
    return torch.jit.script(nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.Tanh(), nn.Linear(WIDTH, n_outputs)))


def traced(n_outputs, generator):
    return torch.jit.trace(Net(n_outputs, generator), torch.zeros(2, FEATURES))


def symbolic(n_outputs, generator):
    return torch.fx.symbolic_trace(Net(n_outputs, generator))


class SharedBackboneOfFeatures(PlainTensor):
    def set_up(self, draw):
        super().set_up(draw)
        self.first = BACKBONE


def sparse_tokens(n_outputs, generator):
    return Tokens(n_outputs, generator, sparse=True)


def data_parallel(n_outputs, generator):
    return nn.DataParallel(Net(n_outputs, generator))


def old_weight_norm(layer):
    return nn.utils.weight_norm(layer)


def old_spectral_norm(layer):
    return nn.utils.spectral_norm(layer)


def pruned(layer):
    prune.random_unstructured(layer, "weight", amount=0.4)


ON_NUMBERS = {
    **{cls.__name__: cls for cls in (
        Net, PlainTensor, Scalar, Threshold, Permutation, TupleOfTensors, HeldObject, NumpyArray, Closure, Partial,
        ClosureOverItself, Hook, KeepsGenerator, UnregisteredLayers, RandomActivation, RandomlyFrozen, KeepsActivations,
        CountsCalls, ReplacesABuffer, ComplexBuffer, Tied, InPlaceOnInput,
        ScalarParameter, PlainAliases, TwoNames,
        SparseBuffer, LongList, WritesByNumpy, Adapter, HyperNetwork, ComplexArithmetic, LinearSolve, WritesInPlace,
        LazyByHand, CopiesNothing, HookOnGradients, Branching, Checkpointed,
        CheckpointedInTheOldForm, CheckpointedTwice,
        OffloadedTensors, RecomputedInHook, Equilibrium, Reversible, OnceDifferentiable, Recurrent, LazyNet,
        SharedBackbone,
    )},
    **{make.__name__: make for make in (
        of_local_class, of_local_class_with_features, of_local_class_attribute, compiled, with_compiled_part, scripted,
        WithNameOfAWrapper, data_parallel_with_hook,
        traced, symbolic, SharedBackboneOfFeatures, data_parallel,
    )},
    **{change.__name__: with_second_layer(change) for change in (
        old_weight_norm, old_spectral_norm, parametrizations.weight_norm, parametrizations.spectral_norm, orthogonal,
        pruned,
    )},
}  # fmt: skip
ON_TOKENS = {make.__name__: make for make in (Tokens, sparse_tokens, Transformer, Attention)}


def factory(name):
    """A factory by the name of what it makes, with the keywords of a config's factory."""
    make = (ON_NUMBERS | ON_TOKENS)[name]

    def build(*, depth, width, init_scale, input_shape, n_outputs, generator):
        return make(n_outputs, generator)

    return build


def __getattr__(name):
    if name in ON_NUMBERS or name in ON_TOKENS:
        return factory(name)
    raise AttributeError(name)
