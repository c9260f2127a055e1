"""Encodings of targets: centred one-hot, ±1, standardized real values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ntk_atlas.datasets.checks import (
    check_label_shape,
    check_memory,
    check_positive_classes,
    check_several_classes,
)
from ntk_atlas.datasets.dataset import DataError, TargetEncoding

ROUNDING = 1e-12
"""Spread relative to the size of values below which they are nothing but rounding."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Encoded targets `y` `(n, n_outputs)` with class indices `labels` `(n,)` or None; see `Dataset`."""

    y: np.ndarray
    labels: np.ndarray | None
    encoding: TargetEncoding
    class_names: tuple[int | str, ...] = ()


def encode_targets(
    values: np.ndarray,
    *,
    task: str,
    positive_classes: Sequence[int | str] = (),
    where: str,
    place: Callable[[int], str] = "index [{}]".format,
) -> Targets:
    """Encodes raw targets for a task.

    Args:
        values: class labels or real values, `(n,)` or `(n, n_outputs)`.
        task: `classes`, `binary` or `regression`.
        positive_classes: classes with target +1; binary task only.
        where: source, array and key, for error messages.
        place: names a sample in error messages.

    Returns:
        The targets in the task's encoding.
    """
    if task != "regression" and values.dtype.kind == "f":
        check_label_shape(values.shape, where=where)
        _check_whole(values.reshape(-1), where=where, place=place)
    if task == "classes":
        return centred_one_hot(values, where=where)
    if task == "binary":
        return plus_minus_one(values, positive_classes=positive_classes, where=where)
    return standardized(values, where=where)


def centred_one_hot(values: np.ndarray, *, where: str) -> Targets:
    """Returns one output a class: 1 − 1/K for the sample's own class, −1/K for the other K − 1."""
    indices, classes = _class_indices(values, where=where)
    check_memory(8 * len(classes) * (len(classes) + len(indices)), where=f"{where}, with {len(classes)} classes,")
    y = np.eye(len(classes))[indices] - 1.0 / len(classes)
    return Targets(y, indices, "centred_one_hot", classes)


def plus_minus_one(values: np.ndarray, *, positive_classes: Sequence[int | str], where: str) -> Targets:
    """Returns one output: +1 for the positive classes (label 1), −1 for all others (label 0)."""
    indices, classes = _class_indices(values, where=where)
    check_positive_classes(classes, positive_classes, where=where)
    positive = np.array([name in positive_classes for name in classes])
    labels = positive[indices].astype(np.int64)
    sides = [[name for name, there in zip(classes, side, strict=True) if there] for side in (~positive, positive)]
    names = tuple(side[0] if len(side) == 1 else " ".join(map(str, side)) for side in sides)
    return Targets(2.0 * labels[:, None] - 1.0, labels, "plus_minus_one", names)


def standardized(values: np.ndarray, *, where: str) -> Targets:
    """Real outputs with mean 0 and variance 1 over all samples; draws standardize again over their pool.

    Args:
        values: `(n,)` or `(n, n_outputs)`.
        where: source, array and key, for error messages.

    Returns:
        The targets `(n, n_outputs)`.

    Raises:
        DataError: when an output is constant, exactly or to rounding.
    """
    y = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    constant = np.flatnonzero(y.max(axis=0) - y.min(axis=0) <= ROUNDING * np.abs(y).max(axis=0))
    if constant.size:
        varies = "" if (y[:, constant[0]] == y[0, constant[0]]).all() else " to rounding"
        raise DataError(
            f"{where}: output {int(constant[0])} is constant{varies} ({y[0, constant[0]]:g}), there is nothing to "
            "learn: remove that output, or is dataset.y the right array?"
        )
    return Targets(standardize_over(y, y), None, "standardized")


def standardize_over(y: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Returns targets `(n, n_outputs)` in units of each output's mean and deviation in `reference`.

    An output that is constant in `reference` is only centred. Squares of very large and very small targets leave the
    range of float64, so these are first scaled by a power of two, which rounds nothing.
    """
    exponent = power_of_two(np.abs(reference).max(axis=0))
    y, reference = np.ldexp(y, -exponent), np.ldexp(reference, -exponent)
    mean, deviation = reference.mean(axis=0), reference.std(axis=0)
    constant = reference.max(axis=0) == reference.min(axis=0)
    return (y - mean) / np.where(constant, 1.0, deviation)


def power_of_two(largest: np.ndarray) -> np.ndarray:
    """Returns exponents, int, of powers of two that bring sizes near one; 0 where squares are in range anyway."""
    exponent = np.frexp(largest)[1]
    return np.where(np.abs(exponent) > 256, exponent, 0)


def _class_indices(values: np.ndarray, *, where: str) -> tuple[np.ndarray, tuple[int | str, ...]]:
    """Returns class indices 0..K−1 `(n,)` and the sorted classes, K of them, of raw labels `(n,)` or `(n, 1)`.

    Classes are Python integers or text, as the labels are: numbers in ascending, words in alphabetical order.

    Raises:
        DataError: when labels are not one a sample, or all the same.
    """
    check_label_shape(values.shape, where=where)
    values = values.reshape(-1)
    classes, indices = np.unique(values, return_inverse=True)
    names = tuple(c if isinstance(c, str) else int(c) for c in classes.tolist())
    check_several_classes(names, len(values), where=where)
    return indices.astype(np.int64), names


def _check_whole(values: np.ndarray, *, where: str, place: Callable[[int], str]) -> None:
    wrong = values != np.rint(values)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"{where} has {int(wrong.sum())} class labels that are not integers, the first at "
            f"{place(first)}: {values[first]:g}; write integer classes, or set dataset.task: regression"
        )
    digits = np.finfo(values.dtype).nmant + 1
    large = np.abs(values).astype(np.longdouble) >= 2.0**digits
    if large.any():
        first = int(np.argmax(large))
        raise DataError(
            f"{where} has class labels beyond 2^{digits} as {values.dtype}, which does not tell neighbours apart "
            f"there, the first at {place(first)}: {values[first]:.17g}; save them as integers or text"
        )
