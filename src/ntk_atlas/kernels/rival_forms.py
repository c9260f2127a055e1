"""What rivals are functions of: distances, or inner products, of samples over a length scale.

torch is imported where a kernel is evaluated: figures ask for labels and looks only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ntk_atlas.kernels.rivals import Rival

if TYPE_CHECKING:
    from torch import Tensor

    from ntk_atlas.numerics import Given

_LARGEST = 1e100
"""Where a polynomial would overflow, its product with the exponential, 0, is not NaN."""


class StationaryKernel(Rival):
    """k = f(‖x − x'‖/ℓ) with f(0) = 1; `function` is f, of a tensor."""

    def pairs(self, x1: "Given", x2: "Given | None" = None) -> Callable[..., "Tensor"]:
        """See `Rival`."""
        from ntk_atlas.kernels.pairwise_distances import distances

        between = distances(x1, x2)
        return lambda length_scale, n=None: self.of_distance(between[:n, :n] if n else between, length_scale)

    def of_distance(self, distance: "Given", length_scale: float) -> "Tensor":
        """f(r/ℓ) of distances r of any shape.

        Raises:
            ValueError: if ℓ is no positive number, or a distance none.
        """
        from ntk_atlas.numerics import real_tensor

        length_scale = _checked(length_scale)
        return self.function((real_tensor(distance, "distance") / length_scale).clamp_(max=_LARGEST))


@dataclass(frozen=True)
class InnerProducts:
    """Inner products of samples seen as (x/ℓ, 1), for a kernel that is a function of them.

    Attributes:
        products: s = 1 + x·x'/ℓ², `(n1, n2)`.
        squares: of the norms, 1 + ‖x‖²/ℓ² of both sets of samples.
        symmetric: whether both sets are the same.
    """

    products: "Tensor"
    squares: tuple["Tensor", "Tensor"]
    symmetric: bool

    @cached_property
    def norms(self) -> "Tensor":
        """Products of norms, `(n1, n2)`."""
        left, right = self.squares
        return (left[:, None] * right[None, :]).sqrt()

    @cached_property
    def cosines(self) -> "Tensor":
        """Cosines of angles; 1 of a sample with itself, of whose rounding arccos would make an angle of 1e-8."""
        cosines = (self.products / self.norms).clamp(-1.0, 1.0)
        return cosines.fill_diagonal_(1.0) if self.symmetric else cosines


class InnerProductKernel(Rival):
    """k = f(s, angle) of samples seen as (x/ℓ, 1); `function` is f, of `InnerProducts`."""

    def pairs(self, x1: "Given", x2: "Given | None" = None) -> Callable[..., "Tensor"]:
        """See `Rival`."""
        from ntk_atlas.kernels.pairwise_distances import checked_samples

        a, b = checked_samples(x1, x2)
        products, squares = a @ b.T, ((a**2).sum(1), (b**2).sum(1))

        def at(length_scale: float, n: int | None = None) -> "Tensor":
            scale = _checked(length_scale)
            left, right = (1.0 + norms[:n] / scale**2 for norms in squares)
            inner = 1.0 + (products[:n, :n] if n else products) / scale**2
            return self.function(InnerProducts(inner, (left, right), x2 is None))

        return at


def _checked(length_scale: float) -> float:
    from ntk_atlas.numerics import real_number

    if not 0 < real_number(length_scale, "the length scale") < math.inf:
        raise ValueError(f"the length scale must be positive and finite, got {length_scale}")
    return length_scale
