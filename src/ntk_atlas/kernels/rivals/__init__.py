"""The rivals of the NTK, one file a kernel: the file's name is the kernel's in a config.

A rival knows nothing of networks: it is a kernel, its length scale, its label and its look in figures. A subclass says
what the kernel is a function of (`kernels.rival_forms`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ntk_atlas.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from ntk_atlas.numerics import Given


class Look(NamedTuple):
    """How figures draw a predictor: its place in a palette of ten colours, its marker, its dash."""

    color: int
    marker: str
    dash: str | tuple[int, tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class Rival(ABC):
    """A kernel k(x, x') with one length scale ℓ; a subclass says what it is a function of.

    Attributes:
        function: the formula.
        label: its name in figures and tables.
        look: None takes a look that no other predictor of the figure has.
    """

    function: Callable[..., "Tensor"]
    label: str
    look: Look | None = None

    has_length_scale = True
    """Whether ℓ is chosen from `regression.length_scales`."""

    @abstractmethod
    def pairs(self, x1: "Given", x2: "Given | None" = None) -> Callable[..., "Tensor"]:
        """The kernel of pairs of samples, what does not depend on ℓ computed once.

        Args:
            x1: inputs `(n1, *shape)`.
            x2: inputs `(n2, *shape)`; None stands for `x1`.

        Returns:
            A function of ℓ, and of n for the leading n × n block of a kernel of one set of samples; it returns
            `(n1, n2)`, float64.

        Raises:
            ValueError: as `pairwise_distances.checked_samples`; the function, if ℓ is not positive.
        """

    def __call__(self, x1: "Given", x2: "Given", length_scale: float) -> "Tensor":
        """K(x1, x2), `(n1, n2)`, at one length scale."""
        return self.pairs(x1, x2)(length_scale)


RIVALS = Registry("ntk_atlas.kernels.rivals", Rival, "rival kernel")
"""The room."""


def rival(name: str) -> Rival:
    """The kernel of that name.

    Raises:
        ValueError: if there is none; the message names those there are.
    """
    return RIVALS.get(name)
