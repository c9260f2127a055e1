"""Joins rows and predictions into the cube of an experiment, by position on the configured grid."""

import logging
import math
from collections.abc import Mapping

import numpy as np
import xarray as xr

from ntk_atlas.config.predictors import AROUND, EPOCHS, curve_names, predictor_names, stand_ins
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.cubes.experiment_files import ExperimentFiles, row_check
from ntk_atlas.cubes.failures import check_failures
from ntk_atlas.cubes.gap import gap_terms
from ntk_atlas.cubes.joining import Pieces, collect, on_grid, places, with_kernels
from ntk_atlas.cubes.kernel_measures import row_measures
from ntk_atlas.cubes.movement import kernel_movement, movement_at_equal_loss
from ntk_atlas.cubes.netcdf import read_netcdf, read_rows
from ntk_atlas.cubes.schema import (
    CELL,
    COORDINATES,
    GAP_VARIABLES,
    KERNEL_MEASURES,
    LINEARIZED_SCALARS,
    NETWORK_STATUS,
    NO_CLASS,
    PREDICTION_VARIABLES,
    SOLVE_STATUS,
    TRAINING_CURVES,
    TRAINING_SCALARS,
    TRAINING_SETS,
    Variable,
    status_attributes,
)
from ntk_atlas.phases.phase import phase_of
from ntk_atlas.status import Status

log = logging.getLogger(__name__)

ROW_NAMES = {"selected_test_mse": "test_mse_network", "selected_test_error": "test_error_network"}
"""Variables of a row file that have another name in the cube."""


def assemble_cube(
    experiment: ExperimentSettings,
    files: ExperimentFiles,
    *,
    targets: np.ndarray,
    labels: np.ndarray | None,
    zero_train_mse: np.ndarray,
    provenance: Mapping[str, str],
) -> xr.Dataset:
    """The cube of an experiment.

    Args:
        experiment: the configured grid and settings; they are stored in the cube as JSON text.
        files: what the jobs of the experiment wrote.
        targets: targets of the probe samples in every draw, `(n_draws, n_probe, n_outputs)`.
        labels: classes of the probe samples in every draw, `(n_draws, n_probe)`; None for regression data.
        zero_train_mse: mean squared target of every training set, `(n_sizes, n_draws)`.
        provenance: attributes that say where the cube comes from.

    Returns:
        The cube; variables have the dimensions they depend on and no others, what is missing is NaN or `missing`.

    Raises:
        ValueError: if no network is finished, more failed than the settings allow, or a file is of other settings.
    """
    grid = experiment.grid
    place = places(grid)
    cube = xr.Dataset(coords=_coordinates(experiment))
    predictions = prediction_names(experiment)
    pieces: Pieces = {}
    data = provenance.get("data_digest")
    files.check_kernels(experiment, data)
    for row, dataset in read_rows(
        files.networks, row_check("networks", experiment, data), drop=("test_predictions", "probe_predictions")
    ):
        if "probe_kernels" not in dataset:  # no network of the row is finished
            collect(pieces, dataset[["status"]], place[row])
            continue
        collect(pieces, dataset.drop_vars(["probe_kernels", "unit_digest"]).rename(ROW_NAMES), place[row])
        collect(pieces, row_measures(dataset, targets), place[row])
        collect(pieces, kernel_movement(dataset, labels), place[row])
    if "train_mse" not in pieces:
        raise ValueError("no network is finished: there is nothing to assemble; see the status of the cells")
    along_training = ("linearized_predictions", "linearized_train_mse", "test_predictions", "epoch")
    for row, dataset in read_rows(files.linearized, row_check("linearized", experiment, data), drop=along_training):
        collect(pieces, dataset, place[row])
    for row, dataset in read_rows(files.empirical, row_check("empirical", experiment, data), drop=predictions):
        collect(pieces, dataset, place[row])
    arrays = (array for values in pieces.values() for array in values.values())
    epochs = sorted({int(e) for array in arrays if "epoch" in array.coords for e in array["epoch"].values})
    for name, values in pieces.items():
        cube[name] = on_grid(values, tuple(cube.sizes[dim] for dim in CELL[:3]), epochs)
    cube = with_kernels(cube, files, grid.init_scale, lambda file: read_netcdf(file, drop=predictions))
    found = [str(name).removeprefix("test_mse_") for name in cube.data_vars]
    named = curve_names(experiment.regression.predictors, found)
    cube = cube.assign_coords(predictor=["network", *[name for name in named if name in found]])
    cube["status"] = _status(cube, experiment.training)
    check_failures(cube["status"].values, experiment.max_failed_share)
    cube["zero_train_mse"] = ("n_train", "draw"), np.asarray(zero_train_mse, dtype=np.float64)
    cube = cube.merge(movement_at_equal_loss(cube, experiment.movement.equal_loss))
    cube = cube.merge(gap_terms(cube))
    classes = np.full(targets.shape[:2], NO_CLASS) if labels is None else labels
    cube["probe_class"] = ("draw", "probe"), classes.astype(np.int32)
    return _described(cube, experiment, provenance)


