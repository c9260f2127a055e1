"""Kernels that know nothing of networks: the rivals of the NTK, each with one length scale to tune.

Stationary ones are functions of the distance (`kernels.stationary`). Those of inner products, here, see a sample as
(x/ℓ, 1): with s = 1 + x·x'/ℓ², the inner product of two such samples, and θ the angle between them,

    linear: s;  polynomial: s³;  arc_cosine_n: (‖·‖‖·‖')ⁿ J_n(θ)/π  (Cho & Saul 2009, eq. 4–6),
    J_0 = π − θ,  J_1 = sin θ + (π − θ) cos θ,  J_2 = 3 sin θ cos θ + (π − θ)(1 + 2 cos² θ).

An arc-cosine kernel of order n is, up to a factor, the NNGP of one layer of (max(u, 0))ⁿ. The formulas are those of
scikit-learn where it has the kernel, which a test holds them to: importing it costs a job two seconds, and its kernels
know neither torch nor devices.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ntk_atlas.kernels.stationary import STATIONARY_KERNELS, checked_samples, distances, stationary_kernel
from ntk_atlas.tensors import real_number

DOT_PRODUCT_KERNELS = ("arc_cosine_0", "arc_cosine_1", "arc_cosine_2", "polynomial", "linear")
RIVALS = (*STATIONARY_KERNELS, *DOT_PRODUCT_KERNELS)
"""All rivals."""
_DEGREE = 3


@dataclass(frozen=True)
class PairGeometry:
    """What a rival is a function of, for n1 × n2 pairs of samples; computed once for all length scales.

    Attributes:
        values: distances or inner products, `(n1, n2)`, float64.
        squares: squared norms of both sets of samples, for kernels of inner products; None for stationary ones.
        symmetric: whether both sets are the same.
    """

    values: Tensor
    squares: tuple[Tensor, Tensor] | None
    symmetric: bool

    def leading(self, n: int) -> "PairGeometry":
        """The pairs of the first n samples, of a symmetric geometry."""
        squares = None if self.squares is None else (self.squares[0][:n], self.squares[1][:n])
        return replace(self, values=self.values[:n, :n], squares=squares)


def pair_geometry(name: str, x1: Tensor, x2: Tensor | None = None) -> PairGeometry:
    """What the kernel of that name needs to know of its inputs.

    Args:
        name: one of `RIVALS`.
        x1: inputs `(n1, *shape)`.
        x2: inputs `(n2, *shape)`; None stands for `x1`.

    Returns:
        The geometry.

    Raises:
        ValueError: if there is no kernel of that name, or as `stationary.checked_samples`.
    """
    if name in STATIONARY_KERNELS:
        return PairGeometry(distances(x1, x2), None, x2 is None)
    if name not in DOT_PRODUCT_KERNELS:
        raise ValueError(f"unknown kernel {name!r}: choose one of {', '.join(RIVALS)}")
    a, b = checked_samples(x1, x2)
    return PairGeometry(a @ b.T, ((a**2).sum(1), (b**2).sum(1)), x2 is None)


def rival_kernel(name: str, geometry: PairGeometry, length_scale: float) -> Tensor:
    """The kernel at one length scale.

    Args:
        name: one of `RIVALS`, that the geometry was made for.
        geometry: from `pair_geometry`.
        length_scale: ℓ.

    Returns:
        `(n1, n2)`, float64.

    Raises:
        ValueError: if the length scale is not positive.
    """
    if name in STATIONARY_KERNELS:
        return stationary_kernel(name, geometry.values, length_scale)
    if not 0 < real_number(length_scale, "the length scale") < math.inf:
        raise ValueError(f"the length scale must be positive and finite, got {length_scale}")
    product = 1.0 + geometry.values / length_scale**2
    if name == "linear":
        return product
    if name == "polynomial":
        return product**_DEGREE
    left, right = (1.0 + squares / length_scale**2 for squares in geometry.squares)
    norms = (left[:, None] * right[None, :]).sqrt()
    return norms ** int(name[-1]) * _angular(int(name[-1]), product, norms, geometry.symmetric) / math.pi


def _angular(order: int, product: Tensor, norms: Tensor, symmetric: bool) -> Tensor:
    cosine = (product / norms).clamp(-1.0, 1.0)
    if symmetric:  # a sample's angle with itself is 0 whatever rounding says; arccos would make 1e-8 of it
        cosine.fill_diagonal_(1.0)
    rest, sine = math.pi - torch.arccos(cosine), (1.0 - cosine**2).sqrt()
    match order:
        case 0:
            return rest
        case 1:
            return sine + rest * cosine
        case _:
            return 3.0 * sine * cosine + rest * (1.0 + 2.0 * cosine**2)
