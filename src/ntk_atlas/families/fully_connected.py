"""Fully connected networks: x^l = φ(z^l), z^l = W^l x^{l−1} + b^l, with `depth` hidden layers and a linear output."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ntk_atlas.families.family import Family, LayerSize, dense_layers

if TYPE_CHECKING:
    from torch import Tensor

    from ntk_atlas.config.network import NetworkSettings
    from ntk_atlas.kernels.infinite.kernels import InfiniteKernels
    from ntk_atlas.phases import Phase


class FullyConnected(Family):
    """Layers one after another; depth 0 is a linear model."""

    title = "fully connected networks"
    summary = "inputs are flattened, `grid.depth` hidden layers of `grid.width` units"

    def of(self, settings: "NetworkSettings") -> "NetworkSettings":
        """The fully connected network of the same activation, parameterization and scales."""
        return settings.of_family(self.name)

    def layers(
        self, settings: "NetworkSettings", input_shape: tuple[int, ...], depth: int, width: int, n_outputs: int
    ) -> tuple[LayerSize, ...]:
        """See `Family`."""
        return dense_layers(input_shape, depth, width, n_outputs)

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
        """See `Family`; all depths in one sweep."""
        from ntk_atlas.kernels.infinite.kernels import infinite_kernels

        return infinite_kernels(x1, x2, depths=depths, settings=settings, init_scale=init_scale, width=width)

    def output_variance(self, x: "Tensor", *, depth: int, settings: "NetworkSettings", init_scale: float) -> "Tensor":
        """See `Family`."""
        from ntk_atlas.kernels.infinite.kernels import output_variance
        from ntk_atlas.kernels.infinite.recursion import check_infinite_limit

        check_infinite_limit(settings, 1)
        return output_variance(x, depth=depth, settings=settings, init_scale=init_scale)

    def phase(self, settings: "NetworkSettings", init_scale: float) -> "Phase":
        """See `Family`."""
        from ntk_atlas.phases import phase_at

        return phase_at(settings.activation, init_scale, settings.bias_variance)

    def without_dispersion(self) -> str:
        """See `Family`: layers are drawn as they are here."""
        return ""

    def without_variants(self) -> str:
        """See `Family`: the variants are of these networks."""
        return ""


fully_connected = FullyConnected()
