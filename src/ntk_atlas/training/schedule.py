"""What the settings of a training say before it runs: epochs, checkpoints, rates, and whether it has a closed form."""

import math
from collections.abc import Iterator

import numpy as np

from ntk_atlas.config.training import CheckpointSettings, Selection, TrainingSettings
from ntk_atlas.optimizers import Linearization, Optimizer, optimizer


def scheduled_epochs(settings: CheckpointSettings, n_epochs: int) -> tuple[int, ...]:
    """Epochs after which networks are checkpointed; epoch 0 is initialization.

    `log` gives `n_log` epochs spaced evenly in log from 1 to `n_epochs`, rounded; those that round to the
    same epoch are one, so short trainings have fewer.

    Args:
        settings: the schedule.
        n_epochs: epochs of the training.

    Returns:
        Increasing epochs, 0 and `n_epochs` always among them.
    """
    if settings.epochs == "every":
        return tuple(range(n_epochs + 1))
    if settings.epochs == "log":
        chosen = {round(float(epoch)) for epoch in np.geomspace(1, max(n_epochs, 1), settings.n_log)}
    else:
        chosen = set(settings.epochs)
    return tuple(sorted({epoch for epoch in chosen if epoch < n_epochs} | {0, n_epochs}))


def steps_per_epoch(settings: TrainingSettings, n_train: int) -> int:
    """Returns the optimizer steps of one epoch; a last, smaller batch counts."""
    return 1 if settings.batch_size == "full" else math.ceil(n_train / settings.batch_size)


def rate_factor(settings: TrainingSettings, step: int, n_steps: int) -> float:
    """The learning rate of step s of S in units of that of the first: ½(1 + cos πs/S) for `cosine`, else 1."""
    return 1.0 if settings.schedule == "constant" else 0.5 * (1.0 + math.cos(math.pi * step / n_steps))


def epoch_budget(settings: TrainingSettings, n_train: int) -> int:
    """Returns `max_epochs`, or as many as `min_steps` optimizer steps need, whichever is more."""
    return max(settings.max_epochs, math.ceil(settings.min_steps / steps_per_epoch(settings, n_train)))


def selected_checkpoint(validation_mse: np.ndarray, selection: Selection) -> np.ndarray:
    """Which checkpoint of each network predicts.

    Args:
        validation_mse: `(n_networks, n_epochs)`, NaN where there is none.
        selection: `final`, or `best_validation`.

    Returns:
        Positions along the epochs, `(n_networks,)`: the last, or the lowest (the first, if all are NaN).
    """
    if selection == "final":
        return np.full(len(validation_mse), validation_mse.shape[1] - 1)
    return np.where(np.isnan(validation_mse), np.inf, validation_mse).argmin(axis=1)


def without_closed_form(settings: TrainingSettings, chosen: Optimizer | None) -> Iterator[tuple[str, str]]:
    """What keeps full-batch training of a linear model from a closed form (`regression.training_modes`).

    Args:
        settings: the training.
        chosen: its optimizer; None is not asked.

    Yields:
        A key of the settings, and the rest of a sentence about the closed form: "which ...: use ...".
    """
    if settings.loss != "mse":
        yield "loss", "which is known for squared error: use mse"
    if chosen is not None and chosen.linearization() is None:
        yield "optimizer", f"which {settings.optimizer} does not have: use sgd or momentum"
    if settings.batch_size != "full":
        yield "batch_size", "which minibatches do not have: use full"
    if settings.schedule != "constant":
        yield "schedule", "which is known for constant learning rates: use constant"


def has_closed_form(settings: TrainingSettings) -> bool:
    """Whether training of a linear model has a closed form."""
    return next(without_closed_form(settings, optimizer(settings.optimizer)), None) is None


def dynamics_of(settings: TrainingSettings) -> Linearization:
    """The dynamics of a full-batch training of a linear model.

    Raises:
        ValueError: if it has no closed form.
    """
    chosen = optimizer(settings.optimizer)
    for key, lack in without_closed_form(settings, chosen):
        raise ValueError(f"{key}: a linearized training is solved in closed form, {lack}")
    dynamics = chosen.linearization()
    assert dynamics is not None  # said above
    return dynamics
