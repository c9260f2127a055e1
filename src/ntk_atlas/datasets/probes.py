"""Probe samples: the few samples of a draw on which networks are observed along training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ntk_atlas.datasets.dataset import DataError
from ntk_atlas.datasets.draws import Draw

Part = Literal["train", "test"]


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
