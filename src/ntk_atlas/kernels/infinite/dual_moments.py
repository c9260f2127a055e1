r"""Moments E[φ(√q z)²] and E[φ'(√q z)²], z ~ N(0, 1), of tanh, sigmoid and SiLU to rounding, at any q.

Each is written as a constant or a power of q plus the mean of a function of t = √q z (or √q z / 2) that decays
on both sides within a few units: with S = sech² t,

    tanh:     1 − E[S],               E[S²]                                   t = √q z
    sigmoid:  ½ − E[S] / 4,           E[S²] / 16                              t = √q z / 2
    SiLU:     q/2 − E[t² S],          ½ + E[t² S² − S + 2 t S tanh t] / 4     t = √q z / 2

The trapezoidal rule converges geometrically on such means: in t where that function is the narrower factor, in z
where the Gaussian is.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

STEP = 0.1
_REACH = 22.0


class Moments(NamedTuple):
    """E[φ²] and E[φ'²] as functions of (q, step)."""

    second: Callable[[Tensor, float], Tensor]
    slope: Callable[[Tensor, float], Tensor]


def short_range_mean(function: Callable[[Tensor], Tensor], q: Tensor, step: float = STEP) -> Tensor:
    """E[g(√q z)] of a g that is analytic near the real line and vanishes outside |t| < 22.

    Args:
        function: g, elementwise.
        q: variances, any shape, float64.
        step: of the trapezoidal rule, in t for q > 1 and in z below.

    Returns:
        The means, the shape of `q`.
    """
    node = torch.arange(-_REACH, _REACH + step / 2, step, dtype=q.dtype, device=q.device)
    means = []
    for block in q.sqrt().flatten().split(512):
        narrow, wide = block.clamp(max=1.0)[:, None], block.clamp(min=1.0)[:, None]
        # g(t) n(t/√q) dt/√q with t = min(√q, 1)·node and dt/√q = step / max(√q, 1).
        weight = torch.exp(-0.5 * (node / wide) ** 2) * (step / math.sqrt(2 * math.pi)) / wide
        means.append((weight * function(narrow * node)).sum(1))
    return torch.cat(means).reshape(q.shape)


def _sech2(t: Tensor) -> Tensor:
    return 1.0 / torch.cosh(t) ** 2


def _tanh_second(q: Tensor, step: float) -> Tensor:
    # Below q = 1 the difference from 1 would cancel, and tanh² ends within the Gaussian's reach.
    small = short_range_mean(lambda t: torch.tanh(t) ** 2, q.clamp(max=1.0), step)
    return torch.where(q <= 1.0, small, 1.0 - short_range_mean(_sech2, q, step))


def _tanh_slope(q: Tensor, step: float) -> Tensor:
    return short_range_mean(lambda t: _sech2(t) ** 2, q, step)


def _silu_slope_part(t: Tensor) -> Tensor:
    s = _sech2(t)
    return t**2 * s**2 - s + 2.0 * t * s * torch.tanh(t)


TANH = Moments(_tanh_second, _tanh_slope)
SIGMOID = Moments(
    lambda q, step: 0.25 * (1.0 + _tanh_second(q / 4, step)),
    lambda q, step: _tanh_slope(q / 4, step) / 16,
)
SILU = Moments(
    lambda q, step: q / 2 - short_range_mean(lambda t: t**2 * _sech2(t), q / 4, step),
    lambda q, step: 0.5 + 0.25 * short_range_mean(_silu_slope_part, q / 4, step),
)
