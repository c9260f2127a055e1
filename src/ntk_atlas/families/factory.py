"""Networks of the user's own: any module that `network.factory`, a function in a file, draws."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ntk_atlas.families.family import Family, FamilyError, LayerSize

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ntk_atlas.config.network import NetworkSettings
    from ntk_atlas.networks.notices import NetworkNotices
    from ntk_atlas.networks.stacked import StackedNetwork


class Factory(Family):
    """Modules as they are: nothing is known of them but what they compute."""

    title = "a network of your own"
    summary = "a network of your own, which `factory` names and by which it is chosen"
    keys = frozenset({"factory", "initial_state", "trainable", "output_scale"})
    measured = True

    def layers(
        self, settings: "NetworkSettings", input_shape: tuple[int, ...], depth: int, width: int, n_outputs: int
    ) -> tuple[LayerSize, ...]:
        """See `Family`.

        Raises:
            FamilyError: always, for a module tells its size when it is built.
        """
        raise FamilyError("the layers of a network of your own are not known before it is built")

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
        from ntk_atlas.networks.factories import factory_networks

        sizes = {"depth": depth, "width": width, "init_scale": init_scale, "n_outputs": n_outputs}
        return factory_networks(settings, sizes, input_shape, generators, dtype, samples)

    def problems(
        self, settings: "NetworkSettings", input_shape: tuple[int, ...], depths: Sequence[int], width: int
    ) -> Iterator[tuple[str, str]]:
        """See `Family`: whether a module takes samples is found by a trial."""
        return iter(())

    def notices(
        self, settings: "NetworkSettings", grid: Mapping[str, Sequence[float]], samples: "Tensor", n_outputs: int
    ) -> "NetworkNotices":
        """See `Family`: what is off in evaluation mode, and keys of the grid that the factory ignores."""
        from ntk_atlas.networks.notices import network_notices

        return network_notices(settings, grid, samples, n_outputs)

    def without_infinite_kernel(self) -> str:
        """See `Family`."""
        return "the infinite-width limit of a network of your own is not known"

    def without_dispersion(self) -> str:
        """See `Family`."""
        return "a network of your own has no layers whose weights could be drawn here"


factory = Factory()
