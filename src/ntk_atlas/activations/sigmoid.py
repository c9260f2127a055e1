"""φ = the logistic function, ½ + ½ tanh(u/2): its moments are ½ − E[S]/4 and E[S²]/16, S = sech² (√q z / 2)."""

from typing import TYPE_CHECKING

import numpy as np

from ntk_atlas.activations import Activation, Moments
from ntk_atlas.activations import tanh as half

if TYPE_CHECKING:
    from torch import Tensor


class Sigmoid(Activation):
    """φ(u) = 1/(1 + e^(−u))."""

    kinks, homogeneous = (), None
    moments = Moments(
        lambda q, step: 0.25 * (1.0 + half.second(q / 4, step)), lambda q, step: half.slope(q / 4, step) / 16
    )

    def phi(self, u: "Tensor") -> "Tensor":
        """Returns φ of every entry of u."""
        return u.sigmoid()

    def on_array(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns φ(u) and φ'(u)."""
        value, slope = half.on_array(0.5 * u)
        return 0.5 * (1.0 + value), 0.25 * slope

    def of_torch(self, function: object) -> Activation | None:
        """Returns itself for torch's functions and module."""
        import torch
        from torch import nn

        same = isinstance(function, nn.Sigmoid) or function in (torch.sigmoid, nn.functional.sigmoid)
        return self if same else None


sigmoid = Sigmoid()
