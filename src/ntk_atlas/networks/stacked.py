r"""Stacks of networks, members of one architecture evaluated together, and the layers that they are made of.

Everything downstream (training, kernels, checkpoints) knows networks only through `StackedNetwork`.

What stands in the weights of a layer and what before them is its parameterization's. All parameterizations draw the
same standard normals, so that one stream gives the same function in the standard and in the NTK parameterization
(Jacot et al. 2018; Lee et al. 2019, section 2). Biases are parameters also at σ_b = 0.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ntk_atlas.activations import ACTIVATIONS, Activation
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.parameterizations import layer_parameters, parameterization


class StackedNetwork(nn.Module, ABC):
    """`n_members` networks of one architecture; no operation mixes members or samples.

    Attributes:
        n_members: number of networks S.
        input_shape: shape of one sample.
        output_scale: α of f = α f̃, the factor `forward` applies to the raw output.
        takes_tokens: whether inputs that are integers stay integers.
        members_apart: whether kernels are those of one member after another; else of layers with a member axis.
    """

    n_members: int
    input_shape: tuple[int, ...]
    output_scale: float
    members_apart: bool = False
    takes_tokens: bool = False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Outputs of all members.

        Args:
            x: inputs, `(n, *input_shape)` shared by all members or `(n_members, n, *input_shape)`.

        Returns:
            Outputs f(x) = α f̃(x), `(n_members, n, n_outputs)`.
        """

    def is_per_member(self, x: Tensor) -> bool:
        """Returns whether `x` has a leading member axis, rather than being shared by all members."""
        return x.dim() == len(self.input_shape) + 2

    @abstractmethod
    def member(self, index: int) -> nn.Module:
        """Returns one member, `(n, *input_shape)` → `(n, n_outputs)`, with a copy of its weights."""

    @abstractmethod
    def select(self, members: Sequence[int]) -> "StackedNetwork":
        """Returns a stack of copies of the given members."""

    def parameters_of(self, members: Iterable[int]) -> list[tuple[nn.Parameter, list[int] | EllipsisType]]:
        """Returns all parameters of some members, each with the place `p` at which `parameter[p]` is theirs."""
        members = list(members)
        return [(p, members) for p in self.parameters()]

    def weights(self) -> Tensor:
        """Returns a copy of all parameters, `(n_members, n_parameters)`, in the order of `parameters()`."""
        return torch.cat([p.detach().reshape(len(p), -1) for p in self.parameters()], dim=1)

    def rates(self) -> list[float]:
        """Returns the factor on the learning rate of each of `parameters()`, see `Parameterization.rate`."""
        return [1.0] * len(list(self.parameters()))

    def load_weights(self, weights: Tensor) -> None:
        """Overwrites the parameters with what `weights()` returned."""
        start = 0
        with torch.no_grad():
            for p in self.parameters():
                size = p[0].numel()
                p.copy_(weights[:, start : start + size].reshape(p.shape))
                start += size


@dataclass(frozen=True)
class LayerScaling:
    """What a parameterization gives a layer.

    Attributes:
        weight_factor: in the forward pass, see `Parameterization.split`.
        bias_factor: in the forward pass.
        weight_rate: see `Parameterization.rate`.
        bias_rate: of the biases.
        parameterization: its name, or `as written`.
    """

    weight_factor: float = 1.0
    bias_factor: float = 1.0
    weight_rate: float = 1.0
    bias_rate: float = 1.0
    parameterization: str = "as written"


AS_WRITTEN = LayerScaling()


class StackedLinear(nn.Module):
    r"""One affine layer of every member: z = weight_factor · x W + bias_factor · b.

    Attributes:
        weight: `(n_members, fan_in, fan_out)`.
        bias: `(n_members, fan_out)` or None.
        scaling: the factors, and what else the parameterization says of the layer.
    """

    keeps_nothing = True

    def __init__(self, weight: Tensor, bias: Tensor | None, scaling: LayerScaling = AS_WRITTEN):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.scaling = scaling
        self.weight_factor, self.bias_factor = scaling.weight_factor, scaling.bias_factor

    def forward(self, x: Tensor) -> Tensor:
        """Returns z, `(n_members, n, fan_out)`, at x `(n_members, n, fan_in)`, or `(n, fan_in)` for all."""
        if x.dim() == 2:
            x = x.expand(self.weight.shape[0], *x.shape)
        if self.bias is None:
            return self.weight_factor * torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight, beta=self.bias_factor, alpha=self.weight_factor)

    def select(self, members: Sequence[int]) -> "StackedLinear":
        """Returns a copy with some of the members; what is frozen stays frozen."""
        weight, bias = (None if p is None else p.detach()[list(members)].clone() for p in (self.weight, self.bias))
        assert weight is not None
        return _frozen_alike(StackedLinear(weight, bias, self.scaling), self)


