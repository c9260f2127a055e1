"""The files beside the cube: predictions as functions, dispersion at initialization, variance of outputs."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import xarray as xr

from ntk_atlas.arrays import LabelledArrays, join, read_labelled
from ntk_atlas.config.analyses import OutputVarianceSettings
from ntk_atlas.config.predictors import predictor_names
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.dictionary import FUNCTIONS, NETWORKS, OUTPUT_RATIOS, OUTPUT_VARIANCE, PAIRS, pair_name
from ntk_atlas.cubes.distances import PREDICTIONS, SQUARE_FOLDS, mean_squares
from ntk_atlas.cubes.experiment_files import ExperimentFiles, coordinates, grid_labels
from ntk_atlas.cubes.files import described, to_xarray
from ntk_atlas.cubes.variables import DISPERSION
from ntk_atlas.datasets.draws import Draw
from ntk_atlas.folds import N_FOLDS, fold_sizes
from ntk_atlas.jobs import architecture_name, job_slice
from ntk_atlas.jobs.parts.run import check_made_with
from ntk_atlas.statistics.intervals import resampling_weights, variance_ratio
from ntk_atlas.streams import numpy_stream

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


def assemble_dispersion(
    experiment: ExperimentSettings, files: Mapping[tuple[int, int], Path], provenance: Mapping[str, str]
) -> xr.Dataset:
    """The dispersion of an experiment.

    Args:
        experiment: its settings; they are stored as JSON text.
        files: file of each (depth, width).
        provenance: attributes that say where the numbers come from.

    Returns:
        Estimates and theory over (depth, width, init_scale, parameters, correlation); what is missing is NaN or −1.

    Raises:
        ValueError: if the experiment has no such section, or a file is of other settings.
    """
    settings = experiment.dispersion
    if settings is None or settings.n_inputs is None or settings.squared_norm is None:
        raise ValueError("the experiment has no section `dispersion` that says its inputs")
    grid = {"depth": settings.depth, "width": settings.width}
    cells = []
    for (cell_depth, cell_width), file in files.items():
        cell = read_labelled(file)
        part = job_slice("sample_initial_kernels", experiment, architecture_name(cell_depth, cell_width))
        check_made_with(file, cell.attributes, part)
        cells.append(cell.at(depth=cell_depth, width=cell_width))
    joined = to_xarray(join(cells, grid)).assign_coords(coordinates(experiment, DISPERSION.coordinates, **grid))
    n_all, n_scales = len(settings.depth) * len(settings.width), len(experiment.grid.init_scale)
    attributes = {
        "config": experiment.canonical_json(),
        "n_networks": settings.n_networks,
        "n_exact": settings.n_exact,
        "n_cells": n_all * n_scales,
        "n_missing": (n_all - len(cells)) * n_scales,
        "n_inputs": settings.n_inputs,
        "squared_norm": settings.squared_norm,
        "input_scale": settings.squared_norm / settings.n_inputs,
        "confidence": settings.confidence,
        "interval": "bootstrap-t over networks, of log R, of Var log Θ and of E[Θ]",
        "parameterization": experiment.network.parameterization,
        "kernel_precision": "weights float32, sums over units and layers float64",
        **provenance,
    }
    return described(joined, DISPERSION, attributes)


_OF_CELL = ("epoch", "probe", "output")
"""Dimensions of what is found of a cell, or the first of them."""


@dataclass(frozen=True)
class CellOutputs:
    """Outputs of one cell on P probe samples at E epochs.

    Attributes:
        network: trained networks, `(S, E, P, C)`.
        linearized: their linearizations, `(S, E, P, C)`.
        mean: of theory, `(E, P, C)`.
        variance: of theory, `(E, P)`.
    """

    network: np.ndarray
    linearized: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def cell_statistics(
    cell: CellOutputs, settings: OutputVarianceSettings, stream: np.random.Generator
) -> dict[str, np.ndarray]:
    """Means, variances and their ratios over the networks of one cell.

    A network counts where it is finite at every epoch: one that diverged is left out at all times, so that an average
    is over the same networks from beginning to end. The same resamples of networks serve every epoch of a ratio.

    Args:
        cell: the outputs.
        settings: of the bootstrap.
        stream: of the resamples.

    Returns:
        Arrays by the names of the file: `(E, P, C)`, `(E, P)`, `(E,)` and counts.
    """
    outputs = {"network": cell.network.astype(np.float64), "linearized": cell.linearized.astype(np.float64)}
    usable = {name: np.isfinite(f).all(axis=(1, 2, 3)) for name, f in outputs.items()}
    both = usable["network"] & usable["linearized"]
    results: dict[str, np.ndarray] = {
        "output_mean_infinite_ntk": cell.mean,
        "output_variance_infinite_ntk": cell.variance,
        "n_networks": usable["network"].sum(dtype=np.int32),
        "n_linearized": usable["linearized"].sum(dtype=np.int32),
        "n_both": both.sum(dtype=np.int32),
    }
    for name, f in outputs.items():
        results[f"output_mean_{name}"], results[f"output_variance_{name}"] = _moments(f[usable[name]])
    n_epochs = len(cell.variance)
    for above, below in OUTPUT_RATIOS:
        members = both if below == "linearized" else usable[above]
        values = np.full((3, n_epochs), np.nan)
        if members.any():
            weights = resampling_weights(int(members.sum()), settings.n_bootstrap, stream)
            for epoch in range(n_epochs):
                f = outputs[above][members, epoch].reshape(len(weights[0]), -1)
                of_theory = below == "infinite_ntk"
                reference = (
                    cell.variance[epoch].mean() if of_theory else outputs[below][members, epoch].reshape(f.shape)
                )
                found = variance_ratio(
                    f, float(reference) if of_theory else reference, weights, confidence=settings.confidence
                )
                values[:, epoch] = found.value, found.low, found.high
        for suffix, value in zip(("", "_low", "_high"), values, strict=True):
            results[f"variance_ratio_{above}_{below}{suffix}"] = value
    return results


def _moments(outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(E, P, C)`, and unbiased variance `(E, P)` averaged over outputs; NaN for fewer than two networks."""
    if len(outputs) < 2:
        return np.full(outputs.shape[1:], np.nan), np.full(outputs.shape[1:3], np.nan)
    return outputs.mean(axis=0), outputs.var(axis=0, ddof=1).mean(axis=-1)


