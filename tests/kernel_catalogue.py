"""A catalogue of small networks, one for each way a layer can enter the NTK, and the slow way to their kernels."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ntk_atlas.streams import torch_stream


@dataclass(frozen=True)
class Entry:
    """One network of the catalogue.

    Attributes:
        build: makes the module, float64, with weights of a named stream.
        input_shape: shape of one sample.
        ways: how many linear layers that see a sample once must be found, and how many parameters beside theirs that
            meet samples by known rules.
        others: parameters that must go through the Jacobian.
    """

    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    ways: tuple[int, int]
    others: int = 0


class Residual(nn.Module):
    """x + body(x), then a head."""

    def __init__(self, body: nn.Module, head: nn.Module):
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.body(x))


class SharedLayer(nn.Module):
    """One layer called twice, one weight owned by two layers."""

    def __init__(self):
        super().__init__()
        self.twice, self.once, self.tied = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.tied.weight = self.once.weight
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.twice(torch.tanh(self.twice(x))))
        return self.head(torch.tanh(self.tied(torch.tanh(self.once(h)))))


class Attention(nn.Module):
    """Tokens of one sample that attend to each other: samples stay apart, no layer structure is known."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x + self.attention(x, x, x, need_weights=False)[0]).mean(1))


class Viewed(nn.Module):
    """Reads images in the order of a contiguous tensor, by `view`."""

    def __init__(self):
        super().__init__()
        self.convolution, self.head = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(3 * 25, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.convolution(x)).view(len(x), -1))


class Tokens(nn.Module):
    """Tokens and places as people write them: ids, learned positions, a class token, tokens first, a tied readout."""

    def __init__(self):
        super().__init__()
        self.ids, self.places = nn.Embedding(7, 4, padding_idx=2), nn.Embedding(5, 4)
        self.token, self.shift = nn.Parameter(torch.zeros(1, 1, 4)), nn.Parameter(torch.zeros(5, 4))
        self.layer = nn.TransformerEncoderLayer(4, 2, 6)
        self.memory = nn.MultiheadAttention(4, 2, kdim=3, vdim=3, batch_first=True)
        self.head = nn.Linear(4, 7)
        self.head.weight = self.ids.weight

    def forward(self, x: Tensor) -> Tensor:
        ids = (x.abs() * 100).long() % 7
        h = self.ids(ids) + self.places(torch.arange(4, device=x.device)) - self.shift[1:]
        h = torch.cat([self.token.expand(len(h), -1, -1), h], 1)
        h = self.layer(h.transpose(0, 1)).transpose(0, 1)
        keys = x.unsqueeze(-1) * torch.arange(1.0, 4.0, dtype=x.dtype, device=x.device)
        return self.head(h[:, 0] + self.memory(h[:, :1], keys, keys)[0][:, 0])


class Steps(nn.Module):
    """Recurrent layers, the last step read out; one of them twice, its second time backwards."""

    def __init__(self, kind: type[nn.Module], **options):
        super().__init__()
        self.steps = kind(3, 4, **options)
        self.head = nn.Linear(4 * (1 + bool(options.get("bidirectional"))), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.steps(x.transpose(0, 1))[0][-1] + self.steps(x.flip(1).transpose(0, 1))[0][-1])


class Frames(nn.Module):
    """Each frame of a sample by itself, samples and frames on one axis, then all of them."""

    def __init__(self):
        super().__init__()
        self.frame, self.row, self.head = nn.Conv2d(1, 3, 3), nn.Linear(4, 2), nn.Linear(60, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.frame(x.flatten(0, 1).unsqueeze(1)))
        rows = torch.tanh(self.row(h.flatten(0, 2)))
        return self.head(rows.unflatten(0, (len(x), -1)).flatten(1))


