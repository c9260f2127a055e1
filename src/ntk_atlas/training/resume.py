"""A training in progress, kept on disk: what was killed goes on from its last state, with the same numbers."""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch

from ntk_atlas.arrays import is_passing, whole_file
from ntk_atlas.training.lightning_import import pl

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