def prediction_names(experiment: ExperimentSettings) -> tuple[str, ...]:
    """Variables of the files of predictors that hold outputs on test samples; the cube has none of them."""
    names = predictor_names(experiment.regression.predictors)
    return tuple(f"test_predictions_{name}{suffix}" for name in names for suffix in ("", AROUND))


def _coordinates(experiment: ExperimentSettings) -> dict:
    grid, network = experiment.grid, experiment.network
    depth, width = np.array(grid.depth), np.array(grid.width)
    phases = [phase_of(network, scale) for scale in grid.init_scale]
    return {
        "depth": depth,
        "width": width,
        "init_scale": np.array(grid.init_scale),
        "n_train": np.array(grid.n_train),
        "draw": np.arange(grid.draws),
        "seed": np.arange(grid.seeds),
        "sigma_w": ("init_scale", np.sqrt(grid.init_scale)),
        "lambda": (("depth", "width"), (depth[:, None] + 1) / width[None, :]),
        "chi_1": ("init_scale", [phase.chi_1 for phase in phases]),
        "xi_1": ("init_scale", [phase.xi_1 for phase in phases]),
        "phase": ("init_scale", [phase.name for phase in phases]),
    }


def _status(cube: xr.Dataset, training: TrainingSettings) -> xr.DataArray:
    """Converged or not is judged here, so that another `target_mse` does not train anything again."""
    status = cube["status"].copy()
    finished = status.isin([int(Status.CONVERGED), int(Status.BUDGET_SPENT)])
    if training.loss == "cross_entropy":
        error = cube["train_error"]
        last = error.notnull().cumsum("epoch").argmax("epoch")  # units may differ in their last epoch
        reached = error.isel(epoch=last) == 0.0
    else:
        reached = cube["final_train_mse"] <= training.target_mse
    return status.where(~finished, xr.where(reached, int(Status.CONVERGED), int(Status.BUDGET_SPENT))).astype(np.int8)


def _described(cube: xr.Dataset, experiment: ExperimentSettings, provenance: Mapping[str, str]) -> xr.Dataset:
    predictors = [str(name) for name in cube["predictor"].values]
    for variable in (
        *COORDINATES,
        *TRAINING_CURVES,
        *KERNEL_MEASURES,
        *TRAINING_SCALARS,
        *LINEARIZED_SCALARS,
        *TRAINING_SETS,
    ):
        if variable.name in cube.variables:
            cube[variable.name].attrs = variable.attributes()
    if (cube["probe_class"] == NO_CLASS).all():
        for name in ("within_class_ratio", "between_class_ratio"):
            cube[name].attrs["comment"] = "NaN everywhere: regression data have no classes"
    for variable in GAP_VARIABLES:
        if variable.name in cube.data_vars:
            cube[variable.name].attrs = variable.attributes()
    for variable in PREDICTION_VARIABLES:
        for predictor in (
            *predictors,
            *(EPOCHS + suffix for suffix in ("", AROUND) if EPOCHS in experiment.regression.predictors),
        ):
            _describe_prediction(cube, variable, predictor)
    for name in cube.data_vars:
        if name == "status":
            cube[name].attrs |= status_attributes(NETWORK_STATUS)
        elif str(name).startswith("solve_status_"):
            cube[name].attrs |= status_attributes(SOLVE_STATUS)
    missing = int((cube["status"] == int(Status.MISSING)).sum())
    cube.attrs = {
        "title": "NTK Atlas cube: finite networks beside their kernels",
        "Conventions": "CF-1.11",
        "config": experiment.canonical_json(),
        "n_cells": math.prod(cube.sizes[dim] for dim in ("depth", "width", "init_scale", "n_train")),
        "n_networks": cube["status"].size,
        "n_missing": missing,
        "stand_ins": " ".join(stand_ins(experiment.network.architecture, experiment.regression.predictors)),
        "parameterization": "as written" if experiment.network.factory else experiment.network.parameterization,
        # Of every empirical kernel here: the defaults of `empirical_ntk` (docs/conventions.md).
        "output_reduction": "mean",
        "kernel_precision": f"float64; probe kernels {experiment.training.dtype}; float32 products at full precision",
        **provenance,
    }
    log.info("%d networks, %d of them missing", cube["status"].size, missing)
    return cube


def _describe_prediction(cube: xr.Dataset, variable: Variable, predictor: str) -> None:
    name = variable.name.replace("*", predictor)
    if name in cube.data_vars and predictor != "network":
        attributes = variable.attributes()
        long_name = variable.long_name
        if predictor == "linearized":
            long_name = long_name.replace("kernel regression with *", "the linearized network")
        cube[name].attrs = attributes | {"long_name": long_name.replace("*", predictor)}
