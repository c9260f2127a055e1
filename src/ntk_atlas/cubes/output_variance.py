"""The file of an experiment's output variance: theory, linearized and trained networks on one grid."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import xarray as xr

from ntk_atlas.arrays import LabelledArrays, join
from ntk_atlas.config.output_variance import OutputVarianceSettings
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.dictionary.output_variance import CELL, OUTPUT_VARIANCE, RATIOS
from ntk_atlas.cubes.experiment_files import ExperimentFiles, coordinates, grid_labels
from ntk_atlas.cubes.netcdf import described, to_xarray
from ntk_atlas.statistics.bootstrap import resampling_weights, variance_ratio
from ntk_atlas.streams import numpy_stream

log = logging.getLogger(__name__)
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
    for above, below in RATIOS:
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
        The dataset, see `cubes.dictionary.output_variance`.

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
    for labels in product(*(row[dim].values.tolist() for dim in CELL)):
        place = dict(zip(CELL, labels, strict=True))
        infinite = theory.sel({dim: label for dim, label in place.items() if dim in theory.dims})
        network, linearized = (row[f"{name}_predictions"].sel(place).values for name in ("probe", "linearized"))
        cell = CellOutputs(network, linearized, infinite["mean"].values, infinite["variance"].values)
        stream = numpy_stream("variance ratios", experiment.training.seed, *labels)
        found = cell_statistics(cell, settings, stream)
        found["learning_rate"] = infinite["learning_rate"].values
        arrays = {name: (_OF_CELL[: np.ndim(value)], value) for name, value in found.items()}
        yield LabelledArrays.of(arrays, epoch=row["epoch"].values).at(**place)
