"""Callbacks for any LightningModule: the empirical NTK at scheduled epochs, progress lines, and a state to go on from.

A training in progress is kept on disk: what was killed goes on from its last state, with the same numbers.
"""

import hashlib
import logging
import operator
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor, nn

from ntk_atlas.arrays import is_passing, whole_file
from ntk_atlas.config.training import CheckpointSettings
from ntk_atlas.kernels.empirical.gram import check_output_reduction
from ntk_atlas.kernels.empirical.network_checks import plain_module
from ntk_atlas.kernels.empirical.ntk import kernel_and_record
from ntk_atlas.kernels.errors import KernelInputError
from ntk_atlas.networks.stacked import StackedNetwork
from ntk_atlas.numerics import Given, real_number, real_tensor
from ntk_atlas.training.lightning_import import pl
from ntk_atlas.training.schedule import scheduled_epochs

log = logging.getLogger(__name__)


class TrainingTimedOutError(Exception):
    """A training that reached its time limit before its end; its state is kept, and more time lets it go on."""


@dataclass(frozen=True)
class Resume:
    """Where the state of a training in progress is kept, and how often it is written."""

    path: Path
    """The file; its name must stand for everything that the training depends on."""
    every: float = 60.0
    """Seconds between two writings, at least; a training that is shorter writes nothing."""
    share: float = 0.05
    """Share of the time that writing may take: a large state is written less often."""
    owner: str = ""
    """Which training this is: the state says so inside, and the state of another training is not taken up."""


