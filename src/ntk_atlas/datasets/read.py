"""Reads the data that the config names, says before how large they are, and into how many shares they are cut.

Shares are cut so that no two draws have a sample in common. The samples are permuted once and cut into S shares of
equal size, of which a draw has one. S is 8, or the next power of two that is not below the number of draws; where a
draw's samples do not fit into a share of that size, a smaller power that is not below the number of draws. Share d
begins at the fraction 0.b₀b₁b₂… of the permutation, where d = … b₂b₁b₀ in binary (0, 1/2, 1/4, 3/4, 1/8, …). That does
not depend on S, so draw d keeps its test, validation and first training samples when draws are added, and its whole
share up to S draws. Where no power of two will do, S is the number of draws itself, and share d begins at d/S. Whether
draws are disjoint is decided when a run is planned, from settings and the size of the data.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntk_atlas.datasets.dataset import DataError, Dataset, DatasetBase, DatasetSize, check_split_sizes
from ntk_atlas.datasets.sources import source_of

if TYPE_CHECKING:
    from ntk_atlas.config.study import ExperimentSettings


_LEAST_SHARES = 8
"""Shares where there is room: so many draws there can be before any of them gets another pool."""


@dataclass(frozen=True)
class Room:
    """What draws take from one set of samples.

    Attributes:
        what: the set, for messages.
        available: samples that it has.
        needed: samples of one draw.
    """

    what: str
    available: int
    needed: int


def rooms(size: DatasetSize, settings: DatasetBase, n_train: int) -> tuple[Room, ...]:
    """The sets of samples that draws divide among them.

    Args:
        size: sizes of the data set.
        settings: `n_validation` and `n_test`.
        n_train: training samples that a draw needs.

    Returns:
        One set; of official training and test sets, two; of a fixed split, the training pool alone.
    """
    n_validation, n_test = settings.n_validation, settings.n_test
    if size.split == "fixed":
        return (Room("training samples", size.n_pool, n_train),)
    if size.split == "official":
        n_official = size.n_pool + n_validation
        return (
            Room("training samples", n_official, n_validation + n_train),
            Room("test samples", size.n_samples - n_official, n_test),
        )
    return (Room("samples", size.n_samples, n_test + n_validation + n_train),)


def shares(size: DatasetSize, settings: DatasetBase, *, draws: int, n_train: int) -> int:
    """Into how many shares the samples are cut.

    Args:
        size: sizes of the data set.
        settings: `draw_samples`, `n_validation` and `n_test`.
        draws: number of draws.
        n_train: training samples that a draw needs: the largest number there is.

    Returns:
        S, at least `draws`; 0 for draws that are permutations of all samples: a single draw, draws that are to overlap,
        or, under `auto`, those that do not fit beside each other.

    Raises:
        DataError: under `disjoint`, if they do not fit; the message says how many would.
    """
    if draws == 1 or settings.draw_samples == "overlapping":
        return 0
    divided = rooms(size, settings, n_train)
    for count in _counts(draws):
        if all(room.available // count >= room.needed for room in divided):
            return count
    if settings.draw_samples == "auto":
        return 0
    most = most_disjoint(size, settings, n_train)
    scarce = min(divided, key=lambda room: room.available // room.needed)
    raise DataError(
        f"{draws} disjoint draws of {scarce.needed:,} {scarce.what} each do not fit into the {scarce.available:,} of "
        f"{source_of(settings).place(settings)}: {most} would; lower grid.draws, the largest n_train"
        f"{'' if size.split == 'fixed' else ', dataset.n_validation or dataset.n_test'}, or set "
        "dataset.draw_samples: auto"
    )


def _counts(draws: int) -> Iterator[int]:
    """Numbers of shares to try, the best first."""
    count = max(_LEAST_SHARES, 1 << (draws - 1).bit_length())
    while count >= draws:
        yield count
        count //= 2
    yield draws


def most_disjoint(size: DatasetSize, settings: DatasetBase, n_train: int) -> int:
    """How many disjoint draws a data set has room for."""
    return min(room.available // room.needed for room in rooms(size, settings, n_train))


def read_dataset(settings: DatasetBase) -> Dataset:
    """Reads all samples of a source and encodes their targets.

    Args:
        settings: the source and its keys.

    Returns:
        Raw inputs and encoded targets; `make_draw` splits and normalizes them.

    Raises:
        DataError: for data that cannot be used, or that are not of the size that their source says; the message says
            what is wrong, where, and what to do.
    """
    source = source_of(settings)
    dataset = source.read(settings)
    if dataset.split is None:
        check_split_sizes(
            dataset.n_samples,
            n_validation=settings.n_validation,
            n_test=settings.n_test,
            where=source.place(settings),
        )
    if not source.is_known:
        from ntk_atlas.datasets.draw_checks import check_draws

        _check_size(dataset, source.size(settings), source.place(settings))
        check_draws(dataset, settings)
    return dataset


def inspect_dataset(settings: DatasetBase) -> DatasetSize:
    """The sizes of a data set, from constants, settings or the file's headers.

    A split array, one number a sample, is the only array that is read.

    Args:
        settings: the source and its keys.

    Returns:
        The sizes.

    Raises:
        DataError: for what can be seen to be wrong without reading the data.
    """
    return source_of(settings).size(settings)


def _check_size(dataset: Dataset, size: DatasetSize, place: str) -> None:
    n_outputs = dataset.n_outputs if size.n_outputs is None else size.n_outputs
    said = (size.n_samples, *size.input_shape), (size.n_samples, n_outputs)
    found = dataset.x.shape, dataset.y.shape
    if said != found:
        raise DataError(
            f"{place}: read gives inputs of shape {found[0]} and targets of shape {found[1]}, where size says "
            f"{said[0]} and {said[1]}: correct one of them"
        )


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
