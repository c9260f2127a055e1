"""Regressions as named arrays, the form in which units and files keep them."""

from collections.abc import Sequence

import numpy as np

from ntk_atlas.regression.regress import NestedRegression
from ntk_atlas.unit_store import Arrays

REGRESSION_FIELDS = (
    "test_mse", "test_error", "validation_mse", "diag_reg", "jitter",
    "lambda_min", "condition_number", "residual", "solve_status",
)  # fmt: skip
"""What is kept of a regression; the name in the cube is `<field>_<predictor>`."""


def regression_arrays(results: Sequence[NestedRegression]) -> Arrays:
    """Stacks regressions to `(n_results, 2, n_sizes)` arrays, one a field."""
    return {
        field: np.stack([getattr(result, "status" if field == "solve_status" else field) for result in results])
        for field in REGRESSION_FIELDS
    }
