"""φ(u) = u/(1 + e^(−u)).

Its moments are q/2 − E[t² S] and ½ + E[t² S² − S + 2 t S tanh t]/4, with t = √q z / 2 and S = sech² t.
"""

from typing import TYPE_CHECKING

import numpy as np

from ntk_atlas.activations import Activation, Moments, short_range_mean
from ntk_atlas.activations.tanh import sech2

if TYPE_CHECKING:
    from torch import Tensor


def _slope_part(t: "Tensor") -> "Tensor":
    s = sech2(t)
    return t**2 * s**2 - s + 2.0 * t * s * t.tanh()


def _logistic(u: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * u))


class Silu(Activation):
    """φ(u) = u/(1 + e^(−u))."""

    kinks, homogeneous = (), None
    moments = Moments(
        lambda q, step: q / 2 - short_range_mean(lambda t: t**2 * sech2(t), q / 4, step),
        lambda q, step: 0.5 + 0.25 * short_range_mean(_slope_part, q / 4, step),
    )

    def phi(self, u: "Tensor") -> "Tensor":
        """Returns φ of every entry of u."""
        from torch.nn import functional as F

        return F.silu(u)

    def on_array(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns φ(u) and φ'(u)."""
        value = _logistic(u)
        return u * value, value * (1.0 + u * _logistic(-u))

    def of_torch(self, function: object) -> Activation | None:
        """Returns itself for torch's function and module."""
        from torch import nn

        return self if isinstance(function, nn.SiLU) or function is nn.functional.silu else None


silu = Silu()
