"""Adam (Kingma & Ba 2015)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ntk_atlas.optimizers import Optimizer

if TYPE_CHECKING:
    import torch


class Adam(Optimizer):
    """θ ← θ − η m/(√v + ε) with running means m of g and v of g², at β = (0.9, 0.999)."""

    name, label = "adam", "Adam"

    def stability_limit(self, momentum: float) -> None:
        """None: a step has the size of η whatever the gradient's is."""

    def linearization(self) -> None:
        """None: the step is not linear in the gradient."""

    def make(self, groups: Sequence[dict[str, Any]], *, momentum: float, fused: bool) -> "torch.optim.Optimizer":
        """See `Optimizer.make`."""
        from torch import optim

        return optim.Adam(groups, fused=fused)


adam = Adam()
