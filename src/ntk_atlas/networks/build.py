"""The networks of a cell: the built-in families or the user's own, behind one function."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.networks.fully_connected import fully_connected
from ntk_atlas.networks.stacked import StackedNetwork


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
    samples: Tensor | None = None,
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
        samples: two or more inputs that the networks are made for, `(n, *input_shape)`, on which a user's networks are
            tried; None tries made-up numbers.

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
    from ntk_atlas.networks.factories import factory_networks

    return factory_networks(settings, sizes, shape, generators, dtype, samples)
