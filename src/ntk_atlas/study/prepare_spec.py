"""What the preparation of data depends on: their settings, the user's file, and whether draws are disjoint."""

from pathlib import Path
from typing import Annotated

from ntk_atlas.config.base import Settings
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.datasets.dataset import DataError
from ntk_atlas.datasets.read import inspect_dataset
from ntk_atlas.datasets.shares import most_disjoint, rooms, shares
from ntk_atlas.datasets.sources import SOURCES, source_of
from ntk_atlas.provenance import file_digest
from ntk_atlas.registry import Named, is_own
from ntk_atlas.study.specs import PrepareSpec
from ntk_atlas.study.user_files import code_file_digest


def prepare_spec(experiment: ExperimentSettings) -> PrepareSpec:
    """Spec of `prepare_dataset`."""
    dataset = experiment.dataset
    digests = [file_digest(file) for file in source_of(dataset).own_files(dataset)]
    if is_own(dataset.source):
        digests.append(code_file_digest(Path(dataset.source.rpartition(":")[0])))
    return PrepareSpec(dataset=dataset, file_digest="+".join(digests), shares=draw_shares(experiment))


class ReaderSpec(Settings):
    """What the code depends on that reads the data."""

    source: Annotated[str, Named(SOURCES)]


def reader_spec(experiment: ExperimentSettings) -> ReaderSpec:
    """The source of an experiment's data."""
    return ReaderSpec(source=experiment.dataset.source)


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
    if key := source_of(settings).samples_key:
        (room,) = rooms(size, settings, n_train)
        enough = room.needed << (draws - 1).bit_length()
        return f"{draws} overlapping draws (dataset.{key}: {enough} would make them disjoint)"
    most = most_disjoint(size, settings, n_train)
    return f"{draws} overlapping draws (there are samples for {most} disjoint)"


def training_samples(experiment: ExperimentSettings) -> int:
    """The most training samples that any job takes of a draw."""
    variants = experiment.kernel_variants
    return max(*experiment.grid.n_train, 0 if variants is None else variants.n_samples)
