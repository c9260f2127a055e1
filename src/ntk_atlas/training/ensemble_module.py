"""The Lightning module that trains a stack of networks, each as if it were alone.

A member has batches, losses, a fate and records of its own: one that reached the stopping loss or diverged stays
stopped, and repeats its last record at later epochs.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.optimizers import optimizer
from ntk_atlas.streams import Label, torch_stream
from ntk_atlas.training.lightning_import import pl
from ntk_atlas.training.rates import common_learning_rate, learning_rates
from ntk_atlas.training.schedule import rate_factor, steps_per_epoch
from ntk_atlas.training.unit import UnitData

_STATE = ("active", "diverged", "stop_epoch", "_limits")
FULL_BATCH = 0
"""What the loader yields for "all samples": nothing to index, nothing to move to a device."""
EVALUATION_CHUNK = 1024
"""Samples a forward pass when networks are evaluated, which bounds its memory."""
_BUFFERS = tuple(f"offset_{split}" for split in ("train", "validation", "test", "probe"))
_TENSORS = ("learning_rate", "lambda_max", "selected_predictions", "_loss_weights", "_best_validation")


class Members:
    """The fate of each member; a member that is stopped once stays stopped.

    Plain numbers rather than tensors: a handful of members a step is fastest on the Python side.

    Attributes:
        active: whether a member still trains.
        diverged: whether it stopped because it diverged.
        stop_epoch: the epoch at which it stopped, else the last.
    """

    def __init__(
        self,
        n_members: int,
        n_epochs: int,
        *,
        stop_mse: float | None,
        divergence_factor: float,
        stop_epochs: Sequence[int] | None = None,
    ):
        self.stop_mse, self.divergence_factor, self.stop_epochs = stop_mse, divergence_factor, stop_epochs
        self.active, self.diverged = [True] * n_members, [False] * n_members
        self.stop_epoch = [n_epochs] * n_members
        self._limits: list[float] = []

    @property
    def may_stop(self) -> bool:
        """Whether a member may stop before the last epoch without diverging."""
        return self.stop_mse is not None or self.stop_epochs is not None

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
            mses: mean squared training errors, or None if these weights, in the middle of an epoch, cannot stop for
                being good enough.
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
            done = mses is not None and self._is_done(index, mses[index], epoch)
            if diverged or done:
                self.active[index], self.diverged[index], self.stop_epoch[index] = False, diverged, epoch
                stopped.append(index)
        return stopped

    def _is_done(self, index: int, mse: float, epoch: int) -> bool:
        if self.stop_epochs is not None:
            return epoch >= self.stop_epochs[index]
        return self.stop_mse is not None and mse <= self.stop_mse


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


class EnsembleTraining(pl.LightningModule):
    """Trains the members of a stack side by side and records their errors at scheduled epochs.

    The sum of the members' losses, each times its own learning rate, is descended at rate 1: no gradient mixes
    members. Optimizers that normalize gradients descend the plain sum, at one rate for all members. A member that
    diverges or reaches the stopping loss gets weight 0 in that sum and an optimizer state of zeros, so it stands still
    while the others go on exactly as before; the weights of a diverged member become NaN. With a full batch, a step's
    loss belongs to the weights before it, so watching costs no forward pass.

    Attributes:
        network: the members.
        members: which of them still train.
        history: errors at the recorded epochs, in units of the original targets.
        learning_rate: η of each member, `(S,)`, known once training starts.
        lambda_max: see `learning_rates`; what is given to the constructor is that of all members.
        selected_predictions: test outputs `(S, n_test, C)` of the checkpoint that `settings.selection`
        selects.
    """

    def __init__(
        self,
        network: StackedNetwork,
        data: UnitData,
        *,
        settings: TrainingSettings,
        target_scale: float,
        epochs: Sequence[int],
        member_labels: Sequence[Sequence[Label]],
        lambda_max: float | None = None,
        rates: Sequence[float] | None = None,
        stop_epochs: Sequence[int] | None = None,
    ):
        """Sets up the training.

        Args:
            network: the members.
            data: inputs and targets.
            settings: how to train.
            target_scale: targets are multiplied by it.
            epochs: those recorded, 0 first.
            member_labels: labels of each member's stream of batch orders.
            lambda_max: of the infinite NTK, see `learning_rates`.
            rates: η of each member; None for what the settings say. Optimizers that normalize gradients have theirs.
            stop_epochs: the epoch at which each member stops, instead of `stop_loss`; None for `stop_loss`.
        """
        super().__init__()
        self._rates = rates
        self.automatic_optimization = False  # one plain step a batch; a third of the Trainer's cost of a step
        self.network, self.settings, self.target_scale = network, settings, target_scale
        self.epochs, self.member_labels = tuple(epochs), tuple(member_labels)
        self._scheduled, self._lambda_max = frozenset(epochs), lambda_max
        self._full_batch = settings.batch_size == "full"
        for split in ("train", "validation", "test"):
            labels = getattr(data, f"labels_{split}")
            self._keep(f"x_{split}", getattr(data, f"x_{split}"))
            self._keep(f"y_{split}", target_scale * getattr(data, f"y_{split}"))
            self._keep(f"labels_{split}", None if labels is None else labels.long())
            self._keep(f"offset_{split}", None)
        self._keep("x_probe", data.x_probe if data.x_outputs is None else data.x_outputs)
        self._keep("offset_probe", None)
        self._loss = squared_loss if settings.loss == "mse" else cross_entropy_loss
        self.members = Members(
            network.n_members,
            self.epochs[-1],
            stop_mse=settings.stop_loss,
            divergence_factor=settings.divergence_factor,
            stop_epochs=stop_epochs,
        )
        self.history = History()
        self.selected_predictions: Tensor | None = None
        self.losses: list[float] = []
        self._goes_on = False

    def _keep(self, name: str, tensor: Tensor | None) -> None:
        self.register_buffer(name, tensor, persistent=False)

    def train_dataloader(self) -> FullBatches | MemberBatches:
        """Returns the batches, as indices: the data themselves are where the network is."""
        if self._full_batch:
            return FullBatches()
        return MemberBatches(self.x_train.shape[0], self.settings.batch_size, self.member_labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns the optimizer: at rate 1 where rates are in the losses, else a group for each rate of a layer."""
        chosen, settings = optimizer(self.settings.optimizer), self.settings
        groups: dict[float, list[Tensor]] = {}
        for parameter, share in zip(self.network.parameters(), self.network.rates(), strict=True):
            if parameter.requires_grad:
                groups.setdefault(share if chosen.normalizes_gradients() else 1.0, []).append(parameter)
        rate = 1.0
        if chosen.normalizes_gradients():
            rate = common_learning_rate(settings.learning_rate, 1, output_scale=self.network.output_scale)
        self._first_rates = [rate * share for share in groups]
        return chosen.make(
            [{"params": group, "lr": first} for group, first in zip(groups.values(), self._first_rates, strict=True)],
            momentum=settings.momentum,
            fused=self.device.type in ("cpu", "cuda"),  # one pass over the weights; not every accelerator has it
        )

    def on_train_start(self) -> None:
        """Measures what depends on the initial network, and records epoch 0; a training that goes on has done so."""
        self._optimizer = self.optimizers(use_pl_optimizer=False)
        if self._goes_on:
            for name in _TENSORS:
                setattr(self, name, getattr(self, name).to(self.device))
            return
        if self.settings.initial_output == "subtract":
            for split in ("train", "validation", "test", "probe"):
                setattr(self, f"offset_{split}", self._outputs(split))
        if self._rates is None:
            self.learning_rate, self.lambda_max = learning_rates(
                self.network, self.x_train, self.settings.learning_rate, lambda_max=self._lambda_max
            )
        else:
            self.learning_rate = torch.as_tensor(self._rates).to(self.y_train)
            self.lambda_max = torch.full_like(self.learning_rate, torch.nan)
        in_groups = optimizer(self.settings.optimizer).normalizes_gradients()
        self._loss_weights = torch.ones_like(self.learning_rate) if in_groups else self.learning_rate.clone()
        self._best_validation = torch.full_like(self.learning_rate, torch.inf)
        self._record(0)

    def training_step(self, batch: int | Tensor, batch_idx: int) -> None:
        """One step of every active member; `batch` is FULL_BATCH or indices `(S, batch)`."""
        if self._full_batch:
            outputs, targets = self.network(self.x_train), self._targets("train")
            if self.offset_train is not None:
                outputs = outputs - self.offset_train
        else:
            outputs, targets = self.network(self.x_train[batch]), self._targets("train")[batch]
            if self.offset_train is not None:
                outputs = outputs - self.offset_train.gather(1, batch[..., None].expand_as(outputs))
        losses = self._loss(outputs, targets)
        if self._full_batch:
            self._watch(losses, partial(self._mse, outputs, "train"), self.current_epoch)
        else:
            self._watch(losses, None, self.current_epoch + 1)
        if not any(self.members.active):
            self.trainer.should_stop = True
            return
        self._optimizer.zero_grad()
        torch.dot(self._loss_weights, losses).backward()
        if self.settings.schedule != "constant":
            self._set_rate(batch_idx)
        self._optimizer.step()

    def _set_rate(self, batch_idx: int) -> None:
        """Sets the rate of this step: it follows from epoch and batch alone, so a resumed training has the same."""
        per_epoch = steps_per_epoch(self.settings, self.x_train.shape[0])
        step, n_steps = self.current_epoch * per_epoch + batch_idx, self.epochs[-1] * per_epoch
        for group, first in zip(self._optimizer.param_groups, self._first_rates, strict=True):
            group["lr"] = first * rate_factor(self.settings, step, n_steps)

    def on_train_epoch_end(self) -> None:
        """Records scheduled epochs, and ends the training when no member is left."""
        epoch = self.current_epoch + 1
        if epoch in self._scheduled:
            self._record(epoch)
        elif not self._full_batch and self.members.may_stop:
            outputs = self._outputs("train")
            losses = self._loss(outputs, self._targets("train"))
            self._watch(losses, partial(self._mse, outputs, "train"), epoch)
        if not any(self.members.active):
            self.trainer.should_stop = True

    def on_train_end(self) -> None:
        """Records the state that stopped members keep, if training ended before its last epoch."""
        if self.history.epochs[-1] < self.epochs[-1]:
            self._record(self.trainer.current_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what weights and optimizer do not hold of a training in progress."""
        state = {name: getattr(self, name) for name in (*_BUFFERS, *_TENSORS)}
        checkpoint["ensemble"] = state | {"members": self.members.state(), "history": self.history.state()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes up a training in progress."""
        state = checkpoint["ensemble"]
        for name in (*_BUFFERS, *_TENSORS):
            setattr(self, name, state[name])
        self.members.load_state(state["members"])
        self.history.load_state(state["history"])
        self._goes_on = True

    def progress(self) -> str:
        """Returns the losses as text for a log line."""
        losses = ", ".join(f"{loss:.3g}" for loss in self.losses)
        return f"losses {losses} ({sum(self.members.active)} of {self.network.n_members} in training)"

    def _targets(self, split: str) -> Tensor:
        return getattr(self, f"y_{split}" if self.settings.loss == "mse" else f"labels_{split}")

    @torch.no_grad()
    def _outputs(self, split: str) -> Tensor:
        """Returns outputs `(S, n, C)`, less the initial ones if they are subtracted."""
        x, offset = getattr(self, f"x_{split}"), getattr(self, f"offset_{split}")
        # The training set in one piece, as in a full-batch step: then both have the same loss to the bit.
        chunk = len(x) if split == "train" and self._full_batch else EVALUATION_CHUNK
        outputs = torch.cat([self.network(part) for part in x.split(max(chunk, 1))], dim=1)
        return outputs if offset is None else outputs - offset

    def _mse(self, outputs: Tensor, split: str) -> Tensor:
        return mean_squared_error(outputs.detach(), getattr(self, f"y_{split}")) / self.target_scale**2

    def _watch(self, losses: Tensor, train_mse, epoch: int) -> None:
        """Freezes members that diverged, or whose `train_mse()` is low enough; None cannot be low enough."""
        self.losses = losses.tolist()
        may_stop = train_mse is not None and self.members.may_stop
        stopped = self.members.update(self.losses, train_mse().tolist() if may_stop else None, epoch)
        if stopped:
            self._freeze(stopped)

    @torch.no_grad()
    def _freeze(self, stopped: list[int]) -> None:
        diverged = [index for index in stopped if self.members.diverged[index]]
        self._loss_weights[stopped] = 0.0
        for parameter, place in self.network.parameters_of(diverged):
            parameter.data[place] = torch.nan  # .data: between a step's forward and backward pass, too
        for parameter, place in self.network.parameters_of(stopped):
            for name, state in self._optimizer.state[parameter].items() if parameter.requires_grad else ():
                if isinstance(state, Tensor) and state.shape == parameter.shape and name != "step":
                    state[place] = 0.0

    @torch.no_grad()
    def _record(self, epoch: int) -> None:
        metrics = {}
        for split in ("train", "validation", "test"):
            outputs = self._outputs(split)
            y, labels = getattr(self, f"y_{split}"), getattr(self, f"labels_{split}")
            metrics[f"{split}_mse"] = self._mse(outputs, split)
            metrics[f"{split}_error"] = classification_error(outputs, y, labels)
            if split == "train":
                losses = self._loss(outputs, self._targets(split))
                unit = self.target_scale**2 if self.settings.loss == "mse" else 1.0
                metrics["train_loss"] = losses / unit
                self._watch(losses, lambda: metrics["train_mse"], epoch)
        lost = torch.tensor(self.members.diverged, device=outputs.device)
        metrics = {name: value.masked_fill(lost, torch.nan) for name, value in metrics.items()}
        probe = (self._outputs("probe") / self.target_scale).masked_fill(lost[:, None, None], torch.nan)
        self.history.append(epoch, metrics | {"probe_predictions": probe})
        better = metrics["validation_mse"] < self._best_validation
        if self.settings.selection == "final":
            better = torch.ones_like(better)
        self._best_validation = torch.where(better, metrics["validation_mse"], self._best_validation)
        outputs = (outputs / self.target_scale).masked_fill(lost[:, None, None], torch.nan)
        former = torch.full_like(outputs, torch.nan) if self.selected_predictions is None else self.selected_predictions
        self.selected_predictions = torch.where(better[:, None, None], outputs, former)
