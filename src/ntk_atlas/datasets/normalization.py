"""Normalization of inputs; every statistic comes from the training pool of one draw."""

from dataclasses import dataclass
from typing import get_args

import numpy as np

from ntk_atlas.datasets.source import Normalization
from ntk_atlas.datasets.targets import ROUNDING, power_of_two

BLOCK = 4096
"""Samples that are summed at a time."""


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
