"""What the preparation of data depends on: their settings, the user's file, and whether draws are disjoint."""

from pathlib import Path

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.datasets.errors import DataError
from ntk_atlas.datasets.inspect import inspect_dataset
from ntk_atlas.datasets.shares import most_disjoint, rooms, shares
from ntk_atlas.provenance import file_digest
from ntk_atlas.study.specs import PrepareSpec


def prepare_spec(experiment: ExperimentSettings) -> PrepareSpec:
    """Spec of `prepare_dataset`."""
    dataset = experiment.dataset
    digest = file_digest(Path(dataset.path)) if dataset.source == "file" else ""
    return PrepareSpec(dataset=dataset, file_digest=digest, shares=draw_shares(experiment))


def draw_shares(experiment: ExperimentSettings) -> int:
    """Number of shares into which an experiment's samples are cut, so that its draws are disjoint; 0 if they are not.

    A draw needs the samples of the largest training set, or those whose kernels `kernel_variants` compares, if more.
    """
    try:
        size = inspect_dataset(experiment.dataset)
        return shares(size, experiment.dataset, draws=experiment.grid.draws, n_train=training_samples(experiment))
    except DataError:  # a problem of the config, which is told before any job
        return 0


def draws_in_words(experiment: ExperimentSettings) -> str:
    """The draws of an experiment, with what they share and what would change that."""
    draws, settings, n_train = experiment.grid.draws, experiment.dataset, training_samples(experiment)
    if draws == 1:
        return "1 draw"
    if draw_shares(experiment):
        return f"{draws} disjoint draws"
    if settings.draw_samples == "overlapping":
        return f"{draws} overlapping draws"
    size = inspect_dataset(settings)
    if settings.source == "teacher":
        (room,) = rooms(size, settings, n_train)
        enough = room.needed << (draws - 1).bit_length()
        return f"{draws} overlapping draws (dataset.n_samples: {enough} would make them disjoint)"
    most = most_disjoint(size, settings, n_train)
    return f"{draws} overlapping draws (there are samples for {most} disjoint)"


def training_samples(experiment: ExperimentSettings) -> int:
    """The most training samples that any job takes of a draw."""
    variants = experiment.kernel_variants
    return max(*experiment.grid.n_train, 0 if variants is None else variants.n_samples)
