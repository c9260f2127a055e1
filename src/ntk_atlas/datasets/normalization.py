"""Targets encoded (centred one-hot, ±1, standardized), inputs normalized by the training pool of one draw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from ntk_atlas.datasets.dataset import (
    DataError,
    Normalization,
    TargetEncoding,
    check_label_shape,
    check_memory,
    check_positive_classes,
    check_several_classes,
)

ROUNDING = 1e-12
"""Spread relative to the size of values below which they are nothing but rounding."""
BLOCK = 4096
"""Samples that are summed at a time."""


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


@dataclass(frozen=True, eq=False)
class Normalizer:
    """A fitted normalization: x ↦ (x − shift) · factor, then each sample to ‖x‖² = d where `unit_norm`.

    Attributes:
        name: the normalization it stands for.
        shift: `input_shape`, or 0.
        factor: `input_shape`, or 1; 0 for a feature that is constant over the training pool.
        unit_norm: whether samples are rescaled to ‖x‖² = d, d the number of features.
    """

    name: Normalization
    shift: np.ndarray | float = 0.0
    factor: np.ndarray | float = 1.0
    unit_norm: bool = False

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Returns normalized copies of the samples `(n, *input_shape)`, float64 whatever the samples are."""
        x = np.asarray(x, dtype=np.float64)
        moved = (x - self.shift) * self.factor
        if not self.unit_norm:
            return moved
        return _to_unit_norm(moved, nothing=ROUNDING * float(np.max(np.abs(self.shift))))


def fit_normalizer(name: Normalization, x_pool: np.ndarray, pool: np.ndarray | None = None) -> Normalizer:
    """Fits a normalization to the training pool, in blocks: large images are never all in float64 at once.

    Args:
        name: `none`; `standardize` (each feature to mean 0 and variance 1 over the pool; a feature that is
            constant there becomes 0 everywhere); `unit_norm` (each sample to ‖x‖² = d; a zero sample stays
            0); `center_unit_norm` (the pool's mean subtracted, then `unit_norm`).
        x_pool: training pool `(n_pool, *input_shape)`, or all samples if `pool` says which of them it is.
        pool: indices of the pool's samples; None for all.

    Returns:
        The function that normalizes any samples.

    Raises:
        ValueError: when there is no normalization of that name.
    """
    if name == "none":
        return Normalizer(name)
    if name == "standardize":
        exponent = _exponent(x_pool, pool)
        mean = _mean(x_pool, pool, exponent)
        deviation = np.sqrt(_mean(x_pool, pool, exponent, about=mean))
        constant = deviation <= ROUNDING * np.abs(mean)
        factor = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation))
        return Normalizer(name, shift=np.ldexp(mean, exponent), factor=np.ldexp(factor, -exponent))
    if name == "unit_norm":
        return Normalizer(name, unit_norm=True)
    if name == "center_unit_norm":
        exponent = _exponent(x_pool, pool)
        return Normalizer(name, shift=np.ldexp(_mean(x_pool, pool, exponent), exponent), unit_norm=True)
    raise ValueError(f"unknown normalization {name!r}: choose one of {', '.join(get_args(Normalization))}")


def _exponent(x: np.ndarray, indices: np.ndarray | None) -> np.ndarray | int:
    """Powers of two, one a feature, that keep squares of extreme inputs in range; 0 for all others."""
    if x.dtype != np.float64:
        return 0
    indices = np.arange(len(x)) if indices is None else indices
    largest = np.zeros(x.shape[1:])
    for start in range(0, len(indices), BLOCK):
        np.maximum(largest, np.abs(x[indices[start : start + BLOCK]]).max(axis=0), out=largest)
    exponent = power_of_two(largest)
    return exponent if exponent.any() else 0


def _mean(
    x: np.ndarray, indices: np.ndarray | None, exponent: np.ndarray | int, *, about: np.ndarray | None = None
) -> np.ndarray:
    """Returns the mean of the indexed samples over 2^exponent, or of their squared deviations from `about`; float64."""
    indices = np.arange(len(x)) if indices is None else indices
    total = np.zeros(x.shape[1:])
    for start in range(0, len(indices), BLOCK):
        block = x[indices[start : start + BLOCK]].astype(np.float64)
        if np.any(exponent):
            block = np.ldexp(block, -exponent)
        total += (block if about is None else (block - about) ** 2).sum(axis=0)
    return total / len(indices)


def _to_unit_norm(x: np.ndarray, *, nothing: float) -> np.ndarray:
    """Returns the samples rescaled to ‖x‖² = d; those with no component above `nothing` become 0."""
    flat = x.reshape(len(x), -1)
    largest = np.abs(flat).max(axis=1, keepdims=True)
    present = largest > nothing
    # Divided by the largest component first, so that squares neither overflow nor vanish.
    flat = np.where(present, flat, 0.0) / np.where(present, largest, 1.0)
    norm = np.sqrt((flat**2).sum(axis=1, keepdims=True))
    return (flat * (np.sqrt(flat.shape[1]) / np.where(present, norm, 1.0))).reshape(x.shape)
