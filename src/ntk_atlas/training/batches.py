"""Batches of a stacked training, as indices into the training set."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ntk_atlas.streams import Label, torch_stream

FULL_BATCH = 0
"""What the loader yields for "all samples": nothing to index, nothing to move to a device."""


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
