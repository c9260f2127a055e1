"""Draws: shares or permutations of the samples that define validation, test and nested training sets, and probes.

Probe samples are the few samples of a draw on which networks are observed along training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ntk_atlas.datasets.dataset import (
    POOL,
    TEST,
    VALIDATION,
    DataError,
    Dataset,
    DatasetBase,
    Normalization,
    check_held_out_sizes,
    check_split_sizes,
)
from ntk_atlas.datasets.normalization import Normalizer, fit_normalizer, standardize_over
from ntk_atlas.folds import sample_folds
from ntk_atlas.streams import numpy_stream

Part = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class SplitIndices:
    """Indices of the samples of each part; disjoint, the pool in training order."""

    pool: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class Draw:
    """One split of a data set, normalized with statistics of its training pool only.

    Inputs are `(n, *input_shape)`, targets `(n, n_outputs)`, labels `(n,)` or None; float64. Training sets
    are leading blocks of the pool, so they are nested. Inputs are normalized when they are first asked for: of a
    large pool, `training_set` makes only what it returns.
    """

    x: np.ndarray
    """Inputs of all samples, not normalized."""
    indices: SplitIndices
    """Which of them each part is."""
    y_pool: np.ndarray
    y_validation: np.ndarray
    y_test: np.ndarray
    labels_pool: np.ndarray | None
    labels_validation: np.ndarray | None
    labels_test: np.ndarray | None
    test_folds: np.ndarray
    """Fold of each test sample; a sample has the same one in every draw."""
    draw: int
    normalization: Normalization

    @cached_property
    def normalizer(self) -> Normalizer:
        """The normalization, with statistics of the whole training pool."""
        return fit_normalizer(self.normalization, self.x, self.indices.pool)

    @cached_property
    def x_pool(self) -> np.ndarray:
        """All of the training pool; of images in full, more than a gigabyte."""
        return self.normalizer(self.x[self.indices.pool])

    @cached_property
    def x_validation(self) -> np.ndarray:
        """The validation set."""
        return self.normalizer(self.x[self.indices.validation])

    @cached_property
    def x_test(self) -> np.ndarray:
        """The test set."""
        return self.normalizer(self.x[self.indices.test])

    def training_set(self, n_train: int) -> tuple[np.ndarray, np.ndarray]:
        """The first `n_train` samples of the pool.

        Returns:
            Inputs `(n_train, *input_shape)` and targets `(n_train, n_outputs)`.

        Raises:
            DataError: when the pool has fewer samples, or `n_train` is below 1.
        """
        n_pool = len(self.indices.pool)
        if not 1 <= n_train <= n_pool:
            raise DataError(
                f"grid.n_train: {n_train} training samples asked of a pool of {n_pool}: choose 1 "
                f"to {n_pool}, or lower dataset.n_validation or dataset.n_test"
            )
        return self.normalizer(self.x[self.indices.pool[:n_train]]), self.y_pool[:n_train]

    def input_scale(self, n_train: int) -> float:
        """Mean ‖x‖²/n₀ of the first `n_train` samples of the pool: 1 where inputs are normalized."""
        return float(np.mean(self.training_set(n_train)[0] ** 2))


def split_indices(dataset: Dataset, settings: DatasetBase, draw: int) -> SplitIndices:
    """The split of one draw, which depends on no other draw.

    Of samples cut into shares (`Dataset.shares`) a draw has one share of one permutation, with the stream ("shares",
    seed): first the test set, then the validation set, then the training pool. No sample is in two draws. Official
    training and test sets are cut each by a permutation of its own; of a split that the data bring, the training
    pool is cut alone.

    Else a draw is a permutation from its own stream ("draw", seed, draw): its last `n_test` samples are the test
    set, the `n_validation` before them the validation set, the rest the training pool; so the test set does
    not depend on `n_validation`, nor the first training samples on either. Where the data bring a split of
    their own, validation and test have the same samples in every draw, in an order shuffled once (a file
    sorted by class would otherwise give probe samples of one class), and the draw permutes the pool only. Where
    their split has no validation samples (official training and test sets), the draw permutes the training set,
    whose last `n_validation` samples are the validation set, and takes `n_test` of the test set, by a stream of
    their own ("draw_test", seed, draw); the first of them are the same at every `n_test`.

    Args:
        dataset: the samples.
        settings: `seed`, `n_validation`, `n_test`.
        draw: index of the draw.

    Returns:
        Indices into the samples.

    Raises:
        DataError: when validation and test leave no training sample, or there is no share for the draw.
    """
    stream = numpy_stream("draw", settings.seed, draw)
    n_validation, n_test = settings.n_validation, settings.n_test
    if dataset.shares:
        return _split_of_share(dataset, settings, draw)
    if dataset.split is not None and VALIDATION not in dataset.split:
        official, held_out = (np.flatnonzero(dataset.split == value) for value in (POOL, TEST))
        check_held_out_sizes(len(official), len(held_out), n_validation=n_validation, n_test=n_test, where=dataset.name)
        pool, validation = np.split(stream.permutation(official), [len(official) - n_validation])
        test = numpy_stream("draw_test", settings.seed, draw).permutation(held_out)[:n_test]
        return SplitIndices(pool, validation, test)
    if dataset.split is not None:
        fixed = _fixed_split(dataset, settings)
        return SplitIndices(stream.permutation(np.flatnonzero(dataset.split == POOL)), fixed[VALIDATION], fixed[TEST])
    check_split_sizes(dataset.n_samples, n_validation=n_validation, n_test=n_test, where=dataset.name)
    n_pool = dataset.n_samples - n_validation - n_test
    return SplitIndices(*np.split(stream.permutation(dataset.n_samples), [n_pool, n_pool + n_validation]))


def share(n_samples: int, n_shares: int, draw: int) -> slice:
    """The places in the permutation that a draw has.

    Args:
        n_samples: samples of the permutation.
        n_shares: S.
        draw: index of the draw, below S.

    Returns:
        At least `n_samples // n_shares` places; no two draws have one in common.

    Raises:
        DataError: if the samples were not cut for so many draws.
    """
    if not 0 <= draw < n_shares:
        raise DataError(f"there is no draw {draw} of samples cut into {n_shares} shares: draws 0 to {n_shares - 1}")
    bits = (n_shares - 1).bit_length()
    place = int(f"{draw:0{bits}b}"[::-1], 2) if n_shares == 1 << bits and bits else draw
    return slice(place * n_samples // n_shares, (place + 1) * n_samples // n_shares)


def _split_of_share(dataset: Dataset, settings: DatasetBase, draw: int) -> SplitIndices:
    def own(samples: np.ndarray, name: str) -> np.ndarray:
        permuted = numpy_stream(name, settings.seed).permutation(samples)
        return permuted[share(len(samples), dataset.shares, draw)]

    n_validation, n_test, where = settings.n_validation, settings.n_test, f"draw {draw} of {dataset.name}"
    if dataset.split is None:
        samples = own(np.arange(dataset.n_samples), "shares")
        check_split_sizes(len(samples), n_validation=n_validation, n_test=n_test, where=where)
        test, validation, pool = np.split(samples, [n_test, n_test + n_validation])
        return SplitIndices(pool, validation, test)
    official = own(np.flatnonzero(dataset.split == POOL), "shares")
    if VALIDATION in dataset.split:
        fixed = _fixed_split(dataset, settings)
        return SplitIndices(official, fixed[VALIDATION], fixed[TEST])
    held_out = own(np.flatnonzero(dataset.split == TEST), "shares_test")
    check_held_out_sizes(len(official), len(held_out), n_validation=n_validation, n_test=n_test, where=where)
    return SplitIndices(official[n_validation:], official[:n_validation], held_out[:n_test])


def _fixed_split(dataset: Dataset, settings: DatasetBase) -> dict[int, np.ndarray]:
    """Validation and test samples that the data fix, in an order shuffled once."""
    fixed = numpy_stream("fixed_split", settings.seed)
    return {value: fixed.permutation(np.flatnonzero(dataset.split == value)) for value in (VALIDATION, TEST)}


def shared_samples(
    dataset: Dataset, settings: DatasetBase, *, draws: int, n_train: Sequence[int]
) -> tuple[float, np.ndarray]:
    """Expected share of the samples of a draw that another draw has too.

    Args:
        dataset: the samples.
        settings: `n_validation` and `n_test`.
        draws: number of draws.
        n_train: training samples.

    Returns:
        Of the test samples, that are in the other's test set, and of the training samples at each size, that are in the
        other's training set of the same size: 0 for disjoint draws, n/N for permutations of N samples, 1 for a test set
        that the data fix; NaN for a single draw.
    """
    sizes = np.asarray(n_train, dtype=np.float64)
    if draws == 1:
        return float("nan"), np.full(len(sizes), np.nan)
    split = dataset.split
    fixed = split is not None and VALIDATION in split
    n_pool, n_held_out = (dataset.n_samples if split is None else int((split == value).sum()) for value in (POOL, TEST))
    test = 1.0 if fixed else 0.0 if dataset.shares else settings.n_test / n_held_out
    return test, np.zeros(len(sizes)) if dataset.shares else sizes / n_pool


def make_draw(dataset: Dataset, settings: DatasetBase, draw: int) -> Draw:
    """Splits and normalizes a data set; inputs and real targets with statistics of the training pool only.

    Args:
        dataset: all samples.
        settings: the seed, the split sizes and the normalization.
        draw: index of the draw; the result depends on no other draw.

    Returns:
        The normalized parts.

    Raises:
        DataError: see `split_indices`.
    """
    indices = split_indices(dataset, settings, draw)
    parts = (indices.pool, indices.validation, indices.test)
    y = [dataset.y[part] for part in parts]
    labels = [None if dataset.labels is None else dataset.labels[part] for part in parts]
    if dataset.target_encoding == "standardized":
        y = [standardize_over(part, y[0]) for part in y]
    return Draw(
        x=dataset.x,
        indices=indices,
        y_pool=y[0],
        y_validation=y[1],
        y_test=y[2],
        labels_pool=labels[0],
        labels_validation=labels[1],
        labels_test=labels[2],
        test_folds=sample_folds(dataset.n_samples, settings.seed)[indices.test],
        draw=draw,
        normalization=settings.normalization,
    )


def missing_classes(draw: Draw, n_train: int) -> tuple[int, ...]:
    """Classes that are among the samples of a draw but not among its first `n_train` training samples.

    Args:
        draw: the draw.
        n_train: training samples.

    Returns:
        The classes, ascending; none for regression data.
    """
    if draw.labels_pool is None:
        return ()
    return tuple(
        np.setdiff1d(np.concatenate([draw.labels_pool, draw.labels_test]), draw.labels_pool[:n_train]).tolist()
    )


@dataclass(frozen=True, eq=False)
class ProbeSamples:
    """Samples whose kernel is recorded along training: inputs, targets `(P, n_outputs)`, labels `(P,)` or None."""

    x: np.ndarray
    y: np.ndarray
    labels: np.ndarray | None


def kernel_probes(draw: Draw, parts: Sequence[Part], n_probe: int) -> ProbeSamples:
    """The samples whose kernel is recorded, of the parts that `checkpoints.probe` names.

    Args:
        draw: the draw.
        parts: `train`, `test`, or both, in the order of the samples.
        n_probe: samples of each part.

    Returns:
        The samples, `n_probe` for each part.

    Raises:
        DataError: see `probe_indices`.
    """
    x, y, labels = [], [], []
    for part in parts:
        chosen = probe_indices(draw, n_probe, part)
        if part == "train":
            inputs, targets = draw.training_set(n_probe)
            classes = draw.labels_pool
        else:
            inputs, targets, classes = draw.x_test, draw.y_test, draw.labels_test
        x.append(inputs[chosen])
        y.append(targets[chosen])
        labels.append(None if classes is None else classes[chosen])
    return ProbeSamples(
        np.concatenate(x), np.concatenate(y), None if draw.labels_test is None else np.concatenate(labels)
    )


def output_probes(draw: Draw, n_probe: int) -> np.ndarray:
    """Inputs on which outputs are recorded along training: the first `n_probe` of the test set, all of a smaller one.

    An output on a training sample goes to its target, so outputs are observed on samples that no network has seen,
    whichever samples the kernel is recorded on.
    """
    return draw.x_test[probe_indices(draw, min(n_probe, len(draw.y_test)), "test")]


def probe_indices(draw: Draw, n_probe: int, part: Part = "train") -> np.ndarray:
    """The first `n_probe` samples of the training pool, which every training set has, or of the test set.

    Args:
        draw: the draw.
        n_probe: how many.
        part: of which part of the draw.

    Returns:
        Indices into that part `(n_probe,)`, stably sorted by class (regression: by the first target), so that the
        blocks of a Gram matrix are visible.

    Raises:
        DataError: when the part has fewer samples, or `n_probe` is below 1.
    """
    targets, labels = (draw.y_pool, draw.labels_pool) if part == "train" else (draw.y_test, draw.labels_test)
    if not 1 <= n_probe <= len(targets):
        where, key = ("training pool", "grid.n_train") if part == "train" else ("test set", "dataset.n_test")
        raise DataError(
            f"training.checkpoints.n_probe: {n_probe} probe samples asked of a {where} of {len(targets)}: choose 1 to "
            f"{len(targets)}, or raise {key}"
        )
    key = targets[:, 0] if labels is None else labels
    return np.argsort(key[:n_probe], kind="stable")
