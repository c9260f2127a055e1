"""Several learning rates for one network: all are tried from the same weights, the best training is kept."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ntk_atlas.config.training import LearningRateSettings
from ntk_atlas.status import Status
from ntk_atlas.training.unit import TrainedUnit

_OF_THE_UNIT = ("epochs", "weight_epochs", "target_scale", "seconds")


def relative_rates(settings: LearningRateSettings) -> tuple[float, ...]:
    """The shares η₀ of the stability limit to try, ascending; empty for an absolute rate."""
    if settings.relative is None:
        return ()
    return settings.relative if isinstance(settings.relative, tuple) else (settings.relative,)


def n_rates(settings: LearningRateSettings) -> int:
    """How many learning rates each network is trained with."""
    return max(1, len(relative_rates(settings)))


def repeated(items: Sequence, times: int) -> list:
    """Each item `times` times in a row: run r of member m stands at m · times + r."""
    return [item for item in items for _ in range(times)]


def kept_runs(final_loss: np.ndarray, diverged: np.ndarray, stop_epoch: np.ndarray) -> np.ndarray:
    """The run of each network that counts: the lowest final training loss among those that did not diverge.

    Divergence is a property of the learning rate, so a network is lost only if all its runs are; then the run that
    lasted longest is kept. Of equal runs the one with the smallest rate is.

    Args:
        final_loss: `(S, R)`, R runs a network in the order of ascending rates.
        diverged: `(S, R)`.
        stop_epoch: `(S, R)`.

    Returns:
        `(S,)` indices of runs.
    """
    usable = ~diverged & np.isfinite(final_loss)
    best = np.where(usable, final_loss, np.inf).argmin(axis=1)
    return np.where(usable.any(axis=1), best, stop_epoch.argmax(axis=1))


def best_of_rates(runs: TrainedUnit, n_runs: int) -> TrainedUnit:
    """One training a network out of `n_runs`, see `kept_runs`.

    Args:
        runs: all trainings, ordered as `repeated` orders them.
        n_runs: runs a network.

    Returns:
        The unit of the S networks, with the number of rates at which each diverged.
    """
    if n_runs == 1:
        return runs
    diverged = (runs.status == Status.DIVERGED).reshape(-1, n_runs)
    losses, stop_epoch = (a.reshape(diverged.shape) for a in (runs.train_loss[:, -1], runs.stop_epoch))
    kept = np.arange(len(diverged)) * n_runs + kept_runs(losses, diverged, stop_epoch)
    arrays = {
        field.name: getattr(runs, field.name)[kept]
        for field in dataclasses.fields(runs)
        if field.name not in _OF_THE_UNIT
    }
    return dataclasses.replace(runs, **arrays | {"n_rates_diverged": diverged.sum(axis=1, dtype=np.int16)})