class FromTheLeft(nn.Module):
    """A matrix times columns of samples, factors of a parameter, a quotient, and a weight made of two."""

    def __init__(self):
        super().__init__()
        self.left, self.scale = nn.Parameter(torch.zeros(5, 4)), nn.Parameter(torch.zeros(5))
        self.low, self.high = nn.Parameter(torch.zeros(3, 1)), nn.Parameter(torch.zeros(1, 5))
        self.shared = nn.Parameter(torch.zeros(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh((0.5 * self.left @ x.mT).mT) * self.scale.abs().sqrt() - self.scale
        h = torch.tanh(nn.functional.linear(h, self.low @ self.high))
        return torch.tanh(h @ self.shared) @ self.shared.mT + (self.shared[0] / (1 + h**2))


def _moved_statistics(module: nn.Module) -> nn.Module:
    for number, part in enumerate(module.modules()):
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean += 0.1 * (number + 1)
            part.running_var *= 1.5
    return module


def _frozen(module: nn.Sequential) -> nn.Sequential:
    module[0].weight.requires_grad_(False)
    module[2].bias.requires_grad_(False)
    return module


def _seeded(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def seeded() -> nn.Module:
        module = _moved_statistics(build().double())
        generator = torch_stream("catalogue")
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
        return module.eval()

    return seeded


def _convolution(**options) -> Callable[[], nn.Module]:
    inner = nn.Conv2d(4, 6, **{"kernel_size": 3, **options})
    size = inner(torch.zeros(1, 4, 7, 6)).numel()
    return lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 6, **{"kernel_size": 3, **options}), nn.GELU(),
        nn.Flatten(), nn.Linear(size, 2),
    )  # fmt: skip


_IMAGE = (2, 7, 6)
CATALOGUE: dict[str, Entry] = {
    name: Entry(_seeded(build), *rest)
    for name, (build, *rest) in {
        "linear": (lambda: nn.Linear(4, 3), (4,), (1, 0)),
        "fully connected": (
            lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.SiLU(), nn.Linear(6, 3)),
            (4,), (3, 0)),
        "in place": (
            lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 2, bias=False)), (4,), (2, 0)),
        "frozen parameters": (
            lambda: _frozen(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))), (4,), (2, 0)),
        "normalized": (
            lambda: nn.Sequential(
                nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 6), nn.BatchNorm1d(6), nn.GELU(),
                nn.RMSNorm(6), nn.Linear(6, 2)), (4,), (3, 5)),
        "tokens": (
            lambda: nn.Sequential(
                nn.Linear(3, 4), nn.LayerNorm((5, 4)), nn.GELU(), nn.Linear(4, 2), nn.Flatten(), nn.Linear(10, 3)),
            (5, 3), (1, 6)),
        "residual": (
            lambda: Residual(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4)), nn.Linear(4, 2)),
            (4,), (3, 0)),
        "shared weights": (SharedLayer, (4,), (3, 3)),
        "convolution": (_convolution(), _IMAGE, (1, 4)),
        "strided convolution": (_convolution(stride=(2, 3), padding=(2, 1)), _IMAGE, (1, 4)),
        "dilated convolution": (_convolution(dilation=(2, 1), kernel_size=(2, 3), padding=1), _IMAGE, (1, 4)),
        "grouped convolution": (_convolution(groups=2, stride=2, bias=False), _IMAGE, (1, 3)),
        "same-padded convolution": (_convolution(padding="same", kernel_size=(4, 3)), _IMAGE, (1, 4)),
        "convolution in one dimension": (
            lambda: nn.Sequential(
                nn.Conv1d(2, 4, 3, padding=2), nn.ReLU(), nn.AvgPool1d(2), nn.Conv1d(4, 4, 2, groups=2), nn.Flatten(),
                nn.Linear(12, 2)), (2, 7), (1, 4)),
        "pooling and batch normalization": (
            lambda: nn.Sequential(
                nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2),
                nn.GroupNorm(5, 5), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)), _IMAGE, (1, 8)),
        "residual convolution": (
            lambda: Residual(
                nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 1)),
                nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 2))), _IMAGE, (1, 4)),
        "reflecting padding": (
            lambda: nn.Sequential(
                nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), nn.Tanh(), nn.Flatten(), nn.Linear(126, 2)),
            _IMAGE, (1, 2)),
        "image by view": (Viewed, (2, 5, 5), (1, 2)),
        "attention": (Attention, (3, 4), (1, 6)),
        "tokens, places and a tied readout": (Tokens, (4,), (1, 22)),
        "LSTM": (lambda: Steps(nn.LSTM, num_layers=2), (3, 3), (1, 8)),
        "GRU in both directions": (lambda: Steps(nn.GRU, bidirectional=True), (3, 3), (1, 8)),
        "RNN without biases": (lambda: Steps(nn.RNN, bias=False), (3, 3), (1, 2)),
        "weights made of others": (FromTheLeft, (4,), (0, 5)),
        "normalized weights": (
            lambda: nn.Sequential(
                nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3)), nn.PReLU(3), nn.Flatten(),
                nn.utils.parametrizations.weight_norm(nn.Linear(60, 3))), _IMAGE, (0, 7)),
        "convolution in three dimensions": (
            lambda: nn.Sequential(
                nn.Unflatten(1, (2, 1)), nn.Conv3d(2, 4, (1, 3, 2), (1, 2, 1), (0, 1, 1)), nn.Tanh(),
                nn.Conv3d(4, 4, 1, groups=2), nn.Flatten(), nn.Linear(4 * 28, 2)), _IMAGE, (1, 4)),
        "transposed convolutions": (
            lambda: nn.Sequential(
                nn.ConvTranspose2d(2, 3, (3, 2), 2, 1, output_padding=1, dilation=(1, 2)), nn.Tanh(), nn.Flatten(2),
                nn.ConvTranspose1d(3, 2, 3, 3, 1, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(1004, 2)),
            _IMAGE, (1, 3)),
        "grouped transposed convolution": (
            lambda: nn.Sequential(nn.ConvTranspose2d(2, 4, 2, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(224, 2)),
            _IMAGE, (1, 1), 1),
        "frames": (Frames, _IMAGE, (1, 4)),
        "transposed convolution": (
            lambda: nn.Sequential(nn.ConvTranspose2d(2, 2, 2), nn.Flatten(), nn.PReLU(), nn.Linear(112, 2)),
            _IMAGE, (1, 3)),
    }.items()
}  # fmt: skip


