"""Normalization of inputs; every statistic comes from the training pool of one draw."""

from dataclasses import dataclass
from typing import get_args

import numpy as np

from ntk_atlas.config.dataset import Normalization

ROUNDING = 1e-12
"""Spread relative to the mean below which a feature, or a sample about the mean, is nothing but rounding."""


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
        """Returns normalized copies of the samples `(n, *input_shape)`."""
        moved = (x - self.shift) * self.factor
        if not self.unit_norm:
            return moved
        return _to_unit_norm(moved, nothing=ROUNDING * float(np.max(np.abs(self.shift))))


def fit_normalizer(name: Normalization, x_pool: np.ndarray) -> Normalizer:
    """Fits a normalization to the training pool.

    Args:
        name: `none`; `standardize` (each feature to mean 0 and variance 1 over the pool; a feature that is
            constant there becomes 0 everywhere); `unit_norm` (each sample to ‖x‖² = d; a zero sample stays
            0); `center_unit_norm` (the pool's mean subtracted, then `unit_norm`).
        x_pool: training pool `(n_pool, *input_shape)`.

    Returns:
        The function that normalizes any samples.

    Raises:
        ValueError: when there is no normalization of that name.
    """
    if name == "none":
        return Normalizer(name)
    if name == "standardize":
        mean, deviation = x_pool.mean(axis=0), x_pool.std(axis=0)
        constant = deviation <= ROUNDING * np.abs(mean)
        factor = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation))
        return Normalizer(name, shift=mean, factor=factor)
    if name == "unit_norm":
        return Normalizer(name, unit_norm=True)
    if name == "center_unit_norm":
        return Normalizer(name, shift=x_pool.mean(axis=0), unit_norm=True)
    raise ValueError(f"unknown normalization {name!r}: choose one of {', '.join(get_args(Normalization))}")


def _to_unit_norm(x: np.ndarray, *, nothing: float) -> np.ndarray:
    """Returns the samples rescaled to ‖x‖² = d; those with no component above `nothing` become 0."""
    flat = x.reshape(len(x), -1)
    largest = np.abs(flat).max(axis=1, keepdims=True)
    present = largest > nothing
    # Divided by the largest component first, so that squares neither overflow nor vanish.
    flat = np.where(present, flat, 0.0) / np.where(present, largest, 1.0)
    norm = np.sqrt((flat**2).sum(axis=1, keepdims=True))
    return (flat * (np.sqrt(flat.shape[1]) / np.where(present, norm, 1.0))).reshape(x.shape)
