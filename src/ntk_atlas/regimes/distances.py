"""Distances of networks from what NTK theory predicts, with their intervals over draws.

f is the trained network, ℓ the same network linearized at its initialization and trained alike, g₀ regression with its
own initial NTK, g∞ regression with the infinite NTK. The distance to a predictor g is

    d(f, g)² = Σ_seeds mean (f − g)² / Σ_seeds mean (g − y)²      (one number per draw),

means over test samples and outputs: 1 says that network and predictor differ by as much as the predictor errs.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from ntk_atlas.arrays import NOT_TRAINED, Status
from ntk_atlas.config.predictors import distance_predictors
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.files import (
    LEFT_OUT,
    SHARED_TRAIN,
    compared_ridge,
    errors_without_folds,
    fold_shares,
    without_folds,
)
from ntk_atlas.statistics.estimates import common_variance, pooled_spread
from ntk_atlas.statistics.intervals import finite_mean, t_quantile

CELL = ("depth", "width", "init_scale", "n_train")
ERROR_RATIO = "error_ratio"
_SMALLEST = 1e-16
"""Logarithms of squares are taken of no less: networks that are their predictor exactly are this far from it."""


def squared_distances(cube: xr.Dataset, settings: ExperimentSettings) -> xr.Dataset:
    """d(f, g)² of every network that was trained, for the predictors that an experiment has.

    Args:
        cube: the cube, with the distances of `cubes.distances`.
        settings: of the experiment.

    Returns:
        Of each of `DISTANCES` the mean square of f − g as `<name>` and of g − y as `<name>_scale`, and the mean
        squared errors of network and compared kernel (its own NTK; its linearization where there is none) as
        `error_ratio`, `error_ratio_scale`; over `left_out`, `CELL`, draw and seed. What the cube lacks is not there.
    """
    ridge, found = compared_ridge(settings), {}
    compared = {name: each for name, each in distance_predictors(settings).items() if name in cube}
    for name, predictor in compared.items():
        scale = errors_without_folds(cube, predictor, ridge=ridge)
        square = cube[name] ** 2 * scale.isel({LEFT_OUT: 0}, drop=True)
        if scale.sizes[LEFT_OUT] > 1:
            square = without_folds(square, cube[f"square_distance_folds_{name.removeprefix('distance_')}"], cube)
        else:
            square = square.expand_dims(LEFT_OUT)
        found[name], found[f"{name}_scale"] = _trained(cube, square), _trained(cube, scale.broadcast_like(square))
    kernel = compared.get("distance_own_ntk", compared.get("distance_linearized"))
    if kernel is not None:
        network = errors_without_folds(cube, "network")
        found[ERROR_RATIO] = _trained(cube, network)
        of_kernel = errors_without_folds(cube, kernel, ridge=ridge)
        found[f"{ERROR_RATIO}_scale"] = _trained(cube, of_kernel.broadcast_like(network))
    return xr.Dataset(found)


def shares(cube: xr.Dataset) -> xr.Dataset:
    """Shares of a cell's networks that diverged, and that ended above the training error asked."""
    status = cube["status"]
    there = ~status.isin(NOT_TRAINED)
    return xr.Dataset(
        {
            name: (status == int(flag)).where(there).mean(["draw", "seed"])
            for name, flag in (("diverged", Status.DIVERGED), ("unfinished", Status.BUDGET_SPENT))
        }
    )


