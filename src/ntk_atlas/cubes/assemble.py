"""Joins rows and predictions into the cube of an experiment, by position on the configured grid.

Of the probe kernels the cube keeps drift, alignment, spectrum, velocity and class blocks. Failed networks are data, up
to a share of them. What is no error and may still not be what a user means is in its `notices`, as sentences.
"""

import itertools
import json
import logging
import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ntk_atlas.arrays import LabelledArrays, Status, join
from ntk_atlas.config.predictors import AROUND, curve_names, predictor_names, stand_ins
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.cubes.dictionary import CUBE, NO_CLASS, PAIRS, TEST_PROBE, pair_name
from ntk_atlas.cubes.distances import squares_of_rows, with_distances
from ntk_atlas.cubes.experiment_files import ExperimentFiles, coordinates, grid_labels
from ntk_atlas.cubes.files import described, from_xarray, to_xarray
from ntk_atlas.cubes.variables import CELL
from ntk_atlas.datasets.draws import Draw
from ntk_atlas.folds import fold_sizes
from ntk_atlas.kernels.measures import class_block_ratios, kernel_distance, relative_drift, spectrum, target_alignment
from ntk_atlas.networks.notices import GRID_KEYS
from ntk_atlas.optimizers import optimizer
from ntk_atlas.registry import is_own

log = logging.getLogger(__name__)

BLOCK_ENTRIES = 2**22
"""Kernel entries measured at once: 32 MB in float64, whatever the number of networks."""
_BLOCK_DIMS = ("n_train", "seed", "epoch", "probe", "probe_2")


def row_measures(row: xr.Dataset, targets: np.ndarray) -> xr.Dataset:
    """Measures of one row's probe kernels.

    Args:
        row: what `network_row` gives, with `probe_kernels` (..., n_train, draw, seed, epoch, probe, probe_2).
        targets: targets of the probe samples, `(n_draws, n_probe, n_outputs)`.

    Returns:
        `kernel_drift`, `kernel_distance`, `kernel_alignment` (..., n_train, draw, seed, epoch) and `kernel_spectrum`
        (…, mode), eigenvalues divided by the number of probe samples.
    """
    kernels = row["probe_kernels"]
    dims = tuple(dim for dim in kernels.dims if dim not in ("probe", "probe_2"))
    shape, n_probe = tuple(kernels.sizes[dim] for dim in dims), kernels.sizes["probe"]
    drift, distance, alignment = (np.full(shape, np.nan) for _ in range(3))
    modes = np.full((*shape, n_probe), np.nan, dtype=np.float32)
    y = torch.as_tensor(targets, dtype=torch.float64)
    for place, draw, block in kernel_blocks(kernels):
        initial = block[..., :1, :, :]
        drift[place] = relative_drift(block, initial).numpy()
        distance[place] = kernel_distance(block, initial).numpy()
        alignment[place] = target_alignment(block, y[draw]).numpy()
        modes[place] = (spectrum(block) / n_probe).numpy()
    return xr.Dataset(
        {
            "kernel_drift": (dims, drift),
            "kernel_distance": (dims, distance),
            "kernel_alignment": (dims, alignment),
            "kernel_spectrum": ((*dims, "mode"), modes),
        },
        coords={**{dim: row[dim] for dim in dims if dim in row.coords}, "mode": np.arange(n_probe)},
    )


def initial_fluctuation(row: xr.Dataset) -> xr.Dataset:
    """How random the initial probe kernel is over the networks of a cell and draw.

    √(Σ_s ‖Θ₀ˢ − Θ̄₀‖²/(S − 1))/‖Θ̄₀‖ over S seeds, Frobenius norms: the mean square deviation times S/(S − 1), since the
    mean is that of the same S.

    Args:
        row: as in `row_measures`.

    Returns:
        `kernel_fluctuation` (..., n_train, draw); NaN with fewer than two networks.
    """
    initial = row["probe_kernels"].isel(epoch=0, drop=True).astype(np.float64)
    there, mean = initial.notnull().all(["probe", "probe_2"]), initial.mean("seed")
    squares = ((initial - mean) ** 2).sum(["probe", "probe_2"]).where(there).sum("seed")
    n, norm = there.sum("seed"), (mean**2).sum(["probe", "probe_2"])
    return xr.Dataset({"kernel_fluctuation": ((squares / (n - 1).where(n > 1)) / norm.where(norm > 0.0)) ** 0.5})


