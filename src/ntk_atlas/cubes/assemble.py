"""Joins rows and predictions into the cube of an experiment, by position on the configured grid."""

import logging
import math
from collections.abc import Mapping

import numpy as np
import xarray as xr

from ntk_atlas.arrays import LabelledArrays, join
from ntk_atlas.config.predictors import AROUND, curve_names, predictor_names, stand_ins
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.dictionary.cube import (
    CUBE,
    NO_CLASS,
    PAIRS,
    TEST_PROBE,
    pair_name,
)
from ntk_atlas.cubes.dictionary.variable import CELL
from ntk_atlas.cubes.distances import squares_of_rows, with_distances
from ntk_atlas.cubes.experiment_files import ExperimentFiles, coordinates, grid_labels
from ntk_atlas.cubes.kernel_measures import kernel_movement, movement_at_equal_loss, row_measures
from ntk_atlas.cubes.netcdf import described, from_xarray, to_xarray
from ntk_atlas.cubes.outcomes import check_failures, judged_status
from ntk_atlas.folds import fold_sizes
from ntk_atlas.status import Status

log = logging.getLogger(__name__)

_OF_CLASSES = ("within_class", "between_class")
_OF_PROBES = ("kernel_", "probe_", *_OF_CLASSES)
"""What the names of measures on the probe samples begin with."""
ROW_NAMES = {
    "selected_test_mse": "test_mse_network",
    "selected_test_mse_folds": "test_mse_folds_network",
    "selected_test_error": "test_error_network",
}
"""Variables of a row file that have another name in the cube."""


def assemble_cube(
    experiment: ExperimentSettings,
    files: ExperimentFiles,
    *,
    targets: np.ndarray,
    labels: np.ndarray | None,
    zero_train_mse: np.ndarray,
    test_folds: np.ndarray,
    shared: tuple[float, np.ndarray],
    provenance: Mapping[str, str],
) -> xr.Dataset:
    """The cube of an experiment.

    Args:
        experiment: the configured grid and settings; they are stored in the cube as JSON text.
        files: what the jobs of the experiment wrote.
        targets: targets of the probe samples in every draw, `(n_draws, P, n_outputs)`, as `kernel_probes` has them.
        labels: classes of the probe samples in every draw, `(n_draws, P)`; None for regression data.
        zero_train_mse: mean squared target of every training set, `(n_sizes, n_draws)`.
        test_folds: fold of each test sample in every draw, `(n_draws, n_test)`.
        shared: share of the test samples, and of the training samples at each size, that two draws have in common.
        provenance: attributes that say where the cube comes from.

    Returns:
        The cube; variables have the dimensions they depend on and no others, what is missing is NaN or `missing`.

    Raises:
        ValueError: if no network is finished, more failed than the settings allow, or a file is of other settings.
    """
    pieces: list[LabelledArrays] = []
    data, predictions = provenance.get("data_digest"), prediction_names(experiment)
    for row in files.read("networks", experiment, data, drop=("test_predictions", "probe_predictions", "unit_digest")):
        pieces.append(row.only(set(row.variables) - {"probe_kernels"}).renamed(ROW_NAMES))
        for suffix, of_part in probe_parts(experiment).items() if "probe_kernels" in row.arrays else ():
            measures = part_measures(to_xarray(row.only(["probe_kernels"])), of_part, targets, labels)
            pieces.append(from_xarray(measures).renamed({str(name): f"{name}{suffix}" for name in measures.data_vars}))
    if not any("train_mse" in piece.arrays for piece in pieces):
        raise ValueError("no network is finished: there is nothing to assemble; see the status of the cells")
    along_training = ("linearized_predictions", "linearized_train_mse", "test_predictions", "epoch")
    pieces += files.read("linearized", experiment, data, drop=along_training)
    for kind in ("empirical", "infinite", "rivals"):
        pieces += files.read(kind, experiment, data, drop=predictions)
    pieces += squares_of_rows(experiment, files, data, test_folds)
    cube = to_xarray(join(pieces, grid_labels(experiment.grid)))
    cube = cube.assign_coords(coordinates(experiment, CUBE.coordinates))
    found = [str(name).removeprefix("test_mse_") for name in cube.data_vars]
    named = curve_names(experiment.regression.predictors, found)
    cube = cube.assign_coords(predictor=["network", *[name for name in named if name in found]])
    cube["status"] = judged_status(cube, experiment.training)
    check_failures(cube["status"].values, experiment.max_failed_share)
    cube["zero_train_mse"] = ("n_train", "draw"), np.asarray(zero_train_mse, dtype=np.float64)
    cube["test_fold_size"] = ("draw", "test_fold"), np.stack([fold_sizes(folds) for folds in test_folds])
    cube["shared_test"], cube["shared_train"] = shared[0], ("n_train", shared[1])
    for suffix in probe_parts(experiment):
        cube = cube.assign(movement_at_equal_loss(cube, experiment.movement.equal_loss, suffix).data_vars)
    cube = with_distances(cube.merge(gap_terms(cube)), experiment)
    classes = np.full(targets.shape[:2], NO_CLASS) if labels is None else labels
    for suffix, of_part in probe_parts(experiment).items():
        cube[f"probe_class{suffix}"] = ("draw", "probe"), classes[:, of_part].astype(np.int32)
    return _described(cube, experiment, provenance)


