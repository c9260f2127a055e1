"""Leaky ReLU: φ(u) = 0.01 u below 0, torch's default."""

from ntk_atlas.activations import Activation
from ntk_atlas.activations.relu import Homogeneous


class LeakyRelu(Homogeneous):
    """φ(u) = max(u, 0) + s · min(u, 0)."""

    def of_torch(self, function: object) -> Activation | None:
        """Returns the one of the same slope for torch's function and module; the identity is the one of slope 1."""
        from torch import nn

        if isinstance(function, nn.LeakyReLU):
            return LeakyRelu(function.negative_slope, repr(function))
        if isinstance(function, nn.Identity):
            return LeakyRelu(1.0, "identity")
        return self if function is nn.functional.leaky_relu else None


leaky_relu = LeakyRelu(0.01)
