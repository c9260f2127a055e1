r"""Fully connected networks: x^l = φ(z^l), z^l = W^l x^{l−1} + b^l, with `depth` hidden layers and a linear output.

What stands in the weights of a layer and what before them is its parameterization's. All parameterizations draw the
same standard normals, so that one stream gives the same function in the standard and in the NTK parameterization
(Jacot et al. 2018; Lee et al. 2019, section 2). Biases are parameters also at σ_b = 0.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ntk_atlas.activations import activation
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.networks.stacked import ActivationLayer, LayerScaling, StackedLinear, StackedNetwork, layer_rates
from ntk_atlas.parameterizations import Parameter, layer_parameters, parameterization


class StackedFullyConnected(StackedNetwork):
    """A stack of fully connected networks; inputs of more than one dimension are flattened.

    Attributes:
        layers: the affine layers, `depth + 1` of them.
    """

    def __init__(
        self,
        layers: Sequence[StackedLinear],
        phi: nn.Module,
        output_scale: float = 1.0,
        input_shape: tuple[int, ...] | None = None,
    ):
        super().__init__()
        self.layers, self.phi, self.output_scale = nn.ModuleList(layers), phi, output_scale
        self.input_shape = input_shape or (layers[0].weight.shape[1],)
        self.n_members = layers[0].weight.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs, see `StackedNetwork.forward`."""
        x = x.flatten(2 if self.is_per_member(x) else 1)
        for layer in self.layers[:-1]:
            x = self.phi(layer(x))
        return self.output_scale * self.layers[-1](x)

    def rates(self) -> list[float]:
        """Returns rates, see `StackedNetwork.rates`."""
        return layer_rates(self.layers)

    def member(self, index: int) -> nn.Module:
        """Returns one member, see `StackedNetwork.member`."""
        return SingleMember(self.select([index]))

    def select(self, members: Sequence[int]) -> "StackedFullyConnected":
        """Returns some members, see `StackedNetwork.select`."""
        picked = [
            StackedLinear(
                layer.weight.detach()[list(members)].clone(),
                None if layer.bias is None else layer.bias.detach()[list(members)].clone(),
                layer.scaling,
            )
            for layer in self.layers
        ]
        selected = StackedFullyConnected(picked, self.phi, self.output_scale, self.input_shape)
        for mine, copied in zip(self.parameters(), selected.parameters(), strict=True):
            copied.requires_grad_(mine.requires_grad)
        return selected


class SingleMember(nn.Module):
    """A stack of one, seen as one network."""

    def __init__(self, stack: StackedNetwork):
        super().__init__()
        self.stack = stack

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs `(n, n_outputs)` at `(n, *input_shape)`."""
        return self.stack(x.unsqueeze(0)).squeeze(0)


def layer_scaling(
    settings: NetworkSettings, layer: tuple[Parameter, Parameter], sizes: tuple[float, float]
) -> tuple[tuple[float, float], LayerScaling]:
    """What the parameterization of the settings makes of a layer.

    Args:
        settings: name the parameterization.
        layer: its weights and biases.
        sizes: σ_w/√fan_in and σ_b.

    Returns:
        Standard deviations of weights and biases at initialization, and the rest.
    """
    value = parameterization(settings.parameterization)
    (weight, weight_factor), (bias, bias_factor) = (value.split(p, s) for p, s in zip(layer, sizes, strict=True))
    rates = [value.rate(parameter) for parameter in layer]
    return (weight, bias), LayerScaling(weight_factor, bias_factor, *rates, value.name)


def fully_connected(
    settings: NetworkSettings,
    *,
    depth: int,
    width: int,
    init_scale: float,
    input_shape: Sequence[int],
    n_outputs: int,
    generators: Sequence[torch.Generator],
    dtype: torch.dtype = torch.float32,
) -> StackedFullyConnected:
    """Draws one fully connected network a generator.

    Normals are drawn in float64, layer by layer, weights before biases, and do not depend on `init_scale`,
    the parameterization or `dtype`: networks of one stream are the same up to scale.

    Args:
        settings: activation, parameterization, σ_b², biases and output scale.
        depth: hidden layers; 0 gives a linear model.
        width: units of each hidden layer.
        init_scale: σ_w².
        input_shape: shape of one sample; samples are flattened.
        n_outputs: number of outputs.
        generators: the random streams of the members.
        dtype: precision of the parameters.

    Returns:
        The stack, one member a generator.
    """
    sizes = [math.prod(input_shape), *[width] * depth, n_outputs]
    sigma_w, sigma_b = math.sqrt(init_scale), math.sqrt(settings.bias_variance)
    layers = []
    parameters = layer_parameters(sizes[:-1], width)
    for number, (n_in, n_out) in enumerate(pairwise(sizes)):
        draw = {"dtype": torch.float64}
        weight = torch.stack([torch.randn(n_in, n_out, generator=g, **draw) for g in generators])
        if number == depth:
            weight = settings.last_layer_scale * weight
        bias = torch.stack([torch.randn(n_out, generator=g, **draw) for g in generators])
        initial, scaling = layer_scaling(settings, parameters[number], (sigma_w / math.sqrt(n_in), sigma_b))
        layer = StackedLinear((initial[0] * weight).to(dtype), (initial[1] * bias).to(dtype), scaling)
        if not settings.trainable_biases:
            layer.bias.requires_grad_(False)
        layers.append(layer)
    return StackedFullyConnected(
        layers, ActivationLayer(activation(settings.activation)), settings.output_scale, tuple(input_shape)
    )
