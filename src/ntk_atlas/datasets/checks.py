"""Checks of data that came from outside; `where` says which array of which file, and under which key."""

from collections.abc import Sequence

import numpy as np
import psutil

from ntk_atlas.datasets.dataset import POOL, TEST, VALIDATION, DataError

_WHAT_INSTEAD = {
    "O": "which is never loaded (it may hold code): save numbers as np.asarray(array, dtype=float) and class names as "
    "np.asarray(names, dtype=str); ragged rows must first get one length",
    "c": "which is not numeric in one number: save real and imaginary parts as features of their own, e.g. "
    "np.concatenate([array.real, array.imag], axis=1)",
    "M": "which holds dates: save numbers, e.g. (array - array.min()) / np.timedelta64(1, 'D')",
    "m": "which holds time spans: save numbers, e.g. array / np.timedelta64(1, 's')",
    "V": "which holds records: save their fields as the columns of a plain array, e.g. "
    "numpy.lib.recfunctions.structured_to_unstructured(array)",
}
_TEXT = (
    "which is text: save numbers, e.g. of two names np.unique(names, return_inverse=True)[1], of several a column of 0 "
    "and 1 for each"
)


def check_numeric(dtype: np.dtype, *, where: str, text: bool = False) -> None:
    """Refuses objects, text, dates, records and complex numbers.

    Args:
        dtype: of an array.
        where: the array, for the message.
        text: whether text will do, as it does for class labels.

    Raises:
        DataError: when `dtype` is not boolean, integer or real; the message says what to save instead.
    """
    if dtype.kind in "biuf" or (text and dtype.kind in "SU"):
        return
    raise DataError(f"{where} has dtype {dtype}, {_WHAT_INSTEAD.get(dtype.kind, _TEXT)}")


def check_memory(n_bytes: int, *, where: str, free: bool = False) -> None:
    """Refuses what does not fit into memory, before it is read.

    Args:
        n_bytes: how much there would be.
        where: the array or file, for the message.
        free: whether to ask for memory that is free now, and not for what the machine has.

    Raises:
        DataError: with both sizes.
    """
    memory = psutil.virtual_memory()
    limit = memory.available if free else memory.total
    if n_bytes > limit:
        raise DataError(
            f"{where} would take {n_bytes / 2**30:,.1f} GiB, and this machine has {limit / 2**30:.1f} GiB"
            f"{' free' if free else ''}: save fewer samples or features, or is the file damaged?"
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
    """Refuses arrays that do not have one row per sample.

    Raises:
        DataError: when the two lengths differ.
    """
    if n_x != n_other:
        raise DataError(
            f"{where_x} has {n_x} samples, but {where_other} has {n_other}: both need one row per sample "
            "(is the sample axis the first one?)"
        )


def check_finite(values: np.ndarray, *, where: str) -> None:
    """Refuses NaN and infinity, and of text what stands for no value.

    Raises:
        DataError: with how many values are not finite, and the index of the first.
    """
    if values.dtype.kind in "biuO":
        return
    if values.dtype.kind == "U":
        empty = np.flatnonzero(np.isin(np.char.lower(np.char.strip(values.reshape(-1))), ("", "nan", "<na>", "nat")))
        if empty.size:
            raise DataError(
                f"{where} has {empty.size} empty names ({str(values.reshape(-1)[empty[0]])!r}), the first at index "
                f"[{empty[0]}]: drop those samples, or name their class"
            )
        return
    bad = ~np.isfinite(values)
    count = int(np.count_nonzero(bad))
    if count:
        first = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), values.shape))
        raise DataError(
            f"{where} has {count} values that are not finite (NaN, infinity or, in NetCDF, missing), the first at "
            f"index {list(first)}: drop those samples or impute the values before writing the file"
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


def check_several_classes(classes: Sequence[int | str], n_samples: int, *, where: str) -> None:
    """Refuses labels that are all the same, or all different.

    Raises:
        DataError: when there are fewer than two classes, or as many as there are samples.
    """
    if len(classes) < 2:
        raise DataError(
            f"{where} holds one class only ({list(classes)}): classification needs at least two; is "
            "dataset.y the right array, or is the task a regression?"
        )
    if len(classes) == n_samples > 2:
        raise DataError(
            f"{where} holds {len(classes)} classes, one for each sample ({list(classes[:4])}, …): is dataset.y the "
            "right array, or is the task a regression (dataset.task)?"
        )


def check_positive_classes(classes: Sequence[int | str], positive: Sequence[int | str], *, where: str) -> None:
    """Refuses positive classes that leave one side of a binary task empty, or that are no classes.

    Raises:
        DataError: when `positive` selects no class or every class, or names one that is not there.
    """
    there = f"whose classes are {list(classes[:20])}{'' if len(classes) <= 20 else ', …'}"
    selected = [name in positive for name in classes]
    if any(selected) == all(selected):
        which = "every" if all(selected) else "no"
        raise DataError(
            f"dataset.positive_classes = {list(positive)} selects {which} class of {where}, {there}: name some of "
            "them, but not all"
        )
    unknown = [name for name in positive if name not in classes]
    if unknown:
        raise DataError(f"dataset.positive_classes names {unknown}, no class of {where}, {there}: correct or remove it")
