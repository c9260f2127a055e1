"""Errors of draws that share samples: on whole test sets, and without each fold of their samples."""

import numpy as np
import xarray as xr

from ntk_atlas.cubes.predictors import predictor_values

LEFT_OUT = "left_out"
"""Dimension of a statistic computed from whole test sets (place 0) and without each fold (places 1 … K)."""
FOLD_SHARE, SHARED_TRAIN = "fold_share", "shared_train"


def errors_without_folds(cube: xr.Dataset, predictor: str, *, ridge: str = "tuned") -> xr.DataArray:
    """Test MSE of a predictor on whole test sets and without each fold of test samples.

    Args:
        cube: a cube.
        predictor: the predictor.
        ridge: of kernels.

    Returns:
        `test_mse_<predictor>` with the leading dimension `left_out`: 0 is the whole test set. Arithmetic keeps what
        `common_variance` needs: the coordinates `fold_share` (draw, left_out), the share of the left-out samples, and
        `shared_train`. Draws that share no sample, and cubes without folds, have the whole test set alone.
    """
    whole = predictor_values(cube, predictor, "test_mse", ridge=ridge)
    folds = f"test_mse_folds_{predictor}"
    if folds not in cube or not draws_overlap(cube):
        return _with_shared_train(whole, cube).expand_dims(LEFT_OUT)
    parts = predictor_values(cube, predictor, "test_mse_folds", ridge=ridge)
    return without_folds(whole, parts, cube)


def without_folds(whole: xr.DataArray, parts: xr.DataArray, cube: xr.Dataset) -> xr.DataArray:
    """A mean over test samples, on the whole test sets and without each fold.

    Args:
        whole: the mean over all test samples of a draw.
        parts: the mean over each fold (`test_fold`); NaN where a draw has no sample there.
        cube: has `test_fold_size` and `shared_train`.

    Returns:
        As `errors_without_folds`: (m e − m_g e_g)/(m − m_g).
    """
    size = cube["test_fold_size"].astype(float)
    share = size / size.sum("test_fold")
    left = (whole - share * parts.fillna(0.0)) / (1.0 - share)
    left = left.rename(test_fold=LEFT_OUT).assign_coords({LEFT_OUT: np.arange(1, size.sizes["test_fold"] + 1)})
    joined = xr.concat([whole.expand_dims({LEFT_OUT: [0]}), left], dim=LEFT_OUT, coords="minimal", compat="override")
    shares = np.concatenate([np.zeros_like(share.values[..., :1]), share.values], axis=-1)
    return _with_shared_train(joined.assign_coords({FOLD_SHARE: (_renamed(share.dims), shares)}), cube)


def draws_overlap(cube: xr.Dataset) -> bool:
    """Whether two draws can have a sample in common."""
    shared = [float(cube[name].max()) for name in ("shared_test", SHARED_TRAIN) if name in cube]
    return any(np.isfinite(value) and value > 0.0 for value in shared)


def fold_shares(values: xr.DataArray) -> np.ndarray | None:
    """Share of a draw's test samples in each left-out fold, `(n_draws, 1 + K)`; None of values without folds.

    Values of whole test sets that were picked from `errors_without_folds` have the coordinate, but no folds.
    """
    share = values.coords.get(FOLD_SHARE)
    if share is None or LEFT_OUT not in share.dims:
        return None
    share = share if "draw" in share.dims else share.expand_dims(draw=values.sizes["draw"])
    return share.transpose("draw", LEFT_OUT).values


def _with_shared_train(values: xr.DataArray, cube: xr.Dataset) -> xr.DataArray:
    if SHARED_TRAIN not in cube:
        return values
    shared = cube[SHARED_TRAIN]
    shared = shared if set(shared.dims) <= set(values.dims) else shared.max()
    return values.assign_coords({SHARED_TRAIN: shared.variable})


def _renamed(dims: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(LEFT_OUT if dim == "test_fold" else dim for dim in dims)
