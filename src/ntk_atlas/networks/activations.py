"""Activations by name, as elementwise modules."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ntk_atlas.config.network import LEAKY_RELU_SLOPE


class Erf(nn.Module):
    """φ(z) = erf(z)."""

    def forward(self, z: Tensor) -> Tensor:
        """Returns erf of every entry of z."""
        return torch.erf(z)


_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(LEAKY_RELU_SLOPE),
    "erf": Erf,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def activation(name: str) -> nn.Module:
    """Returns a new module of the activation called `name` (see `config.network.Activation`).

    Raises:
        KeyError: if there is no activation of that name.
    """
    return _ACTIVATIONS[name]()
