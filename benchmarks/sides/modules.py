"""Networks as people write them, for the rows of any module: both torch sides build the same one, from one seed."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Apply(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs at x."""
        return self.function(x)


class Sum(nn.Module):
    """The sum of what parts make of one input."""

    def __init__(self, *parts: nn.Module):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs at x."""
        return sum(part(x) for part in self.parts)


class Pooled(nn.Module):
    """The mean over one axis."""

    def __init__(self, axis: int = 1):
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs at x."""
        return x.mean(self.axis)


def _residual(*body: nn.Module, shortcut: nn.Module | None = None) -> Sum:
    return Sum(nn.Sequential(*body), shortcut or nn.Identity())


def _images_to_outputs(channels: int, n_outputs: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, n_outputs)]


def resnet18(width: int, n_outputs: int) -> nn.Module:
    """ResNet-18 as for 32 × 32 images (He et al. 2016, with a 3 × 3 stem), batch normalization included."""

    def convolution(c_in: int, c_out: int, size: int, stride: int = 1) -> nn.Module:
        return nn.Conv2d(c_in, c_out, size, stride, size // 2, bias=False)

    blocks: list[nn.Module] = [convolution(3, width, 3), nn.BatchNorm2d(width), nn.ReLU()]
    c_in = width
    for stage in range(4):
        c_out = width * 2**stage
        for block in range(2):
            stride = 2 if stage and not block else 1
            changes = stride > 1 or c_in != c_out
            shortcut = nn.Sequential(convolution(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out)) if changes else None
            body = [convolution(c_in, c_out, 3, stride), nn.BatchNorm2d(c_out), nn.ReLU(),
                    convolution(c_out, c_out, 3), nn.BatchNorm2d(c_out)]  # fmt: skip
            blocks += [_residual(*body, shortcut=shortcut), nn.ReLU()]
            c_in = c_out
    return nn.Sequential(*blocks, *_images_to_outputs(c_in, n_outputs))


class Block(nn.Module):
    """One block of a transformer, norms first."""

    def __init__(self, d: int, n_heads: int, causal: int = 0):
        super().__init__()
        self.attention = nn.MultiheadAttention(d, n_heads, batch_first=True)
        self.norms = nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)])
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.mask = nn.Buffer(nn.Transformer.generate_square_subsequent_mask(causal)) if causal else None

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs at x."""
        h = self.norms[0](x)
        x = x + self.attention(h, h, h, attn_mask=self.mask, need_weights=False)[0]
        return x + self.mlp(self.norms[1](x))


class VisionTransformer(nn.Module):
    """Patches of 4 × 4, a class token and learned positions."""

    def __init__(self, d: int, depth: int, n_outputs: int, n_patches: int = 64):
        super().__init__()
        self.patches = nn.Conv2d(3, d, 4, 4)
        self.token, self.positions = nn.Parameter(torch.zeros(1, 1, d)), nn.Parameter(torch.zeros(1, n_patches + 1, d))
        self.blocks = nn.Sequential(*[Block(d, 4) for _ in range(depth)], nn.LayerNorm(d))
        self.head = nn.Linear(d, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs at x."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.head(self.blocks(x)[:, 0])


class Generative(nn.Module):
    """A small GPT: tokens, learned positions, causal attention; outputs at the last token."""

    def __init__(self, d: int, depth: int, n_tokens: int, vocabulary: int, n_outputs: int):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, d), nn.Embedding(n_tokens, d)
        self.blocks = nn.Sequential(*[Block(d, 4, n_tokens) for _ in range(depth)], nn.LayerNorm(d))
        self.head = nn.Linear(d, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs at x."""
        places = self.places(torch.arange(x.shape[1], device=x.device))
        return self.head(self.blocks(self.tokens(x) + places)[:, -1])


