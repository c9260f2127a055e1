"""Activations by name, or of the user's own, as elementwise modules."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ntk_atlas.activations.user_file import load_activation
from ntk_atlas.config.network import LEAKY_RELU_SLOPE, is_own_activation


class Erf(nn.Module):
    """φ(z) = erf(z)."""

    def forward(self, z: Tensor) -> Tensor:
        """Returns erf of every entry of z."""
        return torch.erf(z)


class OwnActivation(nn.Module):
    """φ of the user's own, a function of a tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, z: Tensor) -> Tensor:
        """Returns φ of every entry of z."""
        return self.function(z)


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
    """Returns a new module of the activation called `name` (see `config.network`), or loaded from `my_phi.py:phi`.

    Raises:
        KeyError: if there is no activation of that name.
        ActivationError: if the file has no such activation.
    """
    return OwnActivation(load_activation(name)) if is_own_activation(name) else _ACTIVATIONS[name]()