class TrainingState(pl.callbacks.Checkpoint):
    """Writes the whole state of a training at the end of an epoch, and stops the training at its time limit.

    The state is Lightning's checkpoint: weights, optimizer, epoch, callbacks (recorded kernels) and what the module
    adds (histories, fate of the members). Batch orders are functions of the epoch, so nothing random is left out.

    Attributes:
        timed_out: whether the time limit ended the training.
    """

    def __init__(self, resume: Resume | None, *, max_seconds: float | None = None):
        """Sets up the callback.

        Args:
            resume: where the state is kept; None keeps none.
            max_seconds: limit of the training's wall time, that of killed calls (up to their last state) included.
        """
        super().__init__()
        self.resume, self.max_seconds = resume, max_seconds
        self.timed_out, self._seconds_before = False, 0.0
        self._started = time.perf_counter()
        self._next_writing = self._started + (resume.every if resume else 0.0)

    @property
    def seconds(self) -> float:
        """Wall seconds of the training so far."""
        return self._seconds_before + time.perf_counter() - self._started

    def found(self) -> Path | None:
        """The state to go on from; one that cannot be read, or is of another training, is named and removed.

        Raises:
            TrainingTimedOutError: if that training has used up its time.
            OSError: if the state cannot be read for reasons that lie around it: it stays.
        """
        if self.resume is None or not self.resume.path.is_file():
            return None
        path = self.resume.path
        try:
            with ZipFile(path) as archive:
                changed = archive.testzip()  # torch reads flipped bits of tensors without a word
            state = torch.load(path, map_location="cpu", weights_only=True)
            kept = state["callbacks"][self.state_key]
            seconds, epoch, owner = float(kept["seconds"]), int(state["epoch"]) + 1, kept["owner"]
        except Exception as error:  # whatever a damaged or foreign file makes of unpickling
            if is_passing(error):
                raise
            fault = type(error).__name__
        else:
            fault = f"{changed} was changed" if changed else "" if owner == self.resume.owner else f"it is of {owner}"
        if fault:
            log.warning("%s is damaged (%s): it is removed and the training starts anew", path, fault)
            path.unlink()
            return None
        if self.max_seconds is not None and seconds >= self.max_seconds:
            raise TrainingTimedOutError(
                f"stopped at epoch {epoch} after {seconds:.0f} s, of {self.max_seconds:g} s allowed"
            )
        log.info("going on from epoch %d, reached in %.0f s", epoch, seconds)
        return path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the state if it is time; as a `Checkpoint`, after the module and all other callbacks."""
        if trainer.should_stop or trainer.current_epoch + 1 >= trainer.max_epochs:
            return  # the end is near: its result follows
        self.timed_out = self.max_seconds is not None and self.seconds >= self.max_seconds
        now = time.perf_counter()
        if self.resume is not None and (self.timed_out or now >= self._next_writing):
            self._write(trainer)
            cost = time.perf_counter() - now
            self._next_writing = now + cost + max(self.resume.every, cost / self.resume.share)
        if self.timed_out:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What the state holds of this callback."""
        return {"seconds": self.seconds, "owner": self.resume.owner if self.resume else ""}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the clock where it stood."""
        self._seconds_before = state_dict["seconds"]

    def _write(self, trainer: pl.Trainer) -> None:
        with whole_file(self.resume.path) as temporary:
            trainer.save_checkpoint(temporary, weights_only=False)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())


class EmpiricalNTKCheckpoint(pl.Callback):
    """Records the empirical NTK on fixed samples before the first step and at the end of scheduled epochs.

    It only looks: gradients, training or evaluation mode, buffers and random streams are as before. The kernel is
    that of the network in evaluation mode, as `empirical_ntk` has it, in float32 if the network has half precision. A
    kernel that is not finite, because training diverged, is recorded as it is, with a warning. If training ends before
    the last epoch of a schedule, the final network is recorded too, at the epoch at which it ended.

    Example:
        ntk = EmpiricalNTKCheckpoint(x_test[:100], epochs=[0, 1, 10, 100])
        pl.Trainer(max_epochs=100, callbacks=[ntk]).fit(model, loader)
        drift = relative_drift(torch.from_numpy(ntk.kernels), torch.from_numpy(ntk.kernels[0]))

    Attributes:
        epochs: the epochs recorded so far; epoch t is after t epochs of training.
    """

    def __init__(
        self,
        x: Given,
        *,
        epochs: Sequence[int] | str | None = None,
        output_reduction: str = "mean",
        network: Callable[[pl.LightningModule], nn.Module] | None = None,
        keep_weights: bool = False,
        path: str | Path | None = None,
    ):
        """Sets up the callback.

        Args:
            x: probe samples, `(P, *input_shape)`: a tensor in the network's precision, on any device, or an array.
            epochs: epochs to record, 0 being initialization; None or `every` for every one, `log` for ten that are
                spaced evenly in log up to `max_epochs` of the Trainer.
            output_reduction: see `empirical_ntk`.
            network: picks the network `(n, *input_shape)` → `(n, C)` out of the LightningModule; by default the
                module itself, whose `forward` is then the network.
            keep_weights: whether to keep the parameters of these epochs too, in float32 if they have half precision.
            path: an .npz file to write when training ends, with `epochs`, `kernels` and, if kept, `weights`.

        Raises:
            KernelInputError: if `x` is no array of numbers, `epochs` no schedule, the reduction unknown, `network` no
                function, or `path` a folder.
        """
        super().__init__()
        check_output_reduction(output_reduction)
        probe = real_tensor(x, "x", KernelInputError).detach().clone()
        self.x = probe if isinstance(x, Tensor) else probe.numpy()
        self.output_reduction, self.keep_weights = output_reduction, keep_weights
        self._in_log = isinstance(epochs, str) and epochs == "log"
        self.schedule = None if self._in_log else _schedule(epochs)
        if network is not None and (isinstance(network, nn.Module) or not callable(network)):
            raise KernelInputError(
                f"network is a {type(network).__name__}: give a function of the LightningModule, as "
                "`lambda module: module.net`, that picks the network out of it"
            )
        self.network = network or (lambda module: module)
        self.path = None if path is None else Path(path)
        if self.path is not None and self.path.is_dir():
            raise KernelInputError(f"path is the folder {path}: give a file to write, as {self.path / 'kernels.npz'}")
        self._clear()

    @property
    def kernels(self) -> np.ndarray:
        """The kernels, `(E, P, P)`; `(S, E, P, P)` for a stack; `full` ones have two more axes `(C, C)`."""
        return _stack(self._kernels, self._member_axis)

    @property
    def weights(self) -> np.ndarray:
        """The parameters, `(E, n_params)`, `(S, E, n_params)` for a stack, in the order of `parameters()`."""
        return _stack(self._weights, self._member_axis)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Records the untrained network.

        Raises:
            KernelInputError: if `log` epochs are wanted of a training without end.
        """
        if trainer.current_epoch == 0:
            self._clear()
        if self._in_log:
            if trainer.max_epochs is None or trainer.max_epochs < 0:
                raise KernelInputError(
                    "epochs='log' needs the last epoch: give the Trainer `max_epochs`, or list epochs"
                )
            self.schedule = frozenset(scheduled_epochs(CheckpointSettings(epochs="log"), trainer.max_epochs))
        if self._is_scheduled(trainer.current_epoch):
            self._record(pl_module, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Records the network if the epoch is scheduled."""
        if self._is_scheduled(trainer.current_epoch + 1):
            self._record(pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Records the last network if training ended early, and writes the file."""
        if self.schedule and trainer.current_epoch < max(self.schedule):
            self._record(pl_module, trainer.current_epoch)
        if self.path is not None:
            self._write()

    @property
    def state_key(self) -> str:
        """What a checkpoint of the Trainer files the records under: what they are of.

        Callbacks that observe different things go together, and none goes on from the records of another.
        """
        x = torch.as_tensor(self.x).cpu()
        code = getattr(self.network, "__code__", None)
        texts = [text for text in getattr(code, "co_consts", ()) if isinstance(text, str | int)]
        picked = (getattr(code, "co_code", b""), getattr(code, "co_names", ()), texts)
        of = repr((tuple(x.shape), str(x.dtype), picked)).encode()
        digest = hashlib.sha256(of + x.reshape(-1).view(torch.uint8).numpy().tobytes())
        return self._generate_state_key(
            output_reduction=self.output_reduction, keep_weights=self.keep_weights, digest=digest.hexdigest()[:16]
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint of the Trainer holds of this callback: the records so far."""
        arrays = {name: [torch.from_numpy(a) for a in getattr(self, name)] for name in ("_kernels", "_weights")}
        return arrays | {"epochs": list(self.epochs), "member_axis": self._member_axis}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the records of a checkpoint."""
        self.epochs, self._member_axis = list(state_dict["epochs"]), state_dict["member_axis"]
        self._kernels, self._weights = ([a.numpy() for a in state_dict[name]] for name in ("_kernels", "_weights"))

    def _clear(self) -> None:
        self.epochs: list[int] = []
        self._kernels: list[np.ndarray] = []
        self._weights: list[np.ndarray] = []
        self._member_axis = False

    def _is_scheduled(self, epoch: int) -> bool:
        return self.schedule is None or epoch in self.schedule

    def _record(self, pl_module: pl.LightningModule, epoch: int) -> None:
        if epoch in self.epochs:
            return
        network = plain_module(self.network(pl_module))
        x = self.x.to(pl_module.device) if isinstance(self.x, Tensor) else self.x
        kernel, _ = kernel_and_record(network, x, None, self.output_reduction, lost_members=True)
        if not bool(torch.isfinite(kernel).all()):
            log.warning("epoch %d: the empirical NTK is not finite, its training diverged or overflows", epoch)
        self._member_axis = isinstance(network, StackedNetwork)
        self.epochs.append(epoch)
        self._kernels.append(kernel.detach().cpu().numpy())
        if self.keep_weights:
            self._weights.append(_flat_weights(network).cpu().numpy())

    def _write(self) -> None:
        arrays = {"epochs": np.asarray(self.epochs), "kernels": self.kernels}
        if self.keep_weights:
            arrays["weights"] = self.weights
        with whole_file(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)


class ProgressLog(pl.Callback):
    """Logs epoch, losses and the seconds left at most every `every` seconds: a progress bar for log files."""

    def __init__(self, *, every: float = 30.0, describe: Callable[[pl.LightningModule], str] | None = None):
        """Sets up the callback.

        Args:
            every: seconds between two lines, at least.
            describe: text about the module at the end of a line; by default its logged metrics.

        Raises:
            ValueError: if `every` is no number.
        """
        super().__init__()
        self.every, self.describe = real_number(every, "every"), describe

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._started = self._last_line = time.monotonic()
        self._first_epoch = trainer.current_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs a line if it is time."""
        now = time.monotonic()
        if now - self._last_line < self.every:
            return
        self._last_line = now
        epoch = trainer.current_epoch + 1
        text = self.describe(pl_module) if self.describe else _logged_metrics(trainer)
        per_epoch = (now - self._started) / (epoch - self._first_epoch)
        if trainer.max_epochs is None or trainer.max_epochs < 0:
            log.info("epoch %d: %s", epoch, text)
        else:
            left = per_epoch * (trainer.max_epochs - epoch)
            log.info("epoch %d of %d: %s; at most %.0f s left", epoch, trainer.max_epochs, text, left)


def _stack(records: list[np.ndarray], member_axis: bool) -> np.ndarray:
    return np.stack(records, axis=1 if member_axis else 0) if records else np.empty(0)


def _schedule(epochs: Sequence[int] | str | None) -> frozenset[int] | None:
    if epochs is None or (isinstance(epochs, str) and epochs == "every"):
        return None
    if isinstance(epochs, Iterable) and not isinstance(epochs, str):
        given = list(epochs)
        try:
            numbers = [operator.index(epoch) for epoch in given]
        except TypeError:
            numbers = []
        if numbers and min(numbers) >= 0 and not any(isinstance(epoch, bool) for epoch in given):
            return frozenset(numbers)
    raise KernelInputError(f"epochs is {epochs!r}: give whole numbers from 0 on, as [0, 1, 10], `every`, or `log`")


def _flat_weights(network: nn.Module) -> Tensor:
    if isinstance(network, StackedNetwork):
        weights = network.weights()
    else:
        weights = torch.cat([p.detach().flatten() for p in network.parameters()])
    return weights.float() if weights.dtype in (torch.float16, torch.bfloat16) else weights


def _logged_metrics(trainer: pl.Trainer) -> str:
    return ", ".join(f"{name} {float(value):.4g}" for name, value in trainer.callback_metrics.items())
