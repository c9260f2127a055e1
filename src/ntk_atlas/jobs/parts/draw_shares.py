"""Whether the draws of an experiment are disjoint: decided when a run is planned, from settings and the data's size."""

from typing import TYPE_CHECKING

from ntk_atlas.datasets.dataset import DataError
from ntk_atlas.datasets.read import inspect_dataset, most_disjoint, rooms, shares
from ntk_atlas.datasets.sources import source_of

if TYPE_CHECKING:
    from ntk_atlas.config.study import ExperimentSettings


def draw_shares(experiment: "ExperimentSettings") -> int:
    """Number of shares into which an experiment's samples are cut, so that its draws are disjoint; 0 if they are not.

    A draw needs the samples of the largest training set, or those whose kernels `kernel_variants` compares, if more.
    """
    try:
        size = inspect_dataset(experiment.dataset)
        return shares(size, experiment.dataset, draws=experiment.grid.draws, n_train=training_samples(experiment))
    except DataError:  # a problem of the config, which is told before any job
        return 0


def draws_in_words(experiment: "ExperimentSettings") -> str:
    """The draws of an experiment, with what they share and what would change that."""
    draws, settings, n_train = experiment.grid.draws, experiment.dataset, training_samples(experiment)
    if draws == 1:
        return "1 draw"
    if draw_shares(experiment):
        return f"{draws} disjoint draws"
    if settings.draw_samples == "overlapping":
        return f"{draws} overlapping draws"
    size = inspect_dataset(settings)
    if key := source_of(settings).samples_key:
        (room,) = rooms(size, settings, n_train)
        enough = room.needed << (draws - 1).bit_length()
        return f"{draws} overlapping draws (dataset.{key}: {enough} would make them disjoint)"
    most = most_disjoint(size, settings, n_train)
    return f"{draws} overlapping draws (there are samples for {most} disjoint)"


def training_samples(experiment: "ExperimentSettings") -> int:
    """The most training samples that any job takes of a draw."""
    variants = experiment.kernel_variants
    return max(*experiment.grid.n_train, 0 if variants is None else variants.n_samples)
