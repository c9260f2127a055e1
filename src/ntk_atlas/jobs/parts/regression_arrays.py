"""What regressions take of a draw, and regressions as labelled arrays, the form in which units and files keep them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.arrays import LabelledArrays
from ntk_atlas.datasets.draws import Draw
from ntk_atlas.jobs.parts.row_networks import as_tensor
from ntk_atlas.regression.regress import NestedRegression

_FIELDS = {
    **dict.fromkeys(("test_mse", "test_error", "validation_mse", "diag_reg", "jitter", "lambda_min"), ()),
    **dict.fromkeys(("condition_number", "residual", "status", "length_scale"), ()),
    "test_mse_folds": ("test_fold",),
    "test_predictions": ("test_sample", "output"),
}
"""What is kept of a regression where it is there, with its dimensions beside ridge and n_train."""


def regression_targets(draw: Draw, n_train: int) -> dict[str, Tensor | np.ndarray | None]:
    """The targets of a draw by the names of `regress_nested`'s arguments, float64."""
    return {
        "y_train": as_tensor(draw.training_set(n_train)[1]),
        "y_validation": as_tensor(draw.y_validation),
        "y_test": as_tensor(draw.y_test),
        "test_labels": None if draw.labels_test is None else torch.as_tensor(draw.labels_test),
        "test_folds": draw.test_folds,
    }


def regression_arrays(
    results: Sequence[NestedRegression], predictor: str, sizes: Sequence[int], **over: Sequence
) -> LabelledArrays:
    """Regressions as `<field>_<predictor>`, the names of the cube.

    Args:
        results: regressions at all sizes.
        predictor: what predicts.
        sizes: the n_train of each regression.
        **over: the dimension along which the results lie, and its labels: `seed=(0, 1)`.

    Returns:
        Arrays over (that dimension, ridge, n_train) and what the field has besides.
    """
    (dim,) = over
    fields = [field for field in _FIELDS if getattr(results[0], field, None) is not None]
    named = {"status": "solve_status"}
    variables = {
        f"{named.get(field, field)}_{predictor}": (
            (dim, "ridge", "n_train", *_FIELDS[field]),
            np.stack([getattr(result, field) for result in results]),
        )
        for field in fields
    }
    return LabelledArrays.of(variables, **over, ridge=NestedRegression.RIDGE_POLICIES, n_train=sizes)