def kernel_movement(row: xr.Dataset, labels: np.ndarray | None) -> xr.Dataset:
    """Velocity and class blocks of a row's probe kernels, and one network's kernels themselves.

    The velocity at a checkpoint is the mean one since the checkpoint before, S(Θ_s, Θ_t)/(t − s) with t − s in epochs
    and S = 1 − cosine (Fort et al. 2020, who divide by a fixed Δ): it stands at the end of its interval, and there is
    none at the first checkpoint. Checkpoints that a network does not have are skipped.

    Args:
        row: a file of `network_row`, with `probe_kernels` (..., n_train, draw, seed, epoch, probe, probe_2).
        labels: classes of the probe samples in every draw, `(n_draws, n_probe)`; None for regression data.

    Returns:
        `kernel_velocity`, `within_class_ratio`, `between_class_ratio` (..., n_train, draw, seed, epoch), the ratios
        NaN on regression data; `probe_kernel` (..., epoch, probe, probe_2): draw 0, seed 0, largest n_train.
    """
    kernels, epochs = row["probe_kernels"], row["epoch"].values
    dims = tuple(dim for dim in kernels.dims if dim not in ("probe", "probe_2"))
    shape = tuple(kernels.sizes[dim] for dim in dims)
    velocity, within, between = (np.full(shape, np.nan) for _ in range(3))
    for place, draw, block in kernel_blocks(kernels):
        velocity[place] = velocities(block, epochs).numpy()
        if labels is not None:
            ratios = class_block_ratios(block, torch.as_tensor(labels[draw]))
            within[place], between[place] = ratios.within.numpy(), ratios.between.numpy()
    measures = {"kernel_velocity": velocity, "within_class_ratio": within, "between_class_ratio": between}
    one = {"n_train": int(np.argmax(row["n_train"].values)), "draw": 0, "seed": 0}
    return xr.Dataset(
        {name: (dims, values) for name, values in measures.items()}
        | {"probe_kernel": kernels.isel(one).astype(np.float32).drop_vars(one, errors="ignore")},
        coords={dim: row[dim] for dim in dims if dim in row.coords},
    )


def velocities(kernels: Tensor, epochs: np.ndarray) -> Tensor:
    """Distance to the checkpoint before over the epochs since, see `kernel_movement`.

    Args:
        kernels: `(..., E, P, P)`; a checkpoint that a network does not have is NaN.
        epochs: `(E,)`, ascending.

    Returns:
        `(..., E)`; NaN at the first checkpoint and where there is none.
    """
    result = kernels.new_full(kernels.shape[:-2], torch.nan)
    latest = torch.zeros_like(kernels[..., 0, :, :])
    at = kernels.new_full(latest.shape[:-2], torch.nan)
    for kernel, velocity, epoch in zip(kernels.unbind(-3), result.unbind(-1), epochs, strict=True):
        there = torch.isfinite(kernel).all(-1).all(-1)
        known = there & torch.isfinite(at)
        velocity[known] = kernel_distance(latest[known], kernel[known]) / (float(epoch) - at[known])
        latest[there], at[there] = kernel[there], float(epoch)
    return result


def movement_at_equal_loss(cube: xr.Dataset, equal_loss: float, suffix: str = "") -> xr.Dataset:
    """Movement at the first checkpoint whose training MSE is at most `equal_loss` × that of predicting zero.

    An untrained network has not moved, so kernels that belong to different training errors cannot be compared at
    equal epochs alone. Nothing is interpolated: checkpoints may be far apart, `train_mse_at_equal_loss` says what the
    error was. A network that diverged has these values if it got there before.

    Args:
        cube: `train_mse`, `kernel_drift`, `kernel_distance` (..., epoch), and `zero_train_mse` (n_train, draw), the
            mean squared target of each training set; all in target², whatever `training.target_scale`.
        equal_loss: the share.
        suffix: what the names of the kernel measures end in; those of the result do too.

    Returns:
        `epoch_at_equal_loss`, `train_mse_at_equal_loss`, `kernel_drift_at_equal_loss`,
        `kernel_distance_at_equal_loss` (...), NaN for networks that never get there.
    """
    error = cube["train_mse"].transpose(..., "epoch")
    reached = error <= equal_loss * cube["zero_train_mse"]  # NaN is not
    reached = reached.transpose(*error.dims)
    ever, first = reached.any("epoch"), reached.argmax("epoch")
    measures = {
        "epoch_at_equal_loss": cube["epoch"].astype(np.float64),
        "train_mse_at_equal_loss": error,
        f"kernel_drift_at_equal_loss{suffix}": cube[f"kernel_drift{suffix}"],
        f"kernel_distance_at_equal_loss{suffix}": cube[f"kernel_distance{suffix}"],
    }
    return xr.Dataset(
        {name: values.isel(epoch=first).drop_vars("epoch").where(ever) for name, values in measures.items()}
    )


