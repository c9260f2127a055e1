"""All samples of one source: raw inputs, encoded targets."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

TargetEncoding = Literal["centred_one_hot", "plus_minus_one", "standardized", "teacher_standardized"]

POOL, VALIDATION, TEST = 0, 1, 2
"""Values of a split array."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """All samples of one source, before they are split and normalized.

    Attributes:
        name: `digits`, `diabetes`, `teacher`, or the stem of the user's file.
        x: inputs `(n_samples, *input_shape)`, float64, not normalized.
        y: encoded targets `(n_samples, n_outputs)`, float64.
        labels: class indices 0..K−1 `(n_samples,)`; None for regression. A binary task has the two classes 0
            (target −1) and 1 (target +1).
        split: `(n_samples,)` of 0 (training pool), 1 (validation), 2 (test); None when draws split.
        target_encoding: `centred_one_hot`, `plus_minus_one`, `standardized` (real targets, put in units of
            the training pool's mean and standard deviation by each draw) or `teacher_standardized` (in units
            of the noiseless teacher's exact mean and standard deviation; draws leave it alone).
        class_names: the classes in the order of `labels`; empty for regression.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    labels: np.ndarray | None
    split: np.ndarray | None
    target_encoding: TargetEncoding
    class_names: tuple[str, ...] = ()

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.x.shape[0]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.x.shape[1:]

    @property
    def n_outputs(self) -> int:
        """Number of target components."""
        return self.y.shape[1]
