"""Errors of predictions."""

from torch import Tensor


def mean_squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples and outputs of (f − y)².

    Args:
        predictions: `(..., n, n_outputs)`.
        targets: `(n, n_outputs)`.

    Returns:
        `(...)`; NaN without samples.
    """
    return ((predictions - targets) ** 2).mean((-2, -1))


def classification_error(predictions: Tensor, targets: Tensor, labels: Tensor | None = None) -> Tensor:
    """Share of samples in the wrong class.

    With several outputs the predicted class is the largest output; with one output and ±1 targets it is the
    sign, an output of exactly 0 being wrong.

    Args:
        predictions: `(..., n, n_outputs)`.
        targets: encoded targets, `(n, n_outputs)`; with one output their sign is the class.
        labels: class index of each sample, `(n,)`; None takes the largest entry of `targets`.

    Returns:
        `(...)`; NaN where a prediction is NaN, and without samples.
    """
    if predictions.shape[-1] == 1:
        wrong = ~(predictions * targets > 0).squeeze(-1)
    else:
        wrong = predictions.argmax(-1) != (targets.argmax(-1) if labels is None else labels)
    undefined = predictions.isnan().any(-1).any(-1)
    return wrong.to(predictions.dtype).mean(-1).masked_fill(undefined, float("nan"))