def kernel_blocks(kernels: xr.DataArray) -> Iterator[tuple[tuple[int | slice, ...], int, Tensor]]:
    """Goes through the probe kernels of a row, as many networks of one draw at a time as `BLOCK_ENTRIES` lets.

    Args:
        kernels: `(..., n_train, draw, seed, epoch, probe, probe_2)`.

    Yields:
        Index of the networks in the dimensions before `epoch`, number of the draw, kernels `(N', S', E, P, P)` in
        float64, N' sizes of training set.
    """
    leading = tuple(dim for dim in kernels.dims if dim not in _BLOCK_DIMS)
    n_sizes, n_seeds, *of_network = (kernels.sizes[dim] for dim in _BLOCK_DIMS)
    n_networks = max(1, BLOCK_ENTRIES // int(np.prod(of_network)))
    size_blocks = list(_slices(n_sizes, max(1, n_networks // n_seeds)))
    seed_blocks = list(_slices(n_seeds, n_networks))
    for cell in np.ndindex(*(kernels.sizes[dim] for dim in leading)):
        at = dict(zip(leading, cell, strict=True))
        for sizes, seeds in itertools.product(size_blocks, seed_blocks):
            chosen = at | {"n_train": sizes, "seed": seeds}
            block = torch.as_tensor(kernels.variable.isel(chosen).values, dtype=torch.float64)
            yield tuple(chosen[dim] for dim in kernels.dims[:-3]), at["draw"], block


def _slices(size: int, step: int) -> Iterator[slice]:
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


_NOTICED_SAMPLES = 4


def notice_attributes(experiment: ExperimentSettings, draw: Draw) -> dict[str, str]:
    """Attributes of a cube about its networks.

    Args:
        experiment: its settings.
        draw: the first draw, whose training samples networks are evaluated on.

    Returns:
        `notices`, one sentence per line; `same_networks`, JSON: key of the grid → groups of its values at which a
        factory gives one and the same networks, which are no comparison. Both are empty for built-in networks.
    """
    family = experiment.network.family
    if not family.measured:
        return {"notices": "", "same_networks": "{}"}
    n = min(_NOTICED_SAMPLES, len(draw.indices.pool))
    x = torch.as_tensor(draw.training_set(n)[0], dtype=getattr(torch, experiment.training.dtype))
    grid = {key: getattr(experiment.grid, key) for key in GRID_KEYS}
    found = family.notices(experiment.network, grid, x, draw.y_pool.shape[1])
    return {"notices": "\n".join(found.sentences), "same_networks": json.dumps(found.same_networks)}


FAILURES = (Status.DIVERGED, Status.TIMED_OUT, Status.MISSING)


def judged_status(cube: xr.Dataset, training: TrainingSettings) -> xr.DataArray:
    """Status of all networks, `target_mse` reached or not: judged here, so that another one trains nothing again."""
    status = cube["status"].copy()
    finished = status.isin([int(Status.CONVERGED), int(Status.BUDGET_SPENT)])
    if training.loss == "cross_entropy":
        error = cube["train_error"]
        last = error.notnull().cumsum("epoch").argmax("epoch")  # units may differ in their last epoch
        reached = error.isel(epoch=last) == 0.0
    else:
        reached = cube["final_train_mse"] <= training.target_mse
    return status.where(~finished, xr.where(reached, int(Status.CONVERGED), int(Status.BUDGET_SPENT))).astype(np.int8)


def check_failures(status: np.ndarray, allowed: float) -> None:
    """Stops an assembly of which too much failed.

    Args:
        status: of all networks.
        allowed: share of networks that may be diverged, timed out or missing.

    Raises:
        ValueError: if more are.
    """
    counts = {flag: int((status == int(flag)).sum()) for flag in FAILURES}
    failed = sum(counts.values())
    if failed > allowed * status.size:
        listed = ", ".join(f"{count} {flag.meaning}" for flag, count in counts.items() if count)
        raise ValueError(
            f"{failed} of {status.size} networks failed ({listed}), more than the {allowed:g} of them that "
            "max_failed_share allows: mend what made them fail, or raise max_failed_share of this experiment"
        )


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
    cube = cube.assign(
        {f"rate_lambda_max{suffix}": _rate_lambda_max(cube, suffix) for suffix in probe_parts(experiment)}
    )
    classes = np.full(targets.shape[:2], NO_CLASS) if labels is None else labels
    for suffix, of_part in probe_parts(experiment).items():
        cube[f"probe_class{suffix}"] = ("draw", "probe"), classes[:, of_part].astype(np.int32)
    return _described(cube, experiment, provenance)


def _rate_lambda_max(cube: xr.Dataset, suffix: str) -> xr.DataArray:
    """η λ_max(Θ_t)/P on the P probe samples, along training; beside the limit of stability in its attributes."""
    largest = cube[f"kernel_spectrum{suffix}"].isel(mode=0, drop=True)
    return (cube["learning_rate"] * largest).transpose(*CELL, "epoch").astype(np.float64)


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
            initial_fluctuation(part),
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
    if not is_own(experiment.training.optimizer):
        limit = optimizer(experiment.training.optimizer).stability_limit(experiment.training.momentum)
        for suffix in probe_parts(experiment) if limit is not None else ():
            cube[f"rate_lambda_max{suffix}"].attrs["limit"] = limit
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
