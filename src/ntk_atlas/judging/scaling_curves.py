"""Learning curves as evidence: errors and their ratios, one number per replicate, paired between predictors."""

import numpy as np
import xarray as xr

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.reading import SHARED_TRAIN, errors_without_folds, predictor_values
from ntk_atlas.judging.evidence import Evidence, need
from ntk_atlas.judging.networks import cell_estimate
from ntk_atlas.statistics.estimates import Estimate
from ntk_atlas.status import Status

Cell = dict[str, int]


def need_curves(evidence: Evidence, *predictors: str) -> None:
    """Checks that an experiment has the curves of the network and these predictors.

    Raises:
        NotJudgedError: `not run`, naming the first that is missing.
    """
    need(evidence.cube, "test_mse_network", *(f"test_mse_{name}" for name in predictors))


def fitted_sizes(evidence: Evidence, least: int = 0) -> np.ndarray:
    """The n_train that laws are fitted to: those that the fit range rule, set beforehand, leaves from `least` on."""
    sizes = evidence.cube["n_train"].values
    return sizes[sizes >= max(evidence.settings.scaling.n_train_min, least)]


def cells(cube: xr.Dataset) -> list[Cell]:
    """All (depth, width, init_scale) of a cube."""
    dims = ("depth", "width", "init_scale")
    return [dict(zip(dims, place, strict=True)) for place in np.ndindex(*(cube.sizes[dim] for dim in dims))]


def curve(cube: xr.Dataset, predictor: str, cell: Cell, settings: ExperimentSettings, field: str) -> xr.DataArray:
    """One error of one predictor in one cell over (draw, seed, n_train); a kernel without seeds has one.

    Args:
        cube: the cube.
        predictor: the predictor.
        cell: the cell.
        settings: the experiment's; they name the ridge of kernels.
        field: `test_mse` or `test_error`.

    Returns:
        The errors; those of diverged networks and singular kernels are NaN.
    """
    values = predictor_values(cube, predictor, field, ridge=settings.scaling.ridge)
    values = values.isel({dim: place for dim, place in cell.items() if dim in values.dims})
    values = values if "seed" in values.dims else values.expand_dims("seed")
    return values.transpose("draw", "seed", "n_train")


def error_ratio(evidence: Evidence, above: str, below: str, cell: Cell, n_train: int) -> xr.DataArray:
    """Ratio of the test MSEs of two predictors at one n_train over (left_out, draw, seed), see `shared_samples`."""
    ratio = quotient(*(_errors_at(evidence, name, cell, n_train) for name in (above, below)))
    return ratio if "seed" in ratio.dims else ratio.expand_dims("seed")


def quotient(above: xr.DataArray, below: xr.DataArray) -> xr.DataArray:
    """above/below, at one n_train or two; draws share what they do where they share more.

    Arithmetic would drop the coordinate where the two differ, and with it what training samples make draws share.
    """
    shares = [float(values.coords[SHARED_TRAIN]) for values in (above, below) if SHARED_TRAIN in values.coords]
    ratio = above / below
    return ratio.assign_coords({SHARED_TRAIN: max(shares)}) if shares else ratio


def mean_estimate(ratio: xr.DataArray) -> Estimate:
    """Geometric mean of ratios over draws, with what draws share."""
    return cell_estimate(ratio, logarithmic=True)


def variables_of(*kernels: str) -> list[str]:
    """The test errors of the network and of kernels."""
    return ["test_mse_network", *(f"test_mse_{name}" for name in kernels)]


def _errors_at(evidence: Evidence, predictor: str, cell: Cell, n_train: int) -> xr.DataArray:
    errors = errors_without_folds(evidence.cube, predictor, ridge=evidence.settings.scaling.ridge)
    place = {dim: i for dim, i in cell.items() if dim in errors.dims}
    errors = errors.isel(place).sel(n_train=n_train)  # its `drop` would take what draws share along
    return errors.drop_vars("n_train").clip(min=1e-12)


def above_target(status: xr.DataArray) -> tuple[int, int]:
    """How many networks ended above the training error that they should reach, or diverged, and of how many."""
    codes = status.values
    missed = np.isin(codes, [int(Status.BUDGET_SPENT), int(Status.DIVERGED)])
    return int(missed.sum()), int((codes != int(Status.MISSING)).sum())


def above_target_by_size(status: xr.DataArray) -> dict[int, tuple[int, int]]:
    """The same at each n_train."""
    return {int(n): above_target(status.isel(n_train=place)) for place, n in enumerate(status["n_train"].values)}


def target_text(evidence: Evidence) -> str:
    """Flags networks that did not reach the stated training error, by n_train, in words; empty if all did."""
    counts = above_target_by_size(evidence.cube["status"])
    parts = [f"{missed} of {total} at n = {n}" for n, (missed, total) in counts.items() if missed]
    target = evidence.settings.training.target_mse
    return f"above training MSE {target:g}: {', '.join(parts)}" if parts else ""
