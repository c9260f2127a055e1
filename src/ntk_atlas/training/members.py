"""Each member of a stack trains as if it were alone: its batches, its losses, its fate and its records.

A member that reached the stopping loss or diverged stays stopped, and repeats its last record at later epochs.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ntk_atlas.streams import Label, torch_stream

_STATE = ("active", "diverged", "stop_epoch", "_limits")
FULL_BATCH = 0
"""What the loader yields for "all samples": nothing to index, nothing to move to a device."""


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


class FullBatches:
    """One batch an epoch, of all training samples."""

    def __iter__(self) -> Iterator[int]:
        yield FULL_BATCH

    def __len__(self) -> int:
        return 1


class MemberBatches:
    """Minibatches in an order of each member's own, so that it trains as if it were alone.

    The order of an epoch is drawn from a stream named by the member's labels and the epoch, so it depends
    neither on the other members nor on what was drawn before. The last batch of an epoch may be smaller.

    Attributes:
        epoch: the epoch whose order the next iteration gives.
    """

    def __init__(self, n_train: int, batch_size: int, member_labels: Sequence[Sequence[Label]]):
        self.n_train, self.batch_size = n_train, min(batch_size, n_train)
        self.member_labels = tuple(tuple(labels) for labels in member_labels)
        self.epoch = 0

    @property
    def sampler(self) -> "MemberBatches":
        """Where the Trainer looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next iteration; the Trainer calls it at the start of every epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        """Yields indices `(S, batch)`."""
        order = torch.stack(
            [torch.randperm(self.n_train, generator=torch_stream(*labels, self.epoch)) for labels in self.member_labels]
        )
        yield from order.split(self.batch_size, dim=1)

    def __len__(self) -> int:
        return -(-self.n_train // self.batch_size)


def squared_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """1/(2n) Σ_i ‖f(x_i) − y_i‖² of each member.

    Args:
        outputs: `(S, n, C)`.
        targets: `(n, C)`, or `(S, n, C)` where the members see different samples.

    Returns:
        Losses `(S,)`.
    """
    return (outputs - targets).square().sum(dim=(1, 2)) / (2 * outputs.shape[1])


def cross_entropy_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean over samples of −log softmax(f(x_i)) at the class of x_i, of each member.

    Args:
        outputs: logits, `(S, n, C)`.
        labels: class indices, `(n,)` or `(S, n)`.

    Returns:
        Losses `(S,)`.
    """
    labels = labels.expand(outputs.shape[:2])
    return F.cross_entropy(outputs.transpose(1, 2), labels, reduction="none").mean(dim=1)


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean over samples and outputs of (f − y)², `(S,)`; shapes as in `squared_loss`."""
    return (outputs - targets).square().mean(dim=(1, 2))


def classification_error(outputs: Tensor, targets: Tensor, labels: Tensor | None) -> Tensor:
    """Share of samples with a wrong class: the largest output, or the sign of a single one.

    Args:
        outputs: `(S, n, C)`.
        targets: `(n, C)`; with one output, the sign of the target is the class.
        labels: `(n,)` class indices, or None for regression.

    Returns:
        Errors `(S,)`; NaN for regression.
    """
    if labels is None:
        return torch.full_like(outputs[:, 0, 0], torch.nan)
    if outputs.shape[2] == 1:
        wrong = outputs.sign() != targets.sign()  # an output of exactly 0 decides for neither class
        return wrong.squeeze(2).to(outputs.dtype).mean(dim=1)
    return (outputs.argmax(dim=2) != labels).to(outputs.dtype).mean(dim=1)


def latest_record(recorded: Sequence[int], scheduled: Sequence[int]) -> np.ndarray:
    """Returns the index of the latest recorded epoch at or before each scheduled one."""
    return np.searchsorted(np.asarray(recorded), np.asarray(scheduled), side="right") - 1


class History:
    """Metrics `(S, ...)` by name, epoch after epoch.

    Attributes:
        epochs: the recorded epochs, increasing.
    """

    def __init__(self):
        self.epochs: list[int] = []
        self._records: list[dict[str, np.ndarray]] = []

    def append(self, epoch: int, metrics: Mapping[str, Tensor]) -> None:
        """Adds the metrics of one epoch."""
        self.epochs.append(epoch)
        self._records.append({name: value.cpu().double().numpy() for name, value in metrics.items()})

    def state(self) -> dict[str, list]:
        """Returns everything that `load_state` needs, as tensors and plain values."""
        records = [{name: torch.from_numpy(value) for name, value in record.items()} for record in self._records]
        return {"epochs": list(self.epochs), "records": records}

    def load_state(self, state: dict[str, list]) -> None:
        """Goes on from what `state` returned."""
        self.epochs = list(state["epochs"])
        self._records = [{name: value.numpy() for name, value in record.items()} for record in state["records"]]

    def at(self, scheduled: Sequence[int]) -> dict[str, np.ndarray]:
        """Returns the metrics by name at the scheduled epochs, `(S, E, ...)` each."""
        rows = [self._records[index] for index in latest_record(self.epochs, scheduled)]
        return {name: np.stack([row[name] for row in rows], axis=1) for name in self._records[0]}
