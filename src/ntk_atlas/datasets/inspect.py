"""Sizes of a data set for the checks of the config: no arrays read, no heavy imports."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ntk_atlas.config.dataset import DatasetSettings, DigitsSettings, FileSettings, ImageSettings
from ntk_atlas.datasets import diabetes, digits
from ntk_atlas.datasets.checks import (
    check_held_out_sizes,
    check_label_shape,
    check_positive_classes,
    check_split_sizes,
)
from ntk_atlas.datasets.dataset import POOL, TEST
from ntk_atlas.datasets.file_layout import array_place, file_layout
from ntk_atlas.datasets.image_files import find_files
from ntk_atlas.datasets.image_sets import IMAGE_SETS
from ntk_atlas.datasets.images import image_folder, input_shape
from ntk_atlas.datasets.read import source_name
from ntk_atlas.datasets.table_sets import TABLE_SETS
from ntk_atlas.datasets.user_file import read_split


@dataclass(frozen=True)
class DatasetSize:
    """Sizes of a data set.

    Attributes:
        n_samples: all samples.
        n_pool: samples of the training pool, the largest possible n_train.
        input_shape: shape of one sample.
        n_outputs: target components; None when only reading the labels would tell.
        task: `classes`, `binary` or `regression`.
        n_test: samples of the test set.
        split: `drawn` from all samples; `official` training and test sets, from which draws take; `fixed` by the user.
    """

    n_samples: int
    n_pool: int
    input_shape: tuple[int, ...]
    n_outputs: int | None
    task: str
    n_test: int
    split: Literal["drawn", "official", "fixed"] = "drawn"


def inspect_dataset(settings: DatasetSettings) -> DatasetSize:
    """The sizes of a data set, from constants, settings or the file's headers.

    A split array, one number a sample, is the only array that is read.

    Args:
        settings: the source and its keys.

    Returns:
        The sizes.

    Raises:
        DataError: for what can be seen to be wrong without reading the data.
    """
    if settings.source == "file":
        return _inspect_file(settings)
    if settings.source == "digits":
        return _inspect_digits(settings)
    if settings.source in IMAGE_SETS:
        return _inspect_images(settings)
    if settings.source == "diabetes":
        return _drawn(settings, diabetes.N_SAMPLES, diabetes.INPUT_SHAPE, 1, "regression")
    if settings.source in TABLE_SETS:
        table = TABLE_SETS[settings.source]
        if settings.path is not None:
            find_files(image_folder(settings), table)
        return _drawn(settings, table.n_samples, (table.n_features,), 1, "regression")
    task = "binary" if settings.teacher == "parity" else "regression"
    return _drawn(settings, settings.n_samples, (settings.dimension,), 1, task)


def _inspect_digits(settings: DigitsSettings) -> DatasetSize:
    if settings.task == "binary":
        classes = range(digits.N_CLASSES)
        check_positive_classes(classes, settings.positive_classes, where=source_name(settings))
    n_outputs = 1 if settings.task == "binary" else digits.N_CLASSES
    return _drawn(settings, digits.N_SAMPLES, digits.digits_shape(settings), n_outputs, settings.task)


def _inspect_images(settings: ImageSettings) -> DatasetSize:
    image_set = IMAGE_SETS[settings.source]
    n_classes = len(image_set.class_names)
    if settings.task == "binary":
        check_positive_classes(range(n_classes), settings.positive_classes, where=source_name(settings))
    sizes = {"n_validation": settings.n_validation, "n_test": settings.n_test}
    check_held_out_sizes(image_set.n_train, image_set.n_test, **sizes, where=source_name(settings))
    if settings.path is not None:
        find_files(image_folder(settings), image_set)
    return DatasetSize(
        n_samples=image_set.n_train + image_set.n_test,
        n_pool=image_set.n_train - settings.n_validation,
        input_shape=input_shape(settings, image_set),
        n_outputs=1 if settings.task == "binary" else n_classes,
        task=settings.task,
        n_test=settings.n_test,
        split="official",
    )


def _inspect_file(settings: FileSettings) -> DatasetSize:
    layout = file_layout(settings)
    if settings.task != "regression":
        check_label_shape(layout.y.shape, where=array_place(settings, "y"))
    n_outputs = {"classes": None, "binary": 1, "regression": layout.n_targets}[settings.task]
    split = read_split(layout, settings)
    if split is None:
        return _drawn(settings, layout.n_samples, layout.input_shape, n_outputs, settings.task)
    return DatasetSize(
        n_samples=layout.n_samples,
        n_pool=int(np.count_nonzero(split == POOL)),
        input_shape=layout.input_shape,
        n_outputs=n_outputs,
        task=settings.task,
        n_test=int(np.count_nonzero(split == TEST)),
        split="fixed",
    )


def _drawn(
    settings: DatasetSettings, n_samples: int, input_shape: tuple[int, ...], n_outputs: int | None, task: str
) -> DatasetSize:
    n_validation, n_test = settings.n_validation, settings.n_test
    check_split_sizes(n_samples, n_validation=n_validation, n_test=n_test, where=source_name(settings))
    return DatasetSize(n_samples, n_samples - n_validation - n_test, input_shape, n_outputs, task, n_test)