class StackedConv2d(nn.Module):
    r"""One convolution of every member: z = weight_factor · W ∗ x + bias_factor · b, stride 1, as large as x.

    Attributes:
        weight: `(n_members, c_out, c_in, k, k)`, k odd.
        bias: `(n_members, c_out)`.
        scaling: the factors, and what else the parameterization says of the layer.
    """

    keeps_nothing = True

    def __init__(self, weight: Tensor, bias: Tensor, scaling: LayerScaling = AS_WRITTEN):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.scaling = scaling
        self.weight_factor, self.bias_factor = scaling.weight_factor, scaling.bias_factor

    @property
    def padding(self) -> int:
        """Zeros on each side."""
        return self.weight.shape[-1] // 2

    def forward(self, x: Tensor) -> Tensor:
        """All members in one convolution, a member a group.

        Args:
            x: channels of all members side by side, `(n, n_members · c_in, height, width)`.

        Returns:
            z, `(n, n_members · c_out, height, width)`.
        """
        weight, bias = self._scaled()
        return F.conv2d(x, weight.flatten(0, 1), bias.flatten(), padding=self.padding, groups=len(weight))

    def members(self) -> list[tuple[Tensor, Tensor]]:
        """Returns weight and bias of each member, factors included, for `convolve`."""
        weight, bias = self._scaled()
        return list(zip(weight.unbind(0), bias.unbind(0), strict=True))

    def convolve(self, x: Tensor, member: tuple[Tensor, Tensor]) -> Tensor:
        """One member alone.

        Args:
            x: `(n, c_in, height, width)`.
            member: of `members`.

        Returns:
            z, `(n, c_out, height, width)`.
        """
        return F.conv2d(x, *member, padding=self.padding)

    def select(self, members: list[int]) -> "StackedConv2d":
        """Returns a copy with some of the members; what is frozen stays frozen."""
        weight, bias = self.weight.detach()[members].clone(), self.bias.detach()[members].clone()
        return _frozen_alike(StackedConv2d(weight, bias, self.scaling), self)

    def plain(self) -> nn.Conv2d:
        """Returns a module without weights that says the geometry of one member's convolution."""
        _, c_out, c_in, k, _ = self.weight.shape
        return nn.Conv2d(c_in, c_out, k, padding=self.padding, bias=False, device="meta")

    def _scaled(self) -> tuple[Tensor, Tensor]:
        # Scaling weights is cheaper than scaling images.
        weight = self.weight if self.weight_factor == 1.0 else self.weight_factor * self.weight
        return weight, self.bias if self.bias_factor == 1.0 else self.bias_factor * self.bias


Layer = TypeVar("Layer", StackedLinear, StackedConv2d)


def _frozen_alike(copied: Layer, layer: Layer) -> Layer:
    for mine, other in zip(layer.parameters(), copied.parameters(), strict=True):
        other.requires_grad_(mine.requires_grad)
    return copied


class ActivationLayer(nn.Module):
    """φ of every entry.

    Attributes:
        activation: φ; a torch module that a user's φ is made of is a part of this layer.
    """

    keeps_nothing = True

    def __init__(self, activation: Activation):
        super().__init__()
        self.activation = activation
        function = getattr(activation, "function", None)
        self.part = function if isinstance(function, nn.Module) else None

    def forward(self, z: Tensor) -> Tensor:
        """Returns φ of every entry of z."""
        return self.activation.phi(z)


def acts_on_entries(module: nn.Module) -> bool:
    """Whether a module is a built-in activation; what a user's file holds was tried on a few tensors only."""
    return type(module) is ActivationLayer and module.activation.name in ACTIVATIONS


def keeps_nothing(module: nn.Module) -> bool:
    """Whether runs of a module of this package may overlap: its class says `keeps_nothing`, not a class above it."""
    return bool(vars(type(module)).get("keeps_nothing", False))


def layer_rates(layers: Iterable[nn.Module]) -> list[float]:
    """Rates of the parameters of layers that have a `scaling`, in their order; see `StackedNetwork.rates`."""
    rates = []
    for layer in layers:
        scaling = layer.scaling
        assert isinstance(scaling, LayerScaling)
        rates += [rate for rate, _ in zip((scaling.weight_rate, scaling.bias_rate), layer.parameters(), strict=False)]
    return rates


