"""φ = tanh, with moments to rounding: 1 − E[S] and E[S²] of t = √q z, S = sech² t."""

from typing import TYPE_CHECKING

import numpy as np

from ntk_atlas.activations import Activation, Moments, short_range_mean

if TYPE_CHECKING:
    from torch import Tensor


def on_array(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and slopes of tanh."""
    # 1 − tanh² would cancel where it is small.
    value, decay = np.tanh(u), np.exp(-2.0 * np.abs(u))
    return value, 4.0 * decay / (1.0 + decay) ** 2


def sech2(t: "Tensor") -> "Tensor":
    """1/cosh² of every entry."""
    return 1.0 / t.cosh() ** 2


def second(q: "Tensor", step: float) -> "Tensor":
    """E[tanh²(√q z)]."""
    # Below q = 1 the difference from 1 would cancel, and tanh² ends within the Gaussian's reach.
    small = short_range_mean(lambda t: t.tanh() ** 2, q.clamp(max=1.0), step)
    return small.where(q <= 1.0, 1.0 - short_range_mean(sech2, q, step))


def slope(q: "Tensor", step: float) -> "Tensor":
    """E[tanh'²(√q z)]."""
    return short_range_mean(lambda t: sech2(t) ** 2, q, step)


class Tanh(Activation):
    """φ(u) = tanh(u)."""

    kinks, homogeneous = (), None
    moments = Moments(second, slope)

    def phi(self, u: "Tensor") -> "Tensor":
        """Returns φ of every entry of u."""
        return u.tanh()

    def on_array(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns φ(u) and φ'(u)."""
        return on_array(u)

    def of_torch(self, function: object) -> Activation | None:
        """Returns itself for torch's functions and module."""
        import torch
        from torch import nn

        same = isinstance(function, nn.Tanh) or function in (torch.tanh, nn.functional.tanh)
        return self if same else None


tanh = Tanh()
