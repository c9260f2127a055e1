"""What was recorded at some epochs, read at others: a stopped network repeats its last record."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


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