@dataclass(frozen=True, eq=False)
class LogSpread:
    """Logarithms per replicate, (left_out, *cells, replicates), and what they say of their mean.

    Attributes:
        values: logarithms of one number per replicate, on whole test sets first.
        error: standard error of the mean for new data, `(*cells,)`.
        freedom: degrees of freedom of the errors, `(*cells,)`.
    """

    values: np.ndarray
    error: np.ndarray
    freedom: np.ndarray

    def ends(self, confidence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and ends of the t interval, `(*cells,)`; ends are infinite where there is no error."""
        mean = finite_mean(self.values[0])
        known = np.isfinite(self.error) & (self.freedom > 0.0)
        quantile = t_quantile(0.5 + 0.5 * confidence, np.where(known, self.freedom, 1.0))
        half = np.where(known, quantile * self.error, np.inf)
        return mean, np.where(np.isnan(mean), np.nan, mean - half), np.where(np.isnan(mean), np.nan, mean + half)


def ratio_interval(
    distances: xr.Dataset, name: str, *, confidence: float, uneven: float, root: bool = True
) -> xr.Dataset:
    """A ratio of mean squares in each cell, with its interval over draws for new data of this kind.

    Student's t of the logarithms of one ratio per draw. The spread is pooled over cells unless they spread unevenly.
    Cells share draws of the data, so the pooled variance is surer than one cell's but not as sure as C independent
    ones: its degrees of freedom are Satterthwaite's, (D − 1) (tr Σ)²/tr(Σ²), Σ the covariance of the cells' residuals.
    Of one draw, seeds are the replicates and the interval is over networks only.

    Args:
        distances: from `squared_distances`.
        name: of the numerator; the denominator is `<name>_scale`.
        confidence: coverage.
        uneven: p value of Brown and Forsythe's test below which cells have their own spread.
        root: whether the root of the ratio is returned: a distance.

    Returns:
        `value`, `low`, `high` over `CELL`; ends are 0 and infinite where there are too few replicates for an error.
    """
    spread = log_spread(distances[name], distances[f"{name}_scale"], uneven=uneven)
    power = 0.5 if root else 1.0
    dims = [dim for dim in CELL if dim in distances[name].dims]
    coords = {dim: distances[name][dim] for dim in dims}
    with np.errstate(over="ignore"):
        numbers = [np.exp(power * end) for end in spread.ends(confidence)]
    return xr.Dataset(
        {key: (dims, number) for key, number in zip(("value", "low", "high"), numbers, strict=True)}, coords=coords
    )


def log_spread(square: xr.DataArray, scale: xr.DataArray, *, uneven: float) -> LogSpread:
    """Logarithms of square/scale per replicate, and the standard errors of their means: see `ratio_interval`."""
    dims = [dim for dim in CELL if dim in square.dims]
    order, over = (LEFT_OUT, *dims, "draw", "seed"), square.sizes["draw"] > 1
    top, bottom = (array.transpose(*order).values.astype(np.float64) for array in (square, scale))
    bottom = np.where(np.isfinite(top), bottom, np.nan)
    if over:
        top, bottom = finite_mean(top), finite_mean(bottom)
    else:
        top, bottom = top[..., 0, :], bottom[..., 0, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.log(np.maximum(top, _SMALLEST * bottom) / bottom)
    cells = values[0].reshape(-1, values.shape[-1])
    n = np.isfinite(cells).sum(-1)
    variance, freedom = pooled_spread(cells, n, uneven)
    common = np.zeros(len(cells))
    if over:
        parts = values.reshape(len(values), *cells.shape)
        fold_share = fold_shares(square)
        trained_on = _shared_train(square, dims)
        common = np.array(
            [common_variance(parts[:, i], fold_share, trained_on[i]) if n[i] > 1 else 0.0 for i in range(len(cells))]
        )
    error = np.sqrt(variance / np.maximum(n, 1) + common)
    shape = values.shape[1:-1]
    return LogSpread(values, error.reshape(shape), freedom.reshape(shape))


def _shared_train(square: xr.DataArray, dims: list[str]) -> np.ndarray:
    """Expected share of training samples that two draws have in common, in each cell."""
    first = square.isel({LEFT_OUT: 0, "draw": 0, "seed": 0}, drop=True)
    share = first.coords.get(SHARED_TRAIN)
    if share is None:
        return np.zeros(first.size)
    shares: np.ndarray = xr.broadcast(share, first)[0].transpose(*dims).values.ravel()
    return shares


def _trained(cube: xr.Dataset, values: xr.DataArray) -> xr.DataArray:
    return values.where(~cube["status"].isin([int(Status.DIVERGED), *NOT_TRAINED]))
