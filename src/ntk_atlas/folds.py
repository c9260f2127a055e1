"""Folds: fixed groups of the samples of a data set, by which errors on test sets are taken apart.

A sample belongs to the same fold in every draw, so what a fold adds to the errors of two draws is what the samples that
they share add.
"""

import numpy as np

from ntk_atlas.streams import numpy_stream

N_FOLDS = 32
"""Folds of every data set, the dimension `test_fold` of the files."""


def sample_folds(n_samples: int, seed: int) -> np.ndarray:
    """The fold of each sample: its rank in one permutation of all samples, modulo `N_FOLDS`.

    Args:
        n_samples: samples of the data set.
        seed: `dataset.seed`; the permutation has the stream ("test_folds", seed).

    Returns:
        `(n_samples,)`; sizes of folds differ by at most one.
    """
    folds = np.empty(n_samples, dtype=np.int64)
    folds[numpy_stream("test_folds", seed).permutation(n_samples)] = np.arange(n_samples) % N_FOLDS
    return folds


def fold_sizes(folds: np.ndarray) -> np.ndarray:
    """How many of some samples each fold has, `(N_FOLDS,)`, from their folds `(n,)`."""
    return np.bincount(folds, minlength=N_FOLDS)


def fold_means(values: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """The mean over the samples of each fold; weighted with `fold_sizes` the means give the mean over all.

    Args:
        values: `(..., n)`, one a sample.
        folds: `(n,)`, the fold of each sample.

    Returns:
        `(..., N_FOLDS)`, float64; NaN for folds without samples.
    """
    values = np.asarray(values, dtype=np.float64)
    means = np.full((*values.shape[:-1], N_FOLDS), np.nan)
    if values.shape[-1]:
        order = np.argsort(folds, kind="stable")
        there, starts, sizes = np.unique(folds[order], return_index=True, return_counts=True)
        # Sums of a row are the same to the bit whatever other rows there are.
        means[..., there] = np.add.reduceat(np.take(values, order, axis=-1), starts, axis=-1) / sizes
    return means
