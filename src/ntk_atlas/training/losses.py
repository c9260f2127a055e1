"""Losses and metrics of stacked networks: one number a member."""

import torch
from torch import Tensor
from torch.nn import functional as F


def squared_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """1/(2n) Σ_i ‖f(x_i) − y_i‖² of each member.

    Args:
        outputs: `(S, n, C)`.
        targets: `(n, C)`, or `(S, n, C)` where the members see different samples.

    Returns:
        Losses `(S,)`.
    """
    return (outputs - targets).square().sum(dim=(1, 2)) / (2 * outputs.shape[1])


def cross_entropy_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean over samples of −log softmax(f(x_i)) at the class of x_i, of each member.

    Args:
        outputs: logits, `(S, n, C)`.
        labels: class indices, `(n,)` or `(S, n)`.

    Returns:
        Losses `(S,)`.
    """
    labels = labels.expand(outputs.shape[:2])
    return F.cross_entropy(outputs.transpose(1, 2), labels, reduction="none").mean(dim=1)


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean over samples and outputs of (f − y)², `(S,)`; shapes as in `squared_loss`."""
    return (outputs - targets).square().mean(dim=(1, 2))


def classification_error(outputs: Tensor, targets: Tensor, labels: Tensor | None) -> Tensor:
    """Share of samples with a wrong class: the largest output, or the sign of a single one.

    Args:
        outputs: `(S, n, C)`.
        targets: `(n, C)`; with one output, the sign of the target is the class.
        labels: `(n,)` class indices, or None for regression.

    Returns:
        Errors `(S,)`; NaN for regression.
    """
    if labels is None:
        return torch.full_like(outputs[:, 0, 0], torch.nan)
    if outputs.shape[2] == 1:
        wrong = outputs.sign() != targets.sign()  # an output of exactly 0 decides for neither class
        return wrong.squeeze(2).to(outputs.dtype).mean(dim=1)
    return (outputs.argmax(dim=2) != labels).to(outputs.dtype).mean(dim=1)
