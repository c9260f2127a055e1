r"""Dual activations of single pairs by a product rule, for pairs where a Hermite series is too long.

With z₁, z₂ ~ N(0, 1) and σ = √(1 − ρ²),  T = E[φ(√a z₁) φ(√b (ρ z₁ + σ z₂))],  Ṫ likewise with φ'. Near |ρ| = 1,
where the series converges slowest, the inner integral needs few nodes.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ntk_atlas.kernels.infinite.elementwise import ElementwiseFunction, Grid

_FEWEST_INNER = 96
_CHUNK = 2**18


class PairMoments(NamedTuple):
    """T and Ṫ of pairs, `(n,)`, and the largest change of each with a third of the nodes."""

    moment: Tensor
    slope: Tensor
    moment_error: float
    slope_error: float


def inner_nodes(rho: Tensor, n_nodes: int) -> int:
    """Returns how many inner nodes resolve what `n_nodes` outer nodes do, for the smallest |ρ|."""
    sigma = math.sqrt(max(0.0, 1.0 - float(rho.abs().min()) ** 2))
    return _FEWEST_INNER * math.ceil(max(1.0, sigma * n_nodes / _FEWEST_INNER))


def conditional_moments(phi: ElementwiseFunction, a: Tensor, b: Tensor, rho: Tensor, n_nodes: int) -> PairMoments:
    """T and Ṫ of pairs one by one.

    Args:
        phi: the activation.
        a: variances of the first sample, `(n,)`, float64.
        b: variances of the second sample.
        rho: correlations.
        n_nodes: nodes of the outer rule on [−12, 12].

    Returns:
        The moments.
    """
    outer, inner = Grid.of(n_nodes, rho.device), Grid.of(inner_nodes(rho, n_nodes), rho.device)
    moments, slopes = [], []
    for pair in range(len(rho)):
        spread = torch.sqrt(b[pair] * (1.0 - rho[pair] ** 2).clamp(min=0.0)) * inner.z
        centre = torch.sqrt(b[pair]) * rho[pair] * outer.z
        smoothed = []
        for block in centre.split(max(1, _CHUNK // len(inner.z))):
            values, derivatives = phi.values_and_slopes(block[:, None] + spread)
            smoothed.append(torch.stack([_full_and_third(v, inner.weight) for v in (values, derivatives)]))
        smoothed = torch.cat(smoothed, dim=2)  # (φ or φ', inner rule on all or a third of the nodes, outer node)
        values = torch.stack(phi.values_and_slopes(torch.sqrt(a[pair]) * outer.z))
        full = _full_and_third(smoothed * values[:, None], outer.weight)  # (outer, φ or φ', inner)
        moments.append(torch.stack([full[0, 0, 0], full[0, 0, 1], full[1, 0, 0]]))
        slopes.append(torch.stack([full[0, 1, 0], full[0, 1, 1], full[1, 1, 0]]))
    moments, slopes = torch.stack(moments), torch.stack(slopes)
    return PairMoments(moments[:, 0], slopes[:, 0], _change(moments), _change(slopes))


def _full_and_third(values: Tensor, weight: Tensor) -> Tensor:
    # The rule over the last axis, and the rule on every third node, a midpoint rule again.
    return torch.stack([values @ weight, 3.0 * (values[..., 1::3] @ weight[1::3])])


def _change(rules: Tensor) -> float:
    return float((rules[:, 1:] - rules[:, :1]).abs().sum(1).max())
