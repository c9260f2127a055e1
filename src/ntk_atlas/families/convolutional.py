"""Convolutional networks: blocks of convolutions with average pooling between them, and a dense readout."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from ntk_atlas.config.base import Settings, Width
from ntk_atlas.families.family import Family, LayerSize

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ntk_atlas.config.network import NetworkSettings
    from ntk_atlas.kernels.infinite.kernels import InfiniteKernels
    from ntk_atlas.networks.convolutional_architecture import ConvolutionalArchitecture
    from ntk_atlas.networks.stacked import StackedNetwork
    from ntk_atlas.phases import Phase


class ConvolutionalSettings(Settings):
    """How `grid.depth` convolutions of `grid.width` channels make a network.

    They are spread over blocks as evenly as can be, the first blocks taking what is left over, and 2 x 2 average
    pooling stands between blocks. Depths 4, 6 and 9 are the Myrtle networks of 5, 7 and 10 layers.
    """

    readout: Literal["flatten", "global_average"] = "global_average"
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


class Convolutional(Family):
    """`depth` convolutions of `width` channels, in units of the blocks' `channels`."""

    title = "convolutional networks"
    summary = "inputs are images (channels, height, width), `grid.depth` convolutions of `grid.width` channels"
    section = ConvolutionalSettings
    sees_images = True
    layer_step = 7e-4

    def layers(
        self, settings: "NetworkSettings", input_shape: tuple[int, ...], depth: int, width: int, n_outputs: int
    ) -> tuple[LayerSize, ...]:
        """See `Family`.

        Raises:
            NetworkShapeError: if samples are no images, or pooling leaves nothing of them.
        """
        from ntk_atlas.networks.convolutional_architecture import checked_fan_ins, image_shape

        architecture, image = self._architecture(settings, depth), image_shape(input_shape)
        fan_ins = checked_fan_ins(architecture, image, width)
        fan_outs = [*(width * factor for factor in architecture.layer_channels), n_outputs]
        sides = architecture.sizes(*image[1:])
        positions = [h * w for (n, _), (h, w) in zip(architecture.blocks, sides, strict=False) for _ in range(n)] + [1]
        return tuple(LayerSize(*sizes) for sizes in zip(fan_ins, fan_outs, positions, strict=True))

    def build(
        self,
        settings: "NetworkSettings",
        *,
        depth: int,
        width: int,
        init_scale: float,
        input_shape: tuple[int, ...],
        n_outputs: int,
        generators: "Sequence[torch.Generator]",
        dtype: "torch.dtype",
        samples: "Tensor | None" = None,
    ) -> "StackedNetwork":
        """See `Family`."""
        from ntk_atlas.networks.convolutional import convolutional

        return convolutional(
            settings,
            self._architecture(settings, depth),
            width=width,
            init_scale=init_scale,
            input_shape=input_shape,
            n_outputs=n_outputs,
            generators=generators,
            dtype=dtype,
        )

    def problems(
        self, settings: "NetworkSettings", input_shape: tuple[int, ...], depths: Sequence[int], width: int
    ) -> Iterator[tuple[str, str]]:
        """See `Family`."""
        from ntk_atlas.networks.convolutional_architecture import checked_fan_ins, image_shape

        key = "network.architecture"
        try:
            shape = image_shape(input_shape)
            for depth in depths:
                key = "grid.depth"
                architecture = self._architecture(settings, depth)
                key = "network.convolutional.blocks"
                checked_fan_ins(architecture, shape, width)
        except ValueError as error:
            yield key, str(error)

    def infinite_kernels(
        self,
        x1: "Tensor",
        x2: "Tensor | None" = None,
        *,
        depths: Sequence[int],
        settings: "NetworkSettings",
        init_scale: float,
        width: int | None = None,
    ) -> "InfiniteKernels":
        """See `Family`; one sweep per depth."""
        import torch

        from ntk_atlas.kernels.infinite.convolutional import infinite_convolutional_kernels
        from ntk_atlas.kernels.infinite.kernels import InfiniteKernels

        kernels = [
            infinite_convolutional_kernels(
                x1,
                x2,
                architecture=self._fitting(settings, depth, tuple(x1.shape[1:])),
                settings=settings,
                init_scale=init_scale,
                width=width,
            )
            for depth in depths
        ]
        return InfiniteKernels(
            torch.cat([k.nngp for k in kernels]),
            torch.cat([k.ntk for k in kernels]),
            torch.cat([k.error_bound for k in kernels], dim=1),
        )

    def output_variance(self, x: "Tensor", *, depth: int, settings: "NetworkSettings", init_scale: float) -> "Tensor":
        """See `Family`."""
        from ntk_atlas.kernels.infinite.convolutional import convolutional_output_variance

        architecture = self._fitting(settings, depth, tuple(x.shape[1:]))
        return convolutional_output_variance(x, architecture=architecture, settings=settings, init_scale=init_scale)

    def infinite_cost(
        self,
        n_train: int,
        n_rest: int,
        *,
        input_shape: tuple[int, ...],
        depths: Sequence[int],
        settings: "NetworkSettings",
    ) -> float:
        """See `Family`; good to a factor of about two.

        Raises:
            KernelInputError: if the images cannot be those of the network.
        """
        from ntk_atlas.kernels.infinite.convolutional import estimate_convolutional_cost
        from ntk_atlas.networks.convolutional_architecture import image_shape

        return sum(
            estimate_convolutional_cost(
                n1, n2, image_shape=image_shape(input_shape), settings=settings,
                architecture=self._fitting(settings, depth, input_shape),
            ).seconds
            for depth in depths
            for n1, n2 in ((n_train, None), (n_rest, n_train))
        )  # fmt: skip

    def kernel_sweeps(self, depths: Sequence[int]) -> Sequence[int]:
        """See `Family`: each depth has a network of its own."""
        return depths

    def kernel_pairs(self, settings: "NetworkSettings", layer: LayerSize) -> int:
        """See `Family`; pooling asks for all pairs of pixels."""
        return layer.positions ** (2 if self.settings_in(settings).readout == "global_average" else 1)

    def phase(self, settings: "NetworkSettings", init_scale: float) -> "Phase":
        """See `Family`: that of a fully connected network, whose variance recursion pixels share."""
        from ntk_atlas.phases import phase_at

        return phase_at(settings.activation, init_scale, settings.bias_variance)

    def settings_in(self, settings: "NetworkSettings") -> ConvolutionalSettings:
        """The section `network.convolutional`."""
        found = getattr(settings, self.name, None)
        return found if isinstance(found, ConvolutionalSettings) else ConvolutionalSettings()

    def _architecture(self, settings: "NetworkSettings", depth: int) -> "ConvolutionalArchitecture":
        from ntk_atlas.networks.convolutional_architecture import ConvolutionalArchitecture

        return ConvolutionalArchitecture.of_depth(self.settings_in(settings), depth)

    def _fitting(self, settings: "NetworkSettings", depth: int, shape: tuple[int, ...]) -> "ConvolutionalArchitecture":
        """The architecture of a depth.

        Raises:
            KernelInputError: if inputs of that shape are none that it takes.
        """
        from ntk_atlas.kernels.errors import KernelInputError
        from ntk_atlas.networks.convolutional_architecture import checked_fan_ins, image_shape

        try:
            architecture = self._architecture(settings, depth)
            checked_fan_ins(architecture, image_shape(shape), 1)
        except ValueError as error:
            raise KernelInputError(str(error)) from error
        return architecture


convolutional = Convolutional()
