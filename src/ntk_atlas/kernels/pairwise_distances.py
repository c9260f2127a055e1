"""Distances between samples, in float64, and their median, the unit of length scales."""

import torch
from torch import Tensor

from ntk_atlas.numerics import Given, real_tensor

# Below this share of ‖x‖² + ‖x'‖² a squared distance from the expanded square has lost too many digits.
_CANCELLED = 1e-6
_LARGEST = 1e100


def checked_samples(x1: Given, x2: Given | None = None) -> tuple[Tensor, Tensor]:
    """Two sets of samples in float64, flattened; the same tensor twice if `x2` is None.

    Raises:
        ValueError: they are no real numbers, not finite, so large that their squares overflow, or of two shapes.
    """
    flat = []
    for name, x in (("x1", x1), ("x2", x1 if x2 is None else x2)):
        x = real_tensor(x, name)
        if x.dim() < 2:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, expected (n, *shape): one sample is x[None]")
        flat.append(x.to(torch.float64).flatten(1))
        if x.numel() and not float(flat[-1].abs().max()) < _LARGEST:
            raise ValueError(
                f"{name} has entries that are NaN, infinite, or beyond {_LARGEST:.0e}: clean or scale the inputs"
            )
        if x2 is None:
            return flat[0], flat[0]
    if flat[0].shape[1] != flat[1].shape[1]:
        raise ValueError(f"a sample of x1 has {flat[0].shape[1]} numbers, of x2 {flat[1].shape[1]}: they must match")
    return flat[0], flat[1]


def distances(x1: Given, x2: Given | None = None) -> Tensor:
    """Euclidean distances, accurate for near and equal samples too.

    Args:
        x1: inputs `(n1, *shape)`.
        x2: inputs `(n2, *shape)`; None stands for `x1`.

    Returns:
        `(n1, n2)`, float64; symmetric with a diagonal of exact zeros if `x2` is None.

    Raises:
        ValueError: see `checked_samples`.
    """
    a, b = checked_samples(x1, x2)
    centre = a.mean(0)
    a, b = a - centre, b - centre
    scale = (a**2).sum(1)[:, None] + (b**2).sum(1)
    squared = torch.addmm(scale, a, b.T, alpha=-2.0)
    i, j = (squared < _CANCELLED * scale).nonzero(as_tuple=True)
    for pairs in torch.arange(len(i), device=a.device).split(2**16):
        squared[i[pairs], j[pairs]] = ((a[i[pairs]] - b[j[pairs]]) ** 2).sum(1)
    distance = squared.clamp_(min=0.0).sqrt_()
    return distance if x2 is not None else distance.triu(1) + distance.triu(1).T


def median_distance(x: Tensor) -> float:
    """Median distance between two different samples, the usual unit of length scales.

    Where that is 0, since most pairs are equal samples, as of sparse, one-hot or binary inputs, it is the median of
    the distances that are not 0.

    Args:
        x: inputs `(n, *shape)`.

    Returns:
        The (lower) median over pairs; 0 if all samples are equal.

    Raises:
        ValueError: if there are fewer than two samples.
    """
    x = real_tensor(x, "x")
    if len(x) < 2:
        raise ValueError(f"a median distance needs at least two samples, got {len(x)}")
    i, j = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    pairs = distances(x)[i, j]
    median = float(pairs.median())
    return median if median != 0.0 or not bool((pairs > 0).any()) else float(pairs[pairs > 0].median())
