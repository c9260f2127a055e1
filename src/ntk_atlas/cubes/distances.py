"""How far trained networks are, as functions on the test samples, from what NTK theory predicts for them.

f is a trained network at its selected checkpoint, g a predictor of the theory, e_g its root mean square error:

    d(f, g) = RMS(f − g)/e_g       (one number per network; means over test samples and outputs).

Regression is at ridge → 0, or at the ridge that validates best for networks stopped at their best validation error.
Where the initial output f₀ is left in the network, its own kernel predicts around f₀, g₀ = f₀ + K₀ K₀⁻¹ (y − f₀(X)),
and the infinite NTK, whose networks have no initial output, is compared with f less what f₀ leaves of itself,
f₀(x) − K₀(x, X) K₀⁻¹ f₀(X) = g₀ − K₀ K₀⁻¹ y.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from ntk_atlas.arrays import LabelledArrays, join
from ntk_atlas.config.predictors import AROUND, distance_predictors
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.experiment_files import ExperimentFiles, grid_labels
from ntk_atlas.cubes.files import compared_ridge, from_xarray, to_xarray
from ntk_atlas.cubes.variables import CELL
from ntk_atlas.folds import fold_means
from ntk_atlas.jobs.parts.slice import Row

PREDICTIONS = "test_predictions"
"""Outputs on the test samples: of networks and linearized ones alone, `test_predictions_<predictor>` of kernels."""
SQUARE, SQUARE_FOLDS = "square_distance_", "square_distance_folds_"
_LABELS = (*CELL, "ridge")


def mean_squares(f: xr.DataArray, g: xr.DataArray, test_folds: np.ndarray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean squares of f − g over outputs and test samples, and over the test samples of each fold.

    Args:
        f: outputs over `test_sample`, `output`, `draw` and whatever else.
        g: outputs of the other.
        test_folds: fold of each test sample, `(n_draws, n_test)`.

    Returns:
        Two arrays over every dimension of f or g but samples and outputs, the second over `test_fold` too.
    """
    squares = ((f.astype(np.float64) - g) ** 2).mean("output", skipna=False)
    squares = squares.transpose(*[dim for dim in (*CELL, "ridge") if dim in squares.dims], "test_sample")
    axis, dims = squares.dims.index("draw"), (*squares.dims[:-1], "test_fold")
    by_draw = [fold_means(squares.isel(draw=d).values, folds) for d, folds in enumerate(test_folds)]
    return squares.mean("test_sample", skipna=False), xr.DataArray(
        np.stack(by_draw, axis), squares[..., 0].coords, dims
    )


def squares_of_rows(
    experiment: ExperimentSettings, files: ExperimentFiles, data_digest: str | None, test_folds: np.ndarray
) -> Iterator[LabelledArrays]:
    """Mean squares of f − g of every network, a row of networks at a time: predictions of one row are held at once.

    Args:
        experiment: its settings.
        files: what the jobs of the experiment wrote.
        data_digest: of the data; None if it is not known.
        test_folds: fold of each test sample, `(n_draws, n_test)`.

    Yields:
        `square_distance_<name>` and `square_distance_folds_<name>` of the distances that the experiment
        has, over the networks of the row.
    """
    compared, ridge = distance_predictors(experiment), compared_ridge(experiment)
    if not compared:
        return
    infinite = None
    if "distance_infinite_ntk" in compared:
        names = (*_LABELS, f"{PREDICTIONS}_{compared['distance_infinite_ntk']}")
        pieces = list(files.read("infinite", experiment, data_digest, only=names))
        infinite = _at_ridge(to_xarray(join(pieces, grid_labels(experiment.grid)))[names[-1]], ridge)
    for row in files.networks:
        found = {
            kind: _predictions(files, kind, experiment, data_digest, row, ridge)
            for kind in ("networks", "linearized", "empirical")
        }
        if PREDICTIONS not in found["networks"]:
            continue  # no network of the row is finished
        f, squares = found["networks"][PREDICTIONS], dict[str, xr.DataArray]()
        for name, (what, g) in _pairs(compared, f, found, infinite).items():
            whole, folds = mean_squares(what, g, test_folds)
            stem = name.removeprefix("distance_")
            squares |= {f"{SQUARE}{stem}": whole, f"{SQUARE_FOLDS}{stem}": folds}
        if squares:
            yield from_xarray(xr.Dataset(squares).drop_vars("ridge", errors="ignore"))


def _pairs(
    compared: Mapping[str, str], f: xr.DataArray, found: Mapping[str, xr.Dataset], infinite: xr.DataArray | None
) -> dict[str, tuple[xr.DataArray, xr.DataArray]]:
    """What is compared with what, by the name of the distance; missing predictions are left out."""
    pairs, own = {}, found["empirical"]
    if "distance_linearized" in compared and PREDICTIONS in found["linearized"]:
        pairs["distance_linearized"] = f, found["linearized"][PREDICTIONS]
    around = own.get(f"{PREDICTIONS}_{compared.get('distance_own_ntk')}")
    if around is not None:
        pairs["distance_own_ntk"] = f, around
    if infinite is not None:
        left = f
        if compared.get("distance_own_ntk", "").endswith(AROUND):
            zero = own.get(f"{PREDICTIONS}_ntk_init")
            if around is None or zero is None:
                return pairs
            left = f - (around.astype(np.float64) - zero)
        at = {dim: left[dim] for dim in infinite.dims if dim in CELL and dim in left.coords}
        pairs["distance_infinite_ntk"] = left, infinite.sel(at)
    return pairs


def _predictions(
    files: ExperimentFiles, kind: str, experiment: ExperimentSettings, data_digest: str | None, row: Row, ridge: str
) -> xr.Dataset:
    """The predictions of one row's file of a kind; empty if it has none."""
    own = f"{PREDICTIONS}_ntk_init"
    names = (*_LABELS, PREDICTIONS) if kind != "empirical" else (*_LABELS, own, own + AROUND)
    for piece in files.read(kind, experiment, data_digest, only=names, of=row):
        contents = to_xarray(piece.only(names))
        return contents.sel(ridge=ridge, drop=True) if "ridge" in contents.dims else contents
    return xr.Dataset()


def _at_ridge(values: xr.DataArray, ridge: str) -> xr.DataArray:
    return values.sel(ridge=ridge, drop=True) if "ridge" in values.dims else values


def with_distances(cube: xr.Dataset, experiment: ExperimentSettings) -> xr.Dataset:
    """The cube with its distances and error ratios, of the mean squares of `squares_of_rows`.

    Args:
        cube: has `test_mse_<predictor>` and the `square_distance_*`; the latter are left out.
        experiment: its settings.

    Returns:
        The cube with `distance_<name>` = √(mean square of f − g)/e_g and `error_ratio_<name>` = MSE(f)/MSE(g) over
        `CELL`; `square_distance_folds_<name>` stay.
    """
    ridge = compared_ridge(experiment)
    for name, predictor in distance_predictors(experiment).items():
        stem = name.removeprefix("distance_")
        square, error = cube.get(f"{SQUARE}{stem}"), cube.get(f"test_mse_{predictor}")
        if square is None or error is None:
            continue
        error = _at_ridge(error, ridge)
        with np.errstate(divide="ignore", invalid="ignore"):
            cube[name] = ((square / error) ** 0.5).transpose(*CELL)
            cube[f"error_ratio_{stem}"] = (cube["test_mse_network"] / error).transpose(*CELL)
        cube = cube.drop_vars(f"{SQUARE}{stem}")
    return cube
