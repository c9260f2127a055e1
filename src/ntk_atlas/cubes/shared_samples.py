"""What draws of one finite data set have in common: the part of an estimate's variance that does not average out.

Draws that are permutations of N samples share samples. A sample that is easy to predict lowers the error of every draw
in which it is a test sample, so the mean over D draws varies between data sets by more than S²/D (for repeated splits:
Nadeau & Bengio, Mach. Learn. 52, 2003):

    Var(mean) = S²/D + common,   common = covariance of two draws.

Test samples' part of `common` is measured. Every sample of the data set belongs to one of K folds, the same in every
draw. With u_dg the influence of fold g on the statistic of draw d (linearized: what leaving the fold out changes),

    common_test = K/(K − 1) Σ_g mean over pairs d ≠ d' of u_dg u_d'g,

which is unbiased to first order: influences of different samples are uncorrelated, and those of the same sample in two
draws have its own effect in common. Training samples' part is taken as a tenth of its bound S² n_train/N where the
statistic is one of test errors (`_TRAINING_SHARE`), and as the bound itself for statistics without folds. How often the
intervals cover the truth in simulated populations: `tests/theory/test_new_data_coverage.py`.
"""

import numpy as np
import xarray as xr

from ntk_atlas.cubes.predictors import predictor_values
from ntk_atlas.scaling_laws.intervals import t_critical

LEFT_OUT = "left_out"
"""Dimension of a statistic computed from whole test sets (place 0) and without each fold (places 1 … K)."""
FOLD_SHARE, SHARED_TRAIN = "fold_share", "shared_train"
_TRAINING_SHARE = 0.1
"""First-order part of the training samples in what the variance between draws leaves; simulated: 0 to .3 for ratios of
errors, 0 to .6 for single errors."""


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


def common_variance(
    values: np.ndarray,
    fold_share: np.ndarray | None,
    shared_train: float,
    *,
    noise: float = 0.0,
) -> float:
    """Covariance of a statistic of two draws, from the samples that they share.

    Args:
        values: the statistic per draw, from the whole test set and without each fold, `(1 + K, n_draws)`; without
            folds `(1, n_draws)`.
        fold_share: share of a draw's test samples in each fold, `(n_draws, 1 + K)`, zero first; None without folds.
        shared_train: expected share of a draw's training samples that another draw has too.
        noise: part of the variance between draws that is known to be of networks, not of samples.

    Returns:
        The variance that all draws share, at least 0; 0 for fewer than two draws.
    """
    values = np.asarray(values, dtype=np.float64)
    usable = np.isfinite(values).all(0)
    whole, left = values[0, usable], values[1:, usable]
    n_draws = len(whole)
    if n_draws < 2:
        return 0.0
    training = shared_train if np.isfinite(shared_train) else 0.0
    between = max(float(whole.var(ddof=1)) - noise, 0.0)
    if fold_share is None:
        return between * training / (1.0 - training) if training < 1.0 else float("nan")
    influence = (whole - left) * (1.0 - np.asarray(fold_share)[usable, 1:].T)
    pairs = (influence.sum(1) ** 2 - (influence**2).sum(1)).sum() / (n_draws * (n_draws - 1))
    n_folds = len(influence)
    return max(float(pairs) * n_folds / (n_folds - 1), 0.0) + _TRAINING_SHARE * training * between


def fold_shares(values: xr.DataArray) -> np.ndarray | None:
    """Share of a draw's test samples in each left-out fold, `(n_draws, 1 + K)`; None of values without folds.

    Values of whole test sets that were picked from `errors_without_folds` have the coordinate, but no folds.
    """
    share = values.coords.get(FOLD_SHARE)
    if share is None or LEFT_OUT not in share.dims:
        return None
    share = share if "draw" in share.dims else share.expand_dims(draw=values.sizes["draw"])
    return share.transpose("draw", LEFT_OUT).values


def for_new_data(
    interval: tuple[float, float, float], common: float, n_draws: int, confidence: float
) -> tuple[float, float]:
    """Ends of a t interval over draws after the variance that draws share is added to its own.

    Args:
        interval: value, low and high end for this data set.
        common: variance that draws share.
        n_draws: draws of the interval.
        confidence: its coverage.

    Returns:
        value ∓ √((value − end)² + t²_{D−1} common).
    """
    value, low, high = interval
    extra = float(t_critical(n_draws, confidence)) ** 2 * common
    return value - float(np.hypot(value - low, extra**0.5)), value + float(np.hypot(high - value, extra**0.5))


def _with_shared_train(values: xr.DataArray, cube: xr.Dataset) -> xr.DataArray:
    if SHARED_TRAIN not in cube:
        return values
    shared = cube[SHARED_TRAIN]
    shared = shared if set(shared.dims) <= set(values.dims) else shared.max()
    return values.assign_coords({SHARED_TRAIN: shared.variable})


def _renamed(dims: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(LEFT_OUT if dim == "test_fold" else dim for dim in dims)
