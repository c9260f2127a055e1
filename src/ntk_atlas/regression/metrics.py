"""Errors of predictions."""

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.folds import N_FOLDS, fold_means
from ntk_atlas.numerics import Given, real_tensor
from ntk_atlas.regression.arguments import checked_targets


def mean_squared_error(predictions: Given, targets: Given) -> Tensor:
    """Mean over samples and outputs of (f − y)².

    Args:
        predictions: `(..., n, n_outputs)`.
        targets: `(n, n_outputs)`.

    Returns:
        `(...)`, in the wider precision of the two, integers and half precision as float64; NaN without samples.

    Raises:
        ValueError: the two do not have the same samples and outputs, or a target is NaN or infinite.
    """
    predictions, targets = _checked(predictions, targets)
    return ((predictions - targets) ** 2).mean((-2, -1))


def fold_errors(predictions: Given, targets: Given, folds: np.ndarray | None) -> np.ndarray:
    """Mean squared error over the samples of each fold, see `fold_means`.

    Args:
        predictions: `(..., n, n_outputs)`.
        targets: `(n, n_outputs)`.
        folds: fold of each sample, `(n,)`; None if samples have none.

    Returns:
        `(..., N_FOLDS)`, float64; NaN for folds without samples.

    Raises:
        ValueError: see `mean_squared_error`.
    """
    predictions, targets = _checked(predictions, targets)
    if folds is None:
        return np.full((*predictions.shape[:-2], N_FOLDS), np.nan)
    return fold_means(((predictions - targets) ** 2).mean(-1).cpu().numpy(), folds)


def classification_error(predictions: Given, targets: Given, labels: Given | None = None) -> Tensor:
    """Share of samples in the wrong class.

    With several outputs the predicted class is the largest output; with one output and ±1 targets it is the
    sign, an output of exactly 0 being wrong.

    Args:
        predictions: `(..., n, n_outputs)`.
        targets: encoded targets, `(n, n_outputs)`; with one output their sign is the class.
        labels: class index of each sample, `(n,)`; None takes the largest entry of `targets`. Not looked at with one
            output.

    Returns:
        `(...)`; NaN where a prediction is NaN, and without samples.

    Raises:
        ValueError: the two do not have the same samples and outputs, a target is NaN or infinite or, of one output, 0,
            or labels are not class indices, one a sample.
    """
    predictions, targets = _checked(predictions, targets)
    if labels is not None:
        labels = checked_labels("labels", labels, len(targets), predictions.device)
    if predictions.shape[-1] == 1:
        if bool((targets == 0).any()):
            raise ValueError(
                "targets of one output are 0 for some samples: their sign is the class, so give -1 and 1, as "
                "2 * targets - 1 of 0 and 1, and predictions of those"
            )
        wrong = ~(predictions * targets > 0).squeeze(-1)
    else:
        if labels is not None and labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < targets.shape[1]:
            raise ValueError(
                f"labels run from {int(labels.min())} to {int(labels.max())}, but {targets.shape[1]} outputs have the "
                f"classes 0 to {targets.shape[1] - 1}"
            )
        wrong = predictions.argmax(-1) != (targets.argmax(-1) if labels is None else labels)
    undefined = predictions.isnan().any(-1).any(-1)
    return wrong.to(predictions.dtype).mean(-1).masked_fill(undefined, float("nan"))


def checked_labels(name: str, labels: Given, n: int, device: torch.device) -> Tensor:
    """Class indices, one a sample.

    Args:
        name: the argument's name, for the message.
        labels: `(n,)`, whole numbers in any precision.
        n: samples.
        device: where they go.

    Returns:
        The labels.

    Raises:
        ValueError: another shape, or numbers that are not whole.
    """
    labels = real_tensor(labels, name)
    if labels.shape != (n,):
        raise ValueError(
            f"{name} has shape {tuple(labels.shape)}, expected ({'n_test' if 'test' in name else 'n'} = {n})"
        )
    if labels.is_floating_point() and not torch.equal(labels, labels.round()):
        raise ValueError(f"{name} are not class indices: give whole numbers, one a sample")
    return labels.to(device)


def _checked(predictions: Given, targets: Given) -> tuple[Tensor, Tensor]:
    predictions, given = real_tensor(predictions, "predictions"), real_tensor(targets, "targets")
    if predictions.dim() < 2:
        column = ": of one output give predictions[:, None]" if predictions.dim() == 1 else ""
        raise ValueError(f"predictions has shape {tuple(predictions.shape)}, expected (..., n, n_outputs){column}")
    axes = (("n", predictions.shape[-2]), ("n_outputs", predictions.shape[-1]))
    checked_targets("targets", given, axes, predictions.device)
    predictions, targets = (
        t if t.is_floating_point() and t.dtype.itemsize > 2 else t.to(torch.float64) for t in (predictions, given)
    )
    return predictions, targets.to(predictions.device)
