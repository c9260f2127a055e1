"""The layers of the built-in networks as numbers, for estimates made before anything runs."""

import math
from dataclasses import dataclass

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.networks.convolutional_architecture import ConvolutionalArchitecture, checked_fan_ins, image_shape


@dataclass(frozen=True)
class LayerSize:
    """One layer with weights and biases.

    Attributes:
        fan_in: numbers that each of its outputs sees.
        fan_out: its outputs, at each position.
        positions: how often it is applied to a sample: pixels of a convolution, else 1.
    """

    fan_in: int
    fan_out: int
    positions: int

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return (self.fan_in + 1) * self.fan_out

    @property
    def multiply_adds(self) -> int:
        """Multiplications of one forward pass of one sample."""
        return self.fan_in * self.fan_out * self.positions


def layer_sizes(
    network: NetworkSettings, input_shape: tuple[int, ...], depth: int, width: int, n_outputs: int
) -> tuple[LayerSize, ...]:
    """The layers of a network of the built-in architectures.

    Args:
        network: its architecture.
        input_shape: of one sample.
        depth: hidden layers.
        width: units, or channels in units of the architecture's.
        n_outputs: outputs.

    Returns:
        `depth + 1` layers.

    Raises:
        NetworkShapeError: if the images do not fit a convolutional architecture.
    """
    if network.architecture == "convolutional":
        architecture = ConvolutionalArchitecture.of_depth(network.convolutional, depth)
        image = image_shape(input_shape)
        fan_ins = checked_fan_ins(architecture, image, width)
        fan_outs = [*(width * factor for factor in architecture.layer_channels), n_outputs]
        sides = architecture.sizes(*image[1:])
        positions = [h * w for (n, _), (h, w) in zip(architecture.blocks, sides, strict=False) for _ in range(n)] + [1]
    else:
        fan_outs = [*[width] * depth, n_outputs]
        fan_ins = [math.prod(input_shape), *fan_outs[:-1]]
        positions = [1] * (depth + 1)
    return tuple(LayerSize(*sizes) for sizes in zip(fan_ins, fan_outs, positions, strict=True))