def probe_parts(experiment: ExperimentSettings) -> dict[str, slice]:
    """The probe samples of each part of the data, by what the names of the measures on them end in.

    What a cube's variables are of where nothing else is said: training samples, or test samples under `probe: test`.
    """
    checkpoints = experiment.training.checkpoints
    n_probe = checkpoints.probe_count(experiment.grid.n_train)
    suffixes = ("", TEST_PROBE)[: len(checkpoints.probed_parts)]
    return {suffix: slice(i * n_probe, (i + 1) * n_probe) for i, suffix in enumerate(suffixes)}


def part_measures(row: xr.Dataset, of_part: slice, targets: np.ndarray, labels: np.ndarray | None) -> xr.Dataset:
    """`row_measures` and `kernel_movement` of the kernels on some of the probe samples."""
    part = row.isel(probe=of_part, probe_2=of_part)
    return xr.merge(
        [
            row_measures(part, targets[:, of_part]),
            kernel_movement(part, None if labels is None else labels[:, of_part]),
        ]
    )


def prediction_names(experiment: ExperimentSettings) -> tuple[str, ...]:
    """Variables of the files of predictors that hold outputs on test samples; the cube has none of them."""
    names = predictor_names(experiment.regression.predictors)
    return tuple(f"test_predictions_{name}{suffix}" for name in names for suffix in ("", AROUND))


def gap_terms(cube: xr.Dataset) -> xr.Dataset:
    """Test error of the first of each pair minus that of the second, network by network and ridge by ridge.

    At each ridge (network − linearized) + (linearized − ntk_init) + (ntk_init − infinite_ntk) is
    network − infinite_ntk, exactly.

    Args:
        cube: with the test errors of whichever predictors there are.

    Returns:
        `gap_<first>_<second>` of the pairs whose errors are both there.
    """
    terms = {}
    for pair in PAIRS:
        first, second = (cube.get(f"test_mse_{name}") for name in pair)
        if first is not None and second is not None:
            difference = first - second
            order = [dim for dim in (*CELL, "ridge") if dim in difference.dims]
            terms[f"gap_{pair_name(*pair)}"] = difference.transpose(*order)
    return xr.Dataset(terms)


def _described(cube: xr.Dataset, experiment: ExperimentSettings, provenance: Mapping[str, str]) -> xr.Dataset:
    missing = int((cube["status"] == int(Status.MISSING)).sum())
    log.info("%d networks, %d of them missing", cube["status"].size, missing)
    attributes = {
        "config": experiment.canonical_json(),
        "n_cells": math.prod(cube.sizes[dim] for dim in ("depth", "width", "init_scale", "n_train")),
        "n_networks": cube["status"].size,
        "n_missing": missing,
        "stand_ins": " ".join(
            stand_ins(experiment.regression.predictors) if experiment.network.family.sees_images else ()
        ),
        "parameterization": experiment.network.parameterization
        if experiment.network.applies("parameterization")
        else "as written",
        # Of every empirical kernel here: the defaults of `empirical_ntk` (docs/conventions.md).
        "output_reduction": "mean",
        "kernel_probe": " and ".join(_probed_samples(experiment)),
        "kernel_precision": f"float64; probe kernels {experiment.training.dtype}; float32 products at full precision",
        **provenance,
    }
    cube = described(cube, CUBE, attributes)
    for name in (str(name) for name in cube.data_vars if str(name).startswith(_OF_PROBES)):
        of_test = name.endswith(TEST_PROBE)
        cube[name].attrs["probe"] = _probed_samples(experiment)[int(of_test)]
        if name.startswith(_OF_CLASSES) and (cube["probe_class"] == NO_CLASS).all():
            cube[name].attrs["comment"] = "NaN everywhere: regression data have no classes"
    return cube


def _probed_samples(experiment: ExperimentSettings) -> list[str]:
    checkpoints = experiment.training.checkpoints
    n_probe = checkpoints.probe_count(experiment.grid.n_train)
    words = {"train": "training", "test": "test"}
    return [f"first {n_probe} {words[part]} samples" for part in checkpoints.probed_parts]
