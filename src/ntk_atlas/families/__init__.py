"""Families of networks by name: how they are built, and what is known of them.

A new family is one file in this folder, or a file of the user's (`docs/extending.md`). A run is planned with the same
objects that networks are built by: they import torch only where they compute.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ntk_atlas.families.family import Family, FamilyError, LayerSize, dense_layers
from ntk_atlas.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ntk_atlas.config.network import NetworkSettings
    from ntk_atlas.networks.stacked import StackedNetwork

__all__ = [
    "FAMILIES",
    "Family",
    "FamilyError",
    "LayerSize",
    "build_networks",
    "dense_layers",
]


def _adopted(found: object, name: str) -> Family:
    if not isinstance(found, Family):
        raise FamilyError(f"family {name!r} is {type(found).__name__}: name an instance of Family")
    if found.section is not None:
        raise FamilyError(
            f"family {name!r} has a section of the config, which only a built-in one can have: give its choices to "
            "its instance, or save the file in families/"
        )
    return found


FAMILIES = Registry("ntk_atlas.families", Family, "family", error=FamilyError, adopt=_adopted)
"""The room."""


def build_networks(
    settings: "NetworkSettings",
    *,
    depth: int,
    width: int,
    init_scale: float,
    input_shape: Sequence[int],
    n_outputs: int,
    generators: "Sequence[torch.Generator]",
    dtype: "torch.dtype | None" = None,
    samples: "Tensor | None" = None,
) -> "StackedNetwork":
    """Draws one network per generator.

    Args:
        settings: the network, of any family.
        depth: hidden layers (convolutions).
        width: units (or channels) of each hidden layer.
        init_scale: σ_w².
        input_shape: shape of one sample.
        n_outputs: number of outputs.
        generators: the random streams of the members, each at its start.
        dtype: precision of the parameters; None for float32.
        samples: two or more inputs that the networks are made for, `(n, *input_shape)`, on which a user's networks are
            tried; None tries made-up numbers.

    Returns:
        The stack, one member per generator.

    Raises:
        NetworkShapeError: if the architecture does not fit the shape of a sample.
        FactoryError: if the user's factory cannot be used.
        FamilyError: if the networks have other parameters than the family says.
    """
    import torch

    family, shape = settings.family, tuple(int(size) for size in input_shape)
    stack = family.build(
        settings,
        depth=depth,
        width=width,
        init_scale=init_scale,
        input_shape=shape,
        n_outputs=n_outputs,
        generators=generators,
        dtype=torch.float32 if dtype is None else dtype,
        samples=samples,
    )
    if not family.measured:
        said = sum(layer.parameters for layer in family.layers(settings, shape, depth, width, n_outputs))
        there = sum(p[0].numel() for p in stack.parameters())
        if said != there:
            raise FamilyError(
                f"networks of {family.name} have {there:,} weights and biases at depth {depth}, width {width}, and "
                f"its `layers` say {said:,}"
            )
    return stack
