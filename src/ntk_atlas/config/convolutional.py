"""Settings of the built-in convolutional networks."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from ntk_atlas.config.base import Settings, Width

ConvolutionalReadout = Literal["flatten", "global_average"]


class ConvolutionalSettings(Settings):
    """How `grid.depth` convolutions of `grid.width` channels make a network.

    They are spread over blocks as evenly as can be, the first blocks taking what is left over, and 2 x 2 average
    pooling stands between blocks. Depths 4, 6 and 9 are the Myrtle networks of 5, 7 and 10 layers.
    """

    readout: ConvolutionalReadout = "global_average"
    """What comes before the dense output layer: `global_average` over the pixels that pooling leaves, or `flatten`.
    Pooling decides how much a network can gain over its kernel."""
    blocks: Annotated[int, Field(ge=1, le=30)] = 3
    """Number of blocks; a network of fewer convolutions has as many as convolutions. Each but the last halves the
    image, whose sides must be at least 2^(blocks - 1)."""
    channels: tuple[Width, ...] = Field(default=(1,), min_length=1)
    """Channels of each block in units of `grid.width`; the last number holds for all further blocks."""
    kernel_size: Annotated[int, Field(ge=1, le=10_000)] = 3
    """Side of the kernels, an odd number; zero padding keeps the size of the image."""

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"is an odd number, so that kernels have a middle; got {value}")
        return value