def samples(entry: Entry, n: int, name: str = "x") -> Tensor:
    """Standard normal inputs of an entry, `(n, *input_shape)`, float64."""
    return torch.randn(n, *entry.input_shape, generator=torch_stream(name), dtype=torch.float64)


def reduced(full: Tensor, output_reduction: str) -> Tensor:
    """The reductions by their definitions, from Θ_cc' `(n1, n2, C, C)`."""
    trace = torch.einsum("ijcc->ij", full)
    return {
        "full": full,
        "trace": trace,
        "mean": trace / full.shape[-1],
        "logit_sum": full.sum((-2, -1)),
    }[output_reduction]


def gradients(network: nn.Module, x: Tensor) -> Tensor:
    """∂f_c(x_i)/∂θ by one backward pass each, `(n, C, P)`."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    rows = []
    for sample in x:
        output = network(sample.unsqueeze(0))[0]
        for component in output:
            parts = torch.autograd.grad(
                component, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            rows.append(torch.cat([g.flatten() for g in parts]))
    return torch.stack(rows).reshape(len(x), -1, rows[0].numel())


def ntk_by_loop(network: nn.Module, x1: Tensor, x2: Tensor | None = None) -> Tensor:
    """Θ_cc' `(n1, n2, C, C)` from a loop over samples and outputs."""
    j1 = gradients(network, x1)
    j2 = j1 if x2 is None else gradients(network, x2)
    return torch.einsum("icp,jdp->ijcd", j1, j2)
