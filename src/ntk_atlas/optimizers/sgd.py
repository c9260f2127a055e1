"""Gradient descent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ntk_atlas.optimizers import Linearization, Optimizer

if TYPE_CHECKING:
    import torch


class GradientDescent(Optimizer):
    """θ ← θ − η g; a linear model contracts by I − ηΘ/n, so that the limit of η λ_max/n is 2."""

    name, label = "sgd", "gradient descent"

    def stability_limit(self, momentum: float) -> float:
        """See `Optimizer.stability_limit`."""
        return 2.0

    def linearization(self) -> Linearization:
        """See `Optimizer.linearization`."""
        return "gradient_descent"

    def make(self, groups: Sequence[dict[str, Any]], *, momentum: float, fused: bool) -> "torch.optim.Optimizer":
        """See `Optimizer.make`."""
        from torch.optim import SGD

        return SGD(groups, fused=fused)


sgd = GradientDescent()
