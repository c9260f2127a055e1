"""The networks of a cell: the built-in families or the user's own, behind one function."""

from collections.abc import Sequence

import torch
from torch import nn

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.networks.fully_connected import fully_connected
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.streams import global_streams


def build_networks(
    settings: NetworkSettings,
    *,
    depth: int,
    width: int,
    init_scale: float,
    input_shape: Sequence[int],
    n_outputs: int,
    generators: Sequence[torch.Generator],
    dtype: torch.dtype = torch.float32,
) -> StackedNetwork:
    """Draws one network a generator.

    Args:
        settings: the family: fully connected, convolutional, or a factory of the user's own.
        depth: hidden layers (convolutions).
        width: units (or channels) of each hidden layer.
        init_scale: σ_w².
        input_shape: shape of one sample.
        n_outputs: number of outputs.
        generators: the random streams of the members, each at its start.
        dtype: precision of the parameters.

    Returns:
        The stack, one member a generator.

    Raises:
        NetworkShapeError: if the architecture does not fit the shape of a sample.
        FactoryError: if the user's factory cannot be used.
    """
    shape = tuple(int(size) for size in input_shape)
    sizes = {"depth": depth, "width": width, "init_scale": init_scale, "n_outputs": n_outputs}
    if settings.factory is None:
        build = fully_connected
        if settings.architecture == "convolutional":
            from ntk_atlas.networks.convolutional import convolutional as build
        return build(settings, **sizes, input_shape=shape, generators=generators, dtype=dtype)
    from ntk_atlas.networks.user import FactoryError, StackedModules, load_factory

    factory, name = load_factory(settings.factory), f"network factory {settings.factory!r}"

    def build_member(generator: torch.Generator) -> nn.Module:
        # A factory that ignores `generator` still gives the same network every time.
        with global_streams(generator.initial_seed()):
            return factory(**sizes, input_shape=shape, generator=generator).to(dtype)

    again = [torch.Generator().manual_seed(generator.initial_seed()) for generator in generators[:1]]
    modules = [build_member(generator) for generator in generators]
    if any(not _equal(build_member(generator), modules[0]) for generator in again):
        raise FactoryError(
            f"{name} gives another network each time for the same `generator`: draw from `generator`, or from the "
            "global streams of torch, NumPy or Python, which start anew for each network"
        )
    return StackedModules(modules, shape, n_outputs, settings.output_scale, name=name)


def _equal(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(
        a[k].shape == b[k].shape and bool(((a[k] == b[k]) | ((a[k] != a[k]) & (b[k] != b[k]))).all())  # NaN is NaN
        for k in a
        if isinstance(a[k], torch.Tensor)
    )
