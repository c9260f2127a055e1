"""Which trainings of linear models have a closed form: what keeps a training from having one, and the dynamics else."""

from collections.abc import Iterator

from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.optimizers import Linearization, Optimizer, optimizer


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
