"""The file of functions: what every predictor says on the test samples, and how far predictors are from each other."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from ntk_atlas.arrays import join
from ntk_atlas.config.predictors import predictor_names
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.dictionary.cube import FUNCTIONS, PAIRS, pair_name
from ntk_atlas.cubes.distances import PREDICTIONS, SQUARE_FOLDS, mean_squares
from ntk_atlas.cubes.experiment_files import ExperimentFiles, coordinates, grid_labels
from ntk_atlas.cubes.netcdf import described, to_xarray
from ntk_atlas.datasets.draws import Draw
from ntk_atlas.folds import N_FOLDS, fold_sizes

log = logging.getLogger(__name__)
_MAX_FEATURES = 3
"""Inputs of so few features are kept: functions of them can be drawn."""


def assemble_functions(
    experiment: ExperimentSettings,
    files: ExperimentFiles,
    *,
    draws: Sequence[Draw],
    provenance: Mapping[str, str],
) -> xr.Dataset:
    """Joins the predictions of an experiment, from the files that its cube is joined from.

    Args:
        experiment: its settings; they are stored as JSON text.
        files: what the jobs of the experiment wrote.
        draws: the data.
        provenance: attributes that say where the numbers come from.

    Returns:
        `test_predictions_<predictor>`, `distance_<first>_<second>` (root mean square over test samples and outputs of
        f − g), `square_distance_folds_<first>_<second>` (its square over the test samples of each fold), targets of the
        test samples; of data with up to three features the inputs too, and the largest training set.
    """
    grid, pieces, data = experiment.grid, [], provenance.get("data_digest")
    names = {"networks": "network", "linearized": "linearized", "empirical": "", "infinite": "", "rivals": ""}
    for kind, predictor in names.items():
        for piece in files.read(kind, experiment, data):
            kept = piece.only([name for name in piece.variables if name.startswith(PREDICTIONS)])
            pieces.append(kept.renamed({PREDICTIONS: f"{PREDICTIONS}_{predictor}"}))
    functions = to_xarray(join(pieces, grid_labels(grid)))
    predictors = ["network", *predictor_names(experiment.regression.predictors)]
    functions = functions.assign_coords(coordinates(experiment, FUNCTIONS.coordinates, predictor=predictors))
    functions["y_test"] = ("draw", "test_sample", "output"), np.stack([draw.y_test for draw in draws])
    x_test = np.stack([draw.x_test.reshape(len(draw.x_test), -1) for draw in draws])
    if x_test.shape[2] <= _MAX_FEATURES:
        functions["x_test"] = ("draw", "test_sample", "feature"), x_test
        x_train, y_train = zip(*[draw.training_set(max(grid.n_train)) for draw in draws], strict=True)
        functions["x_train"] = (
            ("draw", "train_sample", "feature"),
            np.stack(x_train).reshape(*np.shape(x_train)[:2], -1),
        )
        functions["y_train"] = ("draw", "train_sample", "output"), np.stack(y_train)
    functions = with_distances(functions, np.stack([draw.test_folds for draw in draws]))
    log.info("functions of %s", ", ".join(str(name) for name in functions.data_vars))
    return described(functions, FUNCTIONS, {"config": experiment.canonical_json(), **provenance})


def with_distances(functions: xr.Dataset, test_folds: np.ndarray) -> xr.Dataset:
    """Adds the distances between predictors as functions, for those of the compared pairs that are there.

    Args:
        functions: predictions by name.
        test_folds: fold of each test sample, `(n_draws, n_test)`.

    Returns:
        The same with `distance_<first>_<second>`, the root mean square over test samples and outputs of f − g, over
        every dimension of f or g but samples and outputs; `square_distance_folds_<first>_<second>`, the mean square
        over the test samples of each fold; and `test_fold_size`.
    """
    functions = functions.assign_coords(test_fold=np.arange(N_FOLDS))
    functions["test_fold_size"] = ("draw", "test_fold"), np.stack([fold_sizes(folds) for folds in test_folds])
    for pair in PAIRS:
        f, g = (functions.get(f"{PREDICTIONS}_{name}") for name in pair)
        if f is None or g is None:
            continue
        whole, folds = mean_squares(f, g, test_folds)
        functions[f"distance_{pair_name(*pair)}"] = np.sqrt(whole)
        functions[f"{SQUARE_FOLDS}{pair_name(*pair)}"] = folds
    return functions
