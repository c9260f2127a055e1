"""Which members of a stack still train, which reached the stopping loss, and which diverged."""

import math
import sys
from collections.abc import Sequence

_STATE = ("active", "diverged", "stop_epoch", "_limits")


class Members:
    """The fate of each member; a member that is stopped once stays stopped.

    Plain numbers rather than tensors: a handful of members a step is fastest on the Python side.

    Attributes:
        active: whether a member still trains.
        diverged: whether it stopped because it diverged.
        stop_epoch: the epoch at which it stopped, else the last.
    """

    def __init__(self, n_members: int, n_epochs: int, *, stop_mse: float | None, divergence_factor: float):
        self.stop_mse, self.divergence_factor = stop_mse, divergence_factor
        self.active, self.diverged = [True] * n_members, [False] * n_members
        self.stop_epoch = [n_epochs] * n_members
        self._limits: list[float] = []

    def state(self) -> dict[str, list]:
        """Returns everything that `load_state` needs, as plain lists."""
        return {name: list(getattr(self, name)) for name in _STATE}

    def load_state(self, state: dict[str, list]) -> None:
        """Goes on from what `state` returned."""
        for name in _STATE:
            setattr(self, name, list(state[name]))

    def update(self, losses: Sequence[float], mses: Sequence[float] | None, epoch: int) -> list[int]:
        """Stops the members that diverged or are done.

        The first losses seen are those that divergence is measured against.

        Args:
            losses: training losses.
            mses: mean squared training errors, or None if these weights cannot stop for being good enough.
            epoch: the epoch that the weights belong to.

        Returns:
            The members that stopped just now.
        """
        if not self._limits:
            self._limits = [self.divergence_factor * max(loss, sys.float_info.min) for loss in losses]
        stopped = []
        for index, loss in enumerate(losses):
            if not self.active[index]:
                continue
            diverged = not math.isfinite(loss) or loss > self._limits[index]
            done = mses is not None and self.stop_mse is not None and mses[index] <= self.stop_mse
            if diverged or done:
                self.active[index], self.diverged[index], self.stop_epoch[index] = False, diverged, epoch
                stopped.append(index)
        return stopped
