"""What adding a layer does to the test error of each predictor."""

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.predictors import predictor_values


def compared_ridge(settings: ExperimentSettings) -> str:
    """The ridge of the kernels that networks are compared with: what theory says of how they were trained.

    Networks trained to the end interpolate as kernels do at ridge → 0; those stopped at the best validation error are
    compared with the ridge of the best validation error.
    """
    return "tuned" if settings.training.selection == "best_validation" else "zero"


def layer_changes(cube: xr.Dataset, predictor: str, *, ridge: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Δ_L = err(next depth) − err(L) of a predictor, and err(L), between neighbouring depths of the grid.

    Args:
        cube: a cube of two depths or more.
        predictor: the network or a kernel that depends on the depth.
        ridge: of the kernel.

    Returns:
        Changes and errors before, `depth` being that before.
    """
    values = predictor_values(cube, predictor, ridge=ridge)
    before, after = values.isel(depth=slice(None, -1)), values.isel(depth=slice(1, None))
    return after.assign_coords(depth=before["depth"]) - before, before


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation over the pairs that are finite; NaN of fewer than three."""
    there = np.isfinite(x) & np.isfinite(y)
    return float(spearmanr(x[there], y[there]).statistic) if there.sum() >= 3 else float("nan")
