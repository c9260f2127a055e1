"""All samples of one source: raw inputs, encoded targets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

TargetEncoding = Literal["centred_one_hot", "plus_minus_one", "standardized", "teacher_standardized"]

POOL, VALIDATION, TEST = 0, 1, 2
"""Values of a split array."""


class DataError(ValueError):
    """Data that cannot be used; the message names the file or source, the config key and the fix."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """All samples of one source, before they are split and normalized.

    Attributes:
        name: the source (`digits`, `cifar10`, ...), or the stem of the user's file.
        x: inputs `(n_samples, *input_shape)`, not normalized: float64, or for images in full uint8 and, pooled,
            float32; draws are float64 whatever it is.
        y: encoded targets `(n_samples, n_outputs)`, float64.
        labels: class indices 0..K−1 `(n_samples,)`; None for regression. A binary task has the two classes 0
            (target −1) and 1 (target +1).
        split: `(n_samples,)` of 0 (training pool), 1 (validation), 2 (test); None when draws split. Without any 1,
            draws take the validation set from the pool and `n_test` samples from the test set.
        target_encoding: `centred_one_hot`, `plus_minus_one`, `standardized` (real targets, put in units of
            the training pool's mean and standard deviation by each draw) or `teacher_standardized` (in units
            of the noiseless teacher's exact mean and standard deviation; draws leave it alone).
        class_names: the classes in the order of `labels`, integers or text as in the source; empty for regression.
        attributes: what was done to the samples, for the attributes of the file (`side`, `pooling`).
        feature_names: of the inputs of a table, one a feature; empty where they have none.
        shares: number of shares into which the samples are cut for disjoint draws (`datasets.shares`); 0 if every draw
            is a permutation of all samples.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    labels: np.ndarray | None
    split: np.ndarray | None
    target_encoding: TargetEncoding
    class_names: tuple[int | str, ...] = ()
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    feature_names: tuple[str, ...] = ()
    shares: int = 0

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