class Recurrent(nn.Module):
    """A recurrent network, read out at the last step."""

    def __init__(self, kind: type[nn.Module], n_inputs: int, d: int, depth: int, n_outputs: int):
        super().__init__()
        self.steps = kind(n_inputs, d, depth, batch_first=True)
        self.head = nn.Linear(d, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs at x."""
        return self.head(self.steps(x)[0][:, -1])


class SqueezeExcite(nn.Module):
    """Channels scaled by what a small network makes of their means (Hu et al. 2018)."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels // 4, 1), nn.ReLU(),
                                   nn.Conv2d(channels // 4, channels, 1), nn.Sigmoid())  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs at x."""
        return x * self.scale(x)


class UNet(nn.Module):
    """Down, up by a transposed convolution, and a concatenation; the image is averaged to outputs."""

    def __init__(self, c: int, n_outputs: int):
        super().__init__()
        self.before, self.down = nn.Conv2d(3, c, 3, padding=1), nn.Conv2d(c, 2 * c, 3, 2, 1)
        self.up, self.after = nn.ConvTranspose2d(2 * c, c, 2, 2), nn.Conv2d(2 * c, c, 3, padding=1)
        self.head = nn.Linear(c, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs at x."""
        h = torch.relu(self.before(x))
        up = self.up(torch.relu(self.down(h)))
        return self.head(torch.relu(self.after(torch.cat([h, up], 1))).mean((2, 3)))


class Mixer(nn.Module):
    """One block of an MLP-Mixer: tokens, then channels (Tolstikhin et al. 2021)."""

    def __init__(self, n_tokens: int, d: int):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)])
        self.tokens = nn.Sequential(nn.Linear(n_tokens, 2 * n_tokens), nn.GELU(), nn.Linear(2 * n_tokens, n_tokens))
        self.channels = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs at x."""
        x = x + self.tokens(self.norms[0](x).mT).mT
        return x + self.channels(self.norms[1](x))


class Tied(nn.Module):
    """Tokens whose embedding is the readout's weight too."""

    def __init__(self, vocabulary: int, d: int):
        super().__init__()
        self.tokens, self.body, self.head = nn.Embedding(vocabulary, d), nn.Linear(d, d), nn.Linear(d, vocabulary)
        self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs at x."""
        return self.head(torch.tanh(self.body(self.tokens(x).mean(1))))


def _images(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 3, 16, 16, generator=generator)


def _sequences(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 16, 32, generator=generator)


def _vectors(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 32, generator=generator)


def _tokens(n: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 48, (n, 16), generator=generator)


Inputs = Callable[[int, torch.Generator], Tensor]
CATALOGUE: dict[str, tuple[Callable[[], nn.Module], Inputs]] = {
    "U-Net": (lambda: UNet(16, 4), _images),
    "depthwise separable": (lambda: nn.Sequential(
        nn.Conv2d(3, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.BatchNorm2d(24),
        nn.ReLU(), nn.Conv2d(24, 48, 1), nn.ReLU(), *_images_to_outputs(48, 4)), _images),
    "squeeze-excite": (lambda: nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), SqueezeExcite(32), nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU(),
        *_images_to_outputs(32, 4)), _images),
    "MLP-Mixer": (lambda: nn.Sequential(nn.Linear(32, 48), Mixer(16, 48), Mixer(16, 48), Pooled(), nn.Linear(48, 4)),
                  _sequences),
    "GRU": (lambda: Recurrent(nn.GRU, 32, 48, 1, 4), _sequences),
    "LSTM": (lambda: Recurrent(nn.LSTM, 32, 48, 1, 4), _sequences),
    "plain RNN": (lambda: Recurrent(nn.RNN, 32, 64, 1, 4), _sequences),
    "transformer encoder": (lambda: nn.Sequential(
        nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), Pooled(), nn.Linear(32, 4)), _sequences),
    "residual, dense": (lambda: nn.Sequential(
        nn.Linear(32, 128), _residual(nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128)), nn.ReLU(),
        nn.Linear(128, 4)), _vectors),
    "group norm": (lambda: nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.GroupNorm(8, 32), nn.SiLU(), nn.Conv2d(32, 32, 3, 2, 1),
        nn.GroupNorm(8, 32), nn.SiLU(), *_images_to_outputs(32, 4)), _images),
    "dilated": (lambda: nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=4, dilation=4), nn.ReLU(),
        *_images_to_outputs(24, 4)), _images),
    "circular padding": (lambda: nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1, padding_mode="circular"), nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1, padding_mode="circular"), nn.ReLU(), *_images_to_outputs(24, 4)), _images),
    "one-dimensional": (lambda: nn.Sequential(
        nn.Conv1d(16, 48, 5, padding=2), nn.GELU(), nn.Conv1d(48, 48, 3, 2, 1), nn.GELU(), nn.AdaptiveAvgPool1d(1),
        nn.Flatten(), nn.Linear(48, 4)), _sequences),
    "weight norm": (lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(32, 128)), nn.ReLU(),
        nn.utils.parametrizations.weight_norm(nn.Linear(128, 128)), nn.ReLU(), nn.Linear(128, 4)), _vectors),
    "PReLU": (lambda: nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), nn.PReLU(24), nn.Conv2d(24, 24, 3, 2, 1), nn.PReLU(),
        *_images_to_outputs(24, 4)), _images),
    "tied embedding": (lambda: Tied(48, 32), _tokens),
    "embedding bag": (lambda: nn.Sequential(
        nn.EmbeddingBag(48, 64), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 4)), _tokens),
    "3-D convolution": (lambda: nn.Sequential(
        Apply(lambda x: x.unflatten(1, (1, 3))), nn.Conv3d(1, 12, 3, padding=1), nn.ReLU(),
        nn.Conv3d(12, 12, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(12, 4)), _images),
}  # fmt: skip


def _shared() -> nn.Module:
    layer = nn.Linear(64, 64)
    return nn.Sequential(nn.Linear(32, 64), nn.Tanh(), layer, nn.Tanh(), layer, nn.Tanh(), layer, nn.Linear(64, 4))


class Bilinear(nn.Module):
    """A bilinear form of two images of the input."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(32, 24), nn.Linear(32, 24)
        self.form = nn.Bilinear(24, 24, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs at x."""
        return self.form(torch.tanh(self.left(x)), torch.relu(self.right(x)))


CATALOGUE |= {"bilinear": (Bilinear, _vectors), "shared layer": (_shared, _vectors)}


def _large_images(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 3, 32, 32, generator=generator)


def _long_tokens(n: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 128, (n, 32), generator=generator)


def _steps(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 20, 32, generator=generator)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Inputs]] = {
    "resnet18 w16": (lambda: resnet18(16, 10), _large_images),
    "resnet18 w64": (lambda: resnet18(64, 10), _large_images),
    "resnet18 w16 one output": (lambda: resnet18(16, 1), _large_images),
    "vit": (lambda: VisionTransformer(64, 4, 10), _large_images),
    "gpt": (lambda: Generative(64, 3, 32, 128, 5), _long_tokens),
    "lstm": (lambda: Recurrent(nn.LSTM, 32, 64, 2, 3), _steps),
} | CATALOGUE


def built(name: str, n: int) -> tuple[nn.Module, Tensor]:
    """A network of the catalogue in evaluation mode, statistics moved, and its inputs, `(n, ...)`; one seed each."""
    make, inputs = NETWORKS[name]
    generator = torch.Generator().manual_seed(7)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval(), inputs(n, generator)
