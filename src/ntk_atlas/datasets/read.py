"""Reads the data set that the config names."""

from ntk_atlas.config.dataset import DatasetSettings
from ntk_atlas.datasets.checks import check_split_sizes
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.image_sets import IMAGE_SETS
from ntk_atlas.datasets.table_sets import FETCHED_SETS


def read_dataset(settings: DatasetSettings) -> Dataset:
    """Reads all samples of a source and encodes their targets.

    Args:
        settings: the source and its keys.

    Returns:
        Raw inputs and encoded targets; `make_draw` splits and normalizes them.

    Raises:
        DataError: for data that cannot be used; the message says what is wrong, where, and what to do.
    """
    dataset = _read(settings)
    if dataset.split is None:
        check_split_sizes(
            dataset.n_samples,
            n_validation=settings.n_validation,
            n_test=settings.n_test,
            where=source_name(settings),
        )
    if settings.source == "file":
        from ntk_atlas.datasets.draw_checks import check_draws

        check_draws(dataset, settings)
    return dataset


def source_name(settings: DatasetSettings) -> str:
    """Returns the source as error messages name it."""
    if settings.source == "file":
        return f"{settings.path} (dataset.path)"
    if settings.source in FETCHED_SETS:
        return f"{FETCHED_SETS[settings.source].title} (dataset.source: {settings.source})"
    if settings.source == "teacher":
        return "the teacher (dataset.n_samples)"
    return f"scikit-learn's {settings.source}"


def _read(settings: DatasetSettings) -> Dataset:
    # Imported here: one source must not cost the imports of the others.
    if settings.source == "digits":
        from ntk_atlas.datasets.digits import read_digits

        return read_digits(settings)
    if settings.source == "diabetes":
        from ntk_atlas.datasets.diabetes import read_diabetes

        return read_diabetes(settings)
    if settings.source == "teacher":
        from ntk_atlas.datasets.teacher import read_teacher

        return read_teacher(settings)
    if settings.source == "california":
        from ntk_atlas.datasets.california import read_california

        return read_california(settings)
    if settings.source in IMAGE_SETS:
        from ntk_atlas.datasets.images import read_images

        return read_images(settings)
    from ntk_atlas.datasets.user_file import read_user_file

    return read_user_file(settings)
