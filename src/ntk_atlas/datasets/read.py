"""Reads the data that the config names, and says before how large they are."""

from ntk_atlas.datasets.dataset import DataError, Dataset, DatasetBase, DatasetSize, check_split_sizes
from ntk_atlas.datasets.sources import source_of


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
