"""Checks of data that came from outside; `where` says which array of which file, and under which key."""

import numpy as np

from ntk_atlas.datasets.dataset import POOL, TEST, VALIDATION
from ntk_atlas.datasets.errors import DataError


def check_numeric(dtype: np.dtype, *, where: str) -> None:
    """Refuses objects, text, dates, records and complex numbers.

    Raises:
        DataError: when `dtype` is not boolean, integer or real.
    """
    if dtype.kind == "O":
        raise DataError(
            f"{where} has dtype object, which is never loaded (it may hold code): save it as a plain numeric "
            "array, e.g. np.asarray(array, dtype=float); ragged rows must first get one length"
        )
    if dtype.kind not in "biuf":
        raise DataError(
            f"{where} has dtype {dtype}, which is not numeric: save integers or floats, e.g. class names as "
            "np.unique(names, return_inverse=True)[1]"
        )


def check_shape(shape: tuple[int, ...], *, where: str) -> None:
    """Refuses scalars and arrays without elements.

    Raises:
        DataError: when there is no sample axis or nothing on one of the axes.
    """
    if not shape:
        raise DataError(f"{where} is a single number: the first axis has to count the samples")
    if 0 in shape:
        raise DataError(f"{where} is empty, shape {shape}: write at least one sample with one feature")


def check_lengths(n_x: int, n_other: int, *, where_x: str, where_other: str) -> None:
    """Refuses arrays that do not have one row a sample.

    Raises:
        DataError: when the two lengths differ.
    """
    if n_x != n_other:
        raise DataError(
            f"{where_x} has {n_x} samples, but {where_other} has {n_other}: both need one row a sample "
            "(is the sample axis the first one?)"
        )


def check_finite(values: np.ndarray, *, where: str) -> None:
    """Refuses NaN and infinity.

    Raises:
        DataError: with how many values are not finite, and the index of the first.
    """
    if values.dtype.kind in "biu":
        return
    bad = ~np.isfinite(values)
    count = int(np.count_nonzero(bad))
    if count:
        first = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), values.shape))
        raise DataError(
            f"{where} has {count} values that are not finite (NaN or infinity), the first at index "
            f"{list(first)}: drop those samples or impute the values before writing the file"
        )


def check_split_sizes(n_samples: int, *, n_validation: int, n_test: int, where: str) -> None:
    """Refuses validation and test sets that leave no training sample.

    Raises:
        DataError: when `n_samples < n_validation + n_test + 1`.
    """
    if n_samples < n_validation + n_test + 1:
        raise DataError(
            f"{where} has {n_samples} samples, too few for {n_validation} validation samples, {n_test} test "
            "samples and at least 1 training sample: lower dataset.n_validation or dataset.n_test"
        )


def check_held_out_sizes(n_official: int, n_held_out: int, *, n_validation: int, n_test: int, where: str) -> None:
    """Refuses more validation or test samples than official training and test sets that are kept apart can give.

    Raises:
        DataError: when `n_official < n_validation + 1` or `n_held_out < n_test`.
    """
    if n_official < n_validation + 1:
        raise DataError(
            f"{where} has {n_official} training samples, too few for {n_validation} validation samples and at least 1 "
            "training sample: lower dataset.n_validation"
        )
    if n_held_out < n_test:
        raise DataError(f"{where} has {n_held_out} test samples, fewer than {n_test}: lower dataset.n_test")


def check_split_values(split: np.ndarray, *, where: str) -> None:
    """Refuses a split array with other values than 0, 1 and 2, or without one of them.

    Raises:
        DataError: naming the values found, or the part that is missing.
    """
    found = np.unique(split)
    if not np.isin(found, (POOL, VALIDATION, TEST)).all():
        raise DataError(
            f"{where} holds the values {found[:8].tolist()}: use only 0 (training pool), 1 (validation) and 2 (test)"
        )
    for value, part in ((POOL, "training pool"), (VALIDATION, "validation"), (TEST, "test")):
        if value not in found:
            raise DataError(
                f"{where} marks no sample as {part} (value {value}): mark some, or leave dataset.split out "
                "and let draws split the data"
            )


def check_label_shape(shape: tuple[int, ...], *, where: str) -> None:
    """Refuses class labels of more than one number a sample.

    Raises:
        DataError: when the shape is neither `(n,)` nor `(n, 1)`.
    """
    if len(shape) > 1 and shape[1:] != (1,):
        raise DataError(
            f"{where} has shape {shape}, but class labels are one number a sample: save y.argmax(axis=1) of "
            "one-hot rows, or set dataset.task: regression"
        )


def check_several_classes(classes: np.ndarray, *, where: str) -> None:
    """Refuses labels that are all the same.

    Raises:
        DataError: when there are fewer than two classes.
    """
    if len(classes) < 2:
        raise DataError(
            f"{where} holds one class only ({classes.tolist()}): classification needs at least two; is "
            "dataset.y the right array, or is the task a regression?"
        )


def check_positive_classes(classes: np.ndarray, positive: tuple[int, ...], *, where: str) -> None:
    """Refuses positive classes that leave one side of a binary task empty.

    Raises:
        DataError: when `positive` selects no class or every class.
    """
    selected = np.isin(classes, positive)
    if selected.any() and not selected.all():
        return
    which = "every" if selected.all() else "no"
    raise DataError(
        f"dataset.positive_classes = {list(positive)} selects {which} class of {where}, whose classes are "
        f"{classes[:20].tolist()}: name some of them, but not all"
    )
