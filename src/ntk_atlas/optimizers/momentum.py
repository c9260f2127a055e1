"""Heavy ball."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ntk_atlas.optimizers import Linearization, Optimizer

if TYPE_CHECKING:
    import torch


class HeavyBall(Optimizer):
    """v ← β v + g, θ ← θ − η v (Polyak 1964), with the limit 2(1 + β) of η λ_max/n."""

    name, label = "momentum", "heavy ball"

    def stability_limit(self, momentum: float) -> float:
        """See `Optimizer.stability_limit`."""
        return 2.0 * (1.0 + momentum)

    def linearization(self) -> Linearization:
        """See `Optimizer.linearization`."""
        return "heavy_ball"

    def make(self, groups: Sequence[dict[str, Any]], *, momentum: float, fused: bool) -> "torch.optim.Optimizer":
        """See `Optimizer.make`."""
        from torch.optim import SGD

        return SGD(groups, momentum=momentum, fused=fused)


momentum = HeavyBall()