class SingleMember(nn.Module):
    """A stack of one, seen as one network."""

    keeps_nothing = True

    def __init__(self, stack: StackedNetwork):
        super().__init__()
        self.stack = stack

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs `(n, n_outputs)` at `(n, *input_shape)`."""
        outputs: Tensor = self.stack(x.unsqueeze(0))
        return outputs.squeeze(0)


Through = Callable[[Sequence[StackedLinear], nn.Module, Tensor], Tensor]
"""How an input passes layers: their order, φ and x `(…, n, fan_in)` give the outputs `(S, n, n_outputs)`."""


class StackedLayers(StackedNetwork):
    """A stack of networks of affine layers and one activation; inputs of more than one dimension are flattened.

    Attributes:
        layers: the affine layers, the readout last.
        phi: φ, the activation.
        through: how an input passes them, a function that keeps nothing; None for one after another,
            x^l = φ(z^l), z^l = W^l x^{l−1} + b^l, with a linear output: the fully connected network.
    """

    keeps_nothing = True

    def __init__(
        self,
        layers: Sequence[StackedLinear],
        phi: nn.Module,
        output_scale: float = 1.0,
        input_shape: tuple[int, ...] | None = None,
        *,
        through: Through | None = None,
    ):
        super().__init__()
        self.layers, self.phi, self.output_scale = nn.ModuleList(layers), phi, output_scale
        self.input_shape = input_shape or (layers[0].weight.shape[1],)
        self.n_members, self.through = layers[0].weight.shape[0], through

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs, see `StackedNetwork.forward`."""
        x = x.flatten(2 if self.is_per_member(x) else 1)
        if self.through is not None:
            return self.output_scale * self.through(tuple(self._layers()), self.phi, x)
        for layer in self.layers[:-1]:
            x = self.phi(layer(x))
        outputs: Tensor = self.layers[-1](x)
        return self.output_scale * outputs

    def rates(self) -> list[float]:
        """Returns rates, see `StackedNetwork.rates`."""
        return layer_rates(self.layers)

    def member(self, index: int) -> nn.Module:
        """Returns one member, see `StackedNetwork.member`."""
        return SingleMember(self.select([index]))

    def select(self, members: Sequence[int]) -> "StackedLayers":
        """Returns some members, see `StackedNetwork.select`."""
        picked = [layer.select(members) for layer in self._layers()]
        return StackedLayers(picked, self.phi, self.output_scale, self.input_shape, through=self.through)

    def _layers(self) -> Iterable[StackedLinear]:
        for layer in self.layers:
            assert isinstance(layer, StackedLinear)
            yield layer


def drawn_layers(
    network: NetworkSettings,
    shapes: Sequence[tuple[int, ...]],
    fan_ins: Sequence[int],
    sizes: Sequence[float],
    *,
    width: int,
    generators: Sequence[torch.Generator],
    dtype: torch.dtype,
) -> list[tuple[Tensor, Tensor, LayerScaling]]:
    """Draws weights and biases of the layers of one network per generator, from input to output.

    Normals are drawn in float64, layer by layer, weights before biases, and do not depend on their sizes, the
    parameterization or `dtype`: networks of one stream are the same up to scale.

    Args:
        network: parameterization, σ_b², and the factor on the weights of the output layer.
        shapes: of the weights of each layer: `(fan_in, fan_out)`, or `(c_out, c_in, k, k)` of a convolution.
        fan_ins: numbers that an output of each layer sees.
        sizes: of the weights of each layer, σ_w/√fan_in.
        width: units (channels) of the hidden layers.
        generators: the random streams of the members.
        dtype: of the parameters.

    Returns:
        Weights, biases and scaling of each layer, all members stacked.
    """
    value, sigma_b = parameterization(network.parameterization), math.sqrt(network.bias_variance)
    layers: list[tuple[Tensor, Tensor, LayerScaling]] = []
    for shape, pair, size in zip(shapes, layer_parameters(fan_ins, width), sizes, strict=True):
        n_out = shape[1] if len(shape) == 2 else shape[0]
        weight = torch.stack([torch.randn(*shape, generator=g, dtype=torch.float64) for g in generators])
        if len(layers) + 1 == len(shapes):
            weight = network.last_layer_scale * weight
        bias = torch.stack([torch.randn(n_out, generator=g, dtype=torch.float64) for g in generators])
        (initial, factor), (initial_bias, bias_factor) = value.split(pair[0], size), value.split(pair[1], sigma_b)
        scaling = LayerScaling(factor, bias_factor, value.rate(pair[0]), value.rate(pair[1]), value.name)
        layers.append(((initial * weight).to(dtype), (initial_bias * bias).to(dtype), scaling))
    return layers
