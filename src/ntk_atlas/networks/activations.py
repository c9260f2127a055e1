"""Activations by name, as elementwise modules."""

import torch
from torch import Tensor, nn


class Erf(nn.Module):
    """φ(z) = erf(z)."""

    def forward(self, z: Tensor) -> Tensor:
        """Returns erf of every entry of z."""
        return torch.erf(z)


_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "erf": Erf,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}


def activation(name: str) -> nn.Module:
    """Returns a new module of the activation called `name` (see `config.network.Activation`).

    Raises:
        KeyError: if there is no activation of that name.
    """
    return _ACTIVATIONS[name]()