def assemble_output_variance(
    experiment: ExperimentSettings,
    files: ExperimentFiles,
    *,
    provenance: Mapping[str, str],
) -> xr.Dataset:
    """Joins theory, linearized and trained networks.

    Args:
        experiment: its settings; they are stored as JSON text.
        files: what the jobs of the experiment wrote.
        provenance: attributes that say where the numbers come from.

    Returns:
        The dataset, see `cubes.dictionary`.

    Raises:
        ValueError: if the experiment has no such section.
    """
    settings = experiment.output_variance
    if settings is None:
        raise ValueError("the experiment has no section `output_variance`")
    data, grid = provenance.get("data_digest"), grid_labels(experiment.grid)
    theory = join(files.read("theory", experiment, data), grid)
    dropped = ("probe_kernels", "test_predictions")
    trained = files.read("networks", experiment, data, drop=dropped)
    linear = files.read("linearized", experiment, data, drop=dropped)
    of_row = dict.fromkeys(grid) | {"epoch": theory["epoch"]}
    rows = (join(both, of_row) for both in zip(trained, linear, strict=True))
    cells = [cell for row in rows for cell in _cells(experiment, settings, to_xarray(row), to_xarray(theory))]
    dataset = to_xarray(join(cells, grid))
    dataset = dataset.assign_coords(coordinates(experiment, OUTPUT_VARIANCE.coordinates, epoch=theory["epoch"]))
    diverged = int((experiment.grid.seeds - dataset["n_networks"]).sum())
    log.info("output variance of %d cells, %d networks diverged", dataset["n_networks"].size, diverged)
    attributes = {
        "config": experiment.canonical_json(),
        "n_seeds": experiment.grid.seeds,
        "n_diverged": diverged,
        "interval": f"bootstrap-t of the log ratio over networks, {settings.n_bootstrap} resamples",
        "confidence": settings.confidence,
        "parameterization": experiment.network.parameterization,
        **provenance,
    }
    return described(dataset, OUTPUT_VARIANCE, attributes)


def _cells(
    experiment: ExperimentSettings, settings: OutputVarianceSettings, row: xr.Dataset, theory: xr.Dataset
) -> Iterator[LabelledArrays]:
    """What is found of each cell of a row, at the cell's place."""
    for labels in product(*(row[dim].values.tolist() for dim in NETWORKS)):
        place = dict(zip(NETWORKS, labels, strict=True))
        infinite = theory.sel({dim: label for dim, label in place.items() if dim in theory.dims})
        network, linearized = (row[f"{name}_predictions"].sel(place).values for name in ("probe", "linearized"))
        cell = CellOutputs(network, linearized, infinite["mean"].values, infinite["variance"].values)
        stream = numpy_stream("variance ratios", experiment.training.seed, *labels)
        found = cell_statistics(cell, settings, stream)
        found["learning_rate"] = infinite["learning_rate"].values
        arrays = {name: (_OF_CELL[: np.ndim(value)], value) for name, value in found.items()}
        yield LabelledArrays.of(arrays, epoch=row["epoch"].values).at(**place)
