"""Architectures of plain convolutional networks, for finite networks and for infinite width alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from ntk_atlas.families.convolutional import ConvolutionalSettings

ConvolutionalReadout = Literal["flatten", "global_average"]


class NetworkShapeError(ValueError):
    """An architecture does not fit the shape of the inputs."""


@dataclass(frozen=True)
class ConvolutionalArchitecture:
    """A Myrtle-like network: blocks of convolutions with activations, average pooling, a dense readout.

    Every convolution has stride 1, zero padding that keeps the size, and an activation after it. Pooling averages
    2 x 2 windows and drops an odd last row or column. A convolution's fan-in is kernel_size² · channels; that of the
    readout is height · width · channels after `flatten`, channels after `global_average`. Myrtle-5 (Shankar et al.
    2020) is `ConvolutionalArchitecture(((2, True), (1, True), (1, False)), readout="global_average")`: its last
    pools, down to one pixel, are a global average.

    Attributes:
        blocks: (number of convolutions, whether 2 x 2 average pooling follows) of each block.
        kernel_size: odd side of all kernels.
        readout: what comes before the dense output layer.
        channels: of each block in units of the width; the last number holds for all further blocks.
    """

    blocks: tuple[tuple[int, bool], ...]
    kernel_size: int = 3
    readout: ConvolutionalReadout = "flatten"
    channels: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        if not self.blocks or any(len(block) != 2 or int(block[0]) < 1 for block in self.blocks):
            raise ValueError(
                f"blocks are pairs (number of convolutions ≥ 1, pool after them), at least one; got {self.blocks!r}"
            )
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is odd and positive, got {self.kernel_size}")
        if self.readout not in get_args(ConvolutionalReadout):
            raise ValueError(f"readout is one of {', '.join(get_args(ConvolutionalReadout))}, got {self.readout!r}")
        if not self.channels or min(self.channels) < 1:
            raise ValueError(f"channels are at least 1 times the width in every block, got {self.channels!r}")
        object.__setattr__(self, "blocks", tuple((int(n), bool(pool)) for n, pool in self.blocks))
        object.__setattr__(self, "channels", tuple(map(int, self.channels)))

    @classmethod
    def of_depth(cls, settings: "ConvolutionalSettings", depth: int) -> "ConvolutionalArchitecture":
        """The architecture of a number of convolutions, see `ConvolutionalSettings`.

        Args:
            settings: blocks, channels, kernel size and readout.
            depth: convolutions, at least 1.

        Returns:
            The architecture.

        Raises:
            ValueError: if there is no convolution.
        """
        if depth < 1:
            raise ValueError(f"a convolutional network has at least one convolution: depth is 1 or more, got {depth}")
        count = min(settings.blocks, depth)
        each, more = divmod(depth, count)
        blocks = tuple((each + (k < more), k + 1 < count) for k in range(count))
        return cls(blocks, settings.kernel_size, settings.readout, settings.channels)

    @property
    def depth(self) -> int:
        """Number of convolutions, the hidden layers."""
        return sum(n for n, _ in self.blocks)

    @property
    def layer_channels(self) -> tuple[int, ...]:
        """Channels of each convolution, in units of the width."""
        last = len(self.channels) - 1
        return tuple(self.channels[min(k, last)] for k, (n, _) in enumerate(self.blocks) for _ in range(n))

    def fan_ins(self, image_shape: tuple[int, int, int], width: int) -> tuple[int, ...]:
        """Fan-in of each convolution and of the readout.

        Args:
            image_shape: channels, height and width of an input.
            width: channels of a convolution whose `layer_channels` is 1.

        Returns:
            `depth + 1` numbers.

        Raises:
            ValueError: if pooling leaves no pixel.
        """
        channels = [image_shape[0], *(width * factor for factor in self.layer_channels)]
        h, w = self.sizes(*image_shape[1:])[-1]
        pixels = h * w if self.readout == "flatten" else 1
        return (*(self.kernel_size**2 * c for c in channels[:-1]), pixels * channels[-1])

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width that each block's convolutions see, and those before the readout.

        Args:
            height: of the input images.
            width: of the input images.

        Returns:
            One pair a block and one more.

        Raises:
            ValueError: if pooling leaves no pixel.
        """
        sizes = [(height, width)]
        for _, pool in self.blocks:
            h, w = sizes[-1]
            sizes.append((h // 2, w // 2) if pool else (h, w))
        if min(sizes[-1]) < 1:
            raise ValueError(f"images of {height} x {width} pixels are pooled away by {self}")
        return sizes


def image_shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width of an input.

    Args:
        input_shape: shape of one sample.

    Returns:
        The three numbers.

    Raises:
        NetworkShapeError: if there are not three.
    """
    shape = tuple(int(size) for size in input_shape)
    if len(shape) != 3:
        raise NetworkShapeError(
            f"convolutional networks take images (channels, height, width), a sample of these data has shape {shape}: "
            "set network.architecture to fully_connected, or take a data set of images (digits: dataset.as_images)"
        )
    return shape


def checked_fan_ins(
    architecture: ConvolutionalArchitecture, image_shape: tuple[int, int, int], width: int
) -> tuple[int, ...]:
    """Fan-in of each layer.

    Args:
        architecture: of the networks.
        image_shape: channels, height and width of an input.
        width: of the networks.

    Returns:
        See `ConvolutionalArchitecture.fan_ins`.

    Raises:
        NetworkShapeError: if pooling leaves no pixel.
    """
    try:
        return architecture.fan_ins(image_shape, width)
    except ValueError:
        pools, (h, w) = sum(pool for _, pool in architecture.blocks), image_shape[1:]
        raise NetworkShapeError(
            f"{pools} poolings halve images of {h} x {w} pixels away: their sides must be at least {2**pools}; lower "
            "network.convolutional.blocks, or take larger images"
        ) from None
