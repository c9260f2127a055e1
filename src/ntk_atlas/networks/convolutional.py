r"""Convolutional networks, see `convolutional_architecture`.

Convolution l maps images x^{l−1} to z^l = W^l ∗ x^{l−1} + b^l, x^l = φ(z^l); average pooling stands between blocks, and
a dense layer reads the flattened or averaged image out. There is no batch normalization, which would make a sample's
output depend on others. Weights have the size σ_w/√fan_in with fan_in = k² · channels, and the fan-in of the readout as
in `ConvolutionalArchitecture` (Arora et al. 2019, section 4; Novak et al. 2019); the parameterization says where.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ntk_atlas.activations import activation
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.networks.convolutional_architecture import ConvolutionalArchitecture, checked_fan_ins, image_shape
from ntk_atlas.networks.stacked import (
    ActivationLayer,
    SingleMember,
    StackedConv2d,
    StackedLinear,
    StackedNetwork,
    drawn_layers,
    layer_rates,
)

_SMALL = 2**16
"""Numbers in a member's first hidden image up to which members share one grouped convolution. On CPUs it saves half of
a step of narrow networks on small batches; above, members in turn keep their images in the cache (1.1 to 1.7 times
faster)."""


class StackedConvolutional(StackedNetwork):
    """A stack of convolutional networks.

    Attributes:
        convolutions: the convolutions of all blocks, in order.
        readout: the dense output layer.
        architecture: blocks, pooling, kernel size and readout.
    """

    keeps_nothing = True

    def __init__(
        self,
        convolutions: Sequence[StackedConv2d],
        readout: StackedLinear,
        phi: nn.Module,
        architecture: ConvolutionalArchitecture,
        input_shape: tuple[int, int, int],
        output_scale: float = 1.0,
    ):
        super().__init__()
        self.convolutions, self.readout, self.phi = nn.ModuleList(convolutions), readout, phi
        self.architecture, self.input_shape, self.output_scale = architecture, input_shape, output_scale
        self.n_members = len(readout.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs, see `StackedNetwork.forward`."""
        together = self.n_members == 1 or self._numbers(x) <= _SMALL
        features = self._together(x) if together else self._in_turn(x)
        return self.output_scale * self.readout(features)

    def rates(self) -> list[float]:
        """Returns rates, see `StackedNetwork.rates`."""
        return layer_rates([*self.convolutions, self.readout])

    def member(self, index: int) -> nn.Module:
        """Returns one member, see `StackedNetwork.member`."""
        return SingleMember(self.select([index]))

    def select(self, members: Sequence[int]) -> "StackedConvolutional":
        """Returns some members, see `StackedNetwork.select`."""
        chosen = list(members)
        convolutions = [layer.select(chosen) for layer in self.convolutions]
        return StackedConvolutional(
            convolutions, self.readout.select(chosen), self.phi, self.architecture, self.input_shape, self.output_scale
        )

    def _numbers(self, x: Tensor) -> int:
        return x.shape[-4] * self.convolutions[0].weight.shape[1] * math.prod(self.input_shape[1:])

    def _together(self, x: Tensor) -> Tensor:
        """Features before the readout `(S, n, k)`, all members in grouped convolutions."""
        if self.is_per_member(x):
            x = x.transpose(0, 1).flatten(1, 2)
        elif self.n_members > 1:
            x = x.repeat(1, self.n_members, 1, 1)
        image = self._images(x, list(self.convolutions))
        image = image.unflatten(1, (self.n_members, -1)).transpose(0, 1)
        return image.flatten(2) if self.architecture.readout == "flatten" else image.mean((3, 4))

    def _in_turn(self, x: Tensor) -> Tensor:
        """Features before the readout `(S, n, k)`, one member after another."""
        per_layer = [layer.members() for layer in self.convolutions]
        features = []
        for index in range(self.n_members):
            steps = [
                lambda h, layer=layer, own=own[index]: layer.convolve(h, own)
                for layer, own in zip(self.convolutions, per_layer, strict=True)
            ]
            image = self._images(x[index] if self.is_per_member(x) else x, steps)
            features.append(image.flatten(1) if self.architecture.readout == "flatten" else image.mean((2, 3)))
        return torch.stack(features)

    def _images(self, x: Tensor, convolutions: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        # On CPUs convolutions run up to twice as fast with the channels last; the numbers are the same.
        if x.device.type == "cpu":
            x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # `vmap` knows no memory formats
        position = 0
        for count, pool in self.architecture.blocks:
            for convolution in convolutions[position : position + count]:
                x = self.phi(convolution(x))
            position += count
            x = F.avg_pool2d(x, 2) if pool else x
        return x


def convolutional(
    settings: NetworkSettings,
    architecture: ConvolutionalArchitecture,
    *,
    width: int,
    init_scale: float,
    input_shape: Sequence[int],
    n_outputs: int,
    generators: Sequence[torch.Generator],
    dtype: torch.dtype = torch.float32,
) -> StackedConvolutional:
    """Draws one convolutional network per generator, see `drawn_layers`.

    Args:
        settings: activation, parameterization, σ_b², biases and output scale.
        architecture: blocks, pooling, kernel size and readout.
        width: channels of each convolution, times what the architecture says of its block.
        init_scale: σ_w².
        input_shape: channels, height and width of an image.
        n_outputs: number of outputs.
        generators: the random streams of the members.
        dtype: precision of the parameters.

    Returns:
        The stack, one member per generator.

    Raises:
        NetworkShapeError: if inputs are no images, or pooling leaves nothing of them.
    """
    shape = image_shape(input_shape)
    fan_ins = checked_fan_ins(architecture, shape, width)
    k, channels = architecture.kernel_size, [shape[0], *(width * factor for factor in architecture.layer_channels)]
    shapes = [*((c_out, c_in, k, k) for c_in, c_out in pairwise(channels)), (fan_ins[-1], n_outputs)]
    sizes = [math.sqrt(init_scale / fan_in) for fan_in in fan_ins]
    drawn = drawn_layers(settings, shapes, fan_ins, sizes, width=width, generators=generators, dtype=dtype)
    layers = [*(StackedConv2d(*layer) for layer in drawn[:-1]), StackedLinear(*drawn[-1])]
    for layer in layers:
        layer.bias.requires_grad_(settings.trainable_biases)
    phi = ActivationLayer(activation(settings.activation))
    return StackedConvolutional(layers[:-1], layers[-1], phi, architecture, shape, settings.output_scale)
