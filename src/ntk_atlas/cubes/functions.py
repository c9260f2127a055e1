"""The file of functions: what every predictor says on the test samples, and how far predictors are from each other."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.assemble import join_scales, on_grid
from ntk_atlas.cubes.functions_schema import FUNCTION_COORDINATES, describe_functions
from ntk_atlas.cubes.gap import PAIRS, pair_name
from ntk_atlas.cubes.netcdf import read_netcdf, read_rows
from ntk_atlas.datasets.draws import Draw
from ntk_atlas.study.cells import Row

log = logging.getLogger(__name__)
PREDICTIONS = "test_predictions"
_MAX_FEATURES = 3
"""Inputs of so few features are kept: functions of them can be drawn."""


def assemble_functions(
    experiment: ExperimentSettings,
    *,
    network_rows: Mapping[Row, Path],
    linearized_rows: Mapping[Row, Path],
    empirical_predictions: Mapping[Row, Path],
    infinite_predictions: Mapping[float, Path],
    rival_predictions: Sequence[Path],
    draws: Sequence[Draw],
    provenance: Mapping[str, str],
) -> xr.Dataset:
    """Joins the predictions of an experiment, from the files that its cube is joined from.

    Args:
        experiment: its settings; they are stored as JSON text.
        network_rows: file of each row of networks.
        linearized_rows: file of each row of linearized networks.
        empirical_predictions: file of each row's empirical kernels.
        infinite_predictions: file of the infinite kernels at each init_scale.
        rival_predictions: files of the rivals.
        draws: the data.
        provenance: attributes that say where the numbers come from.

    Returns:
        `test_predictions_<predictor>`, `distance_<first>_<second>`, targets, and inputs of up to three features.
    """
    grid = experiment.grid
    place = {
        Row(d, w, (s,)): (i, j, k)
        for i, d in enumerate(grid.depth)
        for j, w in enumerate(grid.width)
        for k, s in enumerate(grid.init_scale)
    }
    functions = xr.Dataset(coords=_coordinates(experiment))
    sizes = (len(grid.depth), len(grid.width), len(grid.init_scale))
    pieces: dict[str, dict[tuple[int, ...], xr.DataArray]] = {}
    for files, own_name in ((network_rows, "network"), (linearized_rows, "linearized"), (empirical_predictions, "")):
        for row, dataset in read_rows(files):
            found = dataset[[name for name in dataset.data_vars if str(name).startswith(PREDICTIONS)]]
            for name, values in found.rename({PREDICTIONS: f"{PREDICTIONS}_{own_name}"} if own_name else {}).items():
                pieces.setdefault(str(name), {})[place[row]] = values
    for name, values in pieces.items():
        functions[name] = on_grid(values, sizes)
    scales = {scale: _kept(read_netcdf(file)) for scale, file in infinite_predictions.items()}
    if scales:
        functions = functions.merge(join_scales(scales, grid.init_scale))
    for file in rival_predictions:
        functions = functions.merge(_kept(read_netcdf(file)).drop_attrs(deep=False))
    functions["y_test"] = ("draw", "test_sample", "output"), np.stack([draw.y_test for draw in draws])
    x_test = np.stack([draw.x_test.reshape(len(draw.x_test), -1) for draw in draws])
    if x_test.shape[2] <= _MAX_FEATURES:
        functions["x_test"] = ("draw", "test_sample", "feature"), x_test
    for pair in PAIRS:
        distance = function_distance(functions, *pair)
        if distance is not None:
            functions[f"distance_{pair_name(*pair)}"] = distance
    functions.attrs = {
        "title": "NTK Atlas: predictions on test samples, and distances between predictors as functions",
        "Conventions": "CF-1.11",
        "config": experiment.canonical_json(),
        **provenance,
    }
    log.info("functions of %s", ", ".join(str(name) for name in functions.data_vars))
    return describe_functions(functions)


def function_distance(functions: xr.Dataset, first: str, second: str) -> xr.DataArray | None:
    """Root mean square over test samples and outputs of f − g; None where one of the two is not there.

    Args:
        functions: predictions by name.
        first: name of f.
        second: name of g.

    Returns:
        The distance, over every dimension of f or g but samples and outputs.
    """
    f, g = (functions.get(f"{PREDICTIONS}_{name}") for name in (first, second))
    if f is None or g is None:
        return None
    squares = (f.astype(np.float64) - g) ** 2
    distance = np.sqrt(squares.mean(["test_sample", "output"], skipna=False))
    order = [dim for dim in FUNCTION_COORDINATES if dim in distance.dims]
    return distance.transpose(*order)


def _kept(dataset: xr.Dataset) -> xr.Dataset:
    return dataset[[name for name in dataset.data_vars if str(name).startswith(PREDICTIONS)]]


def _coordinates(experiment: ExperimentSettings) -> dict:
    grid = experiment.grid
    return {
        "depth": np.array(grid.depth),
        "width": np.array(grid.width),
        "init_scale": np.array(grid.init_scale),
        "n_train": np.array(grid.n_train),
        "draw": np.arange(grid.draws),
        "seed": np.arange(grid.seeds),
        "predictor": ["network", *experiment.regression.predictors],
    }
