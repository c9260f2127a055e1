"""Trained networks as replicates: draws, paired where cells are compared; diverged networks left out."""

import numpy as np
import xarray as xr

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.reading import LEFT_OUT, SHARED_TRAIN, fold_shares
from ntk_atlas.statistics.draws import common_variance
from ntk_atlas.statistics.estimates import SMALLEST, Estimate, MedianEstimate, from_replicates, median_of
from ntk_atlas.statistics.student import finite_mean
from ntk_atlas.status import NOT_TRAINED, Status

ONE_DRAW = "one draw: the interval is over networks only, of one split of the data"


def at_largest_n(cube: xr.Dataset) -> xr.Dataset:
    """The cube at its largest training set; what two draws share there is a coordinate of everything in it."""
    cube = cube.isel(n_train=int(cube["n_train"].values.argmax())) if "n_train" in cube.dims else cube
    return cube.set_coords(SHARED_TRAIN) if SHARED_TRAIN in cube else cube


def trained(cube: xr.Dataset, values: xr.DataArray) -> xr.DataArray:
    """The values of networks that were trained to the end; others are NaN."""
    return values.where(~cube["status"].isin([int(Status.DIVERGED), *NOT_TRAINED]))


def final_values(cube: xr.Dataset, name: str) -> xr.DataArray:
    """A measure along training at the last checkpoint that each network has, those trained to the end only."""
    values = trained(cube, cube[name]).transpose(..., "epoch")
    last = values.notnull().cumsum("epoch").argmax("epoch")
    return values.isel(epoch=last).drop_vars("epoch", errors="ignore")


def replicates(values: xr.DataArray) -> np.ndarray:
    """One number a replicate of a cell with dimensions (draw, seed).

    A draw has data and networks of its own: its replicate is the mean of its seeds. With one draw, seeds are the
    replicates, and an interval of theirs is over networks only.
    """
    array = values.transpose("draw", "seed").values.astype(np.float64)
    return finite_mean(array) if len(array) > 1 else array[0]


def cell_estimate(values: xr.DataArray, *, logarithmic: bool = False) -> Estimate:
    """Mean over the replicates of a cell, with the variance that draws share.

    Args:
        values: a statistic over (draw, seed); over `left_out` too where it is made of `errors_without_folds`, and then
            with their coordinates.
        logarithmic: of the logarithms, so that the mean is the geometric one; for positive measures.

    Returns:
        The estimate.
    """
    values = values if LEFT_OUT in values.dims else values.expand_dims(LEFT_OUT)
    array = values.transpose(LEFT_OUT, "draw", "seed").values.astype(np.float64)
    array = np.log(array.clip(min=SMALLEST)) if logarithmic else array
    if array.shape[1] == 1:
        plain, common = from_replicates(array[0, 0]), 0.0
    else:
        means = finite_mean(array)
        common = common_variance(
            means, fold_shares(values), float(values.coords.get(SHARED_TRAIN, 0.0)), noise=_noise_of_seeds(array[0])
        )
        plain = from_replicates(means[0])
    return Estimate(
        plain.value, plain.error_low, plain.error_high, plain.n, plain.freedom, logarithmic=logarithmic, common=common
    )


def _noise_of_seeds(values: np.ndarray) -> float:
    """Variance of a draw's mean that its seeds alone make, (n_draws, n_seeds); 0 if each draw has a single one."""
    enough = values[np.isfinite(values).sum(-1) >= 2]
    return float(np.mean([np.nanvar(row, ddof=1) / np.isfinite(row).sum() for row in enough])) if len(enough) else 0.0


def ratio_estimate(values: xr.DataArray, reference: xr.DataArray) -> Estimate:
    """Geometric mean of values/reference, paired: the same draw and seed start from the same random numbers."""
    return cell_estimate(values.clip(min=SMALLEST) / reference.clip(min=SMALLEST), logarithmic=True)


def cell_median(values: xr.DataArray, *, logarithmic: bool = False) -> MedianEstimate:
    """The median over the replicates of a cell (draw, seed): a draw's is that of its seeds.

    With one draw, seeds are the replicates, and the interval is over networks only.
    """
    array = values.transpose("draw", "seed").values.astype(np.float64)
    if len(array) == 1:
        return median_of(array[0], logarithmic=logarithmic)
    finite = np.isfinite(array).any(1)
    medians = np.full(len(array), np.nan)
    medians[finite] = np.nanmedian(array[finite], axis=1)
    common = cell_estimate(values, logarithmic=logarithmic).common
    return median_of(medians, logarithmic=logarithmic, common=common)


def ratio_median(values: xr.DataArray, reference: xr.DataArray) -> MedianEstimate:
    """Median of values/reference, paired: the same draw and seed start from the same random numbers."""
    return cell_median(values.clip(min=SMALLEST) / reference.clip(min=SMALLEST), logarithmic=True)


def replicate_remark(cube: xr.Dataset) -> str:
    """What to say of intervals over a single draw; empty otherwise."""
    return ONE_DRAW if cube.sizes["draw"] == 1 else ""


def unfinished_remark(cube: xr.Dataset, settings: ExperimentSettings) -> str:
    """How many networks that should have been trained to the end were not; empty if none, or if they stop early."""
    above = int((cube["status"] == int(Status.BUDGET_SPENT)).sum())
    if not above or settings.training.selection != "final":
        return ""
    asked = settings.training.target_mse
    return f"{above} of {cube['status'].size} networks ended above the training MSE of {asked:g}"


def diverged_share(cube: xr.Dataset, place: dict[str, int]) -> float:
    """Share of diverged networks in a cell."""
    return float((cube["status"].isel(place) == int(Status.DIVERGED)).mean())
