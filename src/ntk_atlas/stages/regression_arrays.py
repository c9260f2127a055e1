"""What regressions take of a draw, and regressions as named arrays, the form in which units and files keep them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ntk_atlas.config.regression import SolveSettings
from ntk_atlas.datasets.draws import Draw
from ntk_atlas.regression.regress import NestedRegression
from ntk_atlas.stages.row_networks import as_tensor
from ntk_atlas.unit_store import Arrays

TEST_FOLDS = "test_mse_folds"
"""The field that has an axis more: folds of the test samples."""
REGRESSION_FIELDS = (
    "test_mse", "test_error", "validation_mse", "diag_reg", "jitter",
    "lambda_min", "condition_number", "residual", "solve_status", TEST_FOLDS,
)  # fmt: skip
"""What is kept of a regression; the name in the cube is `<field>_<predictor>`."""


TEST_PREDICTIONS = "test_predictions"
"""The field that is there only where predictions are kept."""


def regression_targets(draw: Draw, n_train: int) -> dict[str, Tensor | np.ndarray | None]:
    """The targets of a draw by the names of `regress_nested`'s arguments, float64."""
    return {
        "y_train": as_tensor(draw.training_set(n_train)[1]),
        "y_validation": as_tensor(draw.y_validation),
        "y_test": as_tensor(draw.y_test),
        "test_labels": None if draw.labels_test is None else torch.as_tensor(draw.labels_test),
        "test_folds": draw.test_folds,
    }


def kept_fields(settings: SolveSettings) -> tuple[str, ...]:
    """The fields of a regression with these settings."""
    return (*REGRESSION_FIELDS, *((TEST_PREDICTIONS,) if settings.keep_predictions else ()))


def regression_arrays(results: Sequence[NestedRegression]) -> Arrays:
    """Stacks regressions to `(n_results, 2, n_sizes)` arrays, one a field; folds have an axis more, predictions two."""
    fields = (*REGRESSION_FIELDS, *((TEST_PREDICTIONS,) if results[0].test_predictions is not None else ()))
    return {
        field: np.stack([getattr(result, "status" if field == "solve_status" else field) for result in results])
        for field in fields
    }
