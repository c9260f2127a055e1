"""What adding layers does to the errors of networks and of each kernel beside them, in all experiments of a study."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import xarray as xr

from ntk_atlas.cubes.reading import compared_ridge, errors_without_folds, experiment_settings
from ntk_atlas.judging.networks import at_largest_n, cell_estimate, trained
from ntk_atlas.statistics.estimates import Estimate, rank_correlation

KERNEL = "infinite_ntk"
COMPARED = (KERNEL, "nngp", "ntk_init", "linearized", "ntk_final")
"""Predictors with layers, the theorem's kernel first."""
_STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class LayerChange:
    """One change of depth, networks beside one predictor; changes are in units of err_NTK(L).

    It is a step from a depth to the next, or cumulative: from the shallowest depth to one beyond the next.

    Attributes:
        experiment: name of the experiment.
        init_scale: σ_w².
        width: the largest width of the grid.
        n_train: the largest training set.
        before: hidden layers L before.
        after: hidden layers after.
        cumulative: whether there are depths between the two.
        predictor: what networks are compared with.
        ridge: its ridge.
        network: Δ_network/err_NTK(L), mean over draws.
        network_low: low end of its interval over draws.
        network_high: high end.
        kernel: the same of the predictor.
        kernel_low: low end.
        kernel_high: high end.
        difference: mean of the paired differences, network − predictor.
        difference_low: low end.
        difference_high: high end.
        signs: `agree` or `differ` where both changes exceed two standard errors, `open` elsewhere.
        n: draws.
    """

    experiment: str
    init_scale: float
    width: int
    n_train: int
    before: int
    after: int
    cumulative: bool
    predictor: str
    ridge: str
    network: float
    network_low: float
    network_high: float
    kernel: float
    kernel_low: float
    kernel_high: float
    difference: float
    difference_low: float
    difference_high: float
    signs: str
    n: int


def depth_pairs(n_depths: int) -> list[tuple[int, int]]:
    """Places of two depths between which errors change: every single step, then from the shallowest to each deeper one.

    Args:
        n_depths: depths of the grid.

    Returns:
        Pairs (before, after), each once: the first single step is the first cumulative change too.
    """
    single = [(place, place + 1) for place in range(n_depths - 1)]
    return single + [(0, place) for place in range(2, n_depths)]


def layer_changes(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Changes of an error between two depths, err(after) − err(before), and err(before).

    Args:
        values: errors over `depth`, two or more, and whatever else.

    Returns:
        The two over `change` in place of `depth`, with coordinates `before` and `after` (hidden layers) and `single`
        (whether they are neighbours on the grid), in the order of `depth_pairs`.
    """
    depths, pairs = values["depth"].values, np.array(depth_pairs(values.sizes["depth"]))
    ends = [values.isel(depth=xr.DataArray(places, dims="change")).drop_vars("depth") for places in pairs.T]
    coordinates = {
        "before": ("change", depths[pairs[:, 0]]),
        "after": ("change", depths[pairs[:, 1]]),
        "single": ("change", pairs[:, 1] - pairs[:, 0] == 1),
    }
    return (ends[1] - ends[0]).assign_coords(coordinates), ends[0].assign_coords(coordinates)


def relative_changes(cube: xr.Dataset, predictor: str, *, ridge: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Δ_network/err_NTK(L) and Δ_predictor/err_NTK(L) between two depths, draw by draw.

    Args:
        cube: a cube at one width and n_train.
        predictor: the predictor.
        ridge: of the kernels.

    Returns:
        The two, over (left_out, change, init_scale, draw, seed), changes as in `depth_pairs`; networks
        that were not trained to the end are NaN.
    """
    network, other, kernel = (errors_without_folds(cube, name, ridge=ridge) for name in ("network", predictor, KERNEL))
    before = layer_changes(kernel)[1]
    return layer_changes(trained(cube, network))[0] / before, layer_changes(other)[0] / before


def seeded(values: xr.DataArray) -> xr.DataArray:
    """A kernel without seeds, as estimates of replicates take values."""
    return values if "seed" in values.dims else values.expand_dims("seed")


def signs_of(first: Estimate, second: Estimate) -> str:
    """`agree` or `differ` where both estimates exceed two standard errors, `open` elsewhere."""
    both = (first, second)
    if not all(e.known and abs(e.value) > _STANDARD_ERRORS * max(e.error_low, e.error_high) for e in both):
        return "open"
    return "agree" if first.value * second.value > 0.0 else "differ"


def layer_change_table(cubes: Mapping[str, xr.Dataset], *, confidence: float) -> pd.DataFrame:
    """The changes of all experiments, beside every predictor with layers that an experiment has.

    Args:
        cubes: the cube of each experiment; those without networks or infinite NTK at two depths have none.
        confidence: coverage of the t intervals over draws.

    Returns:
        A row per change and predictor (`LayerChange`), and `rank_correlation`: Spearman's of the two changes over all
        single steps beside that predictor, NaN for fewer than three.
    """
    rows = [row for name, cube in cubes.items() for row in _rows(name, cube, confidence)]
    table = pd.DataFrame(rows, columns=[field.name for field in fields(LayerChange)])
    found = {
        name: rank_correlation(steps["network"].to_numpy(), steps["kernel"].to_numpy())
        for name, steps in table[~table["cumulative"].astype(bool)].groupby("predictor")
    }
    table["rank_correlation"] = table["predictor"].map(found).astype(float)
    return table


def _rows(name: str, cube: xr.Dataset, confidence: float) -> Iterator[LayerChange]:
    if cube.sizes["depth"] < 2 or f"test_mse_{KERNEL}" not in cube:
        return
    ridge = compared_ridge(experiment_settings(cube))
    cube = at_largest_n(cube).isel(width=int(cube["width"].values.argmax()))
    for predictor in [each for each in COMPARED if f"test_mse_{each}" in cube]:
        network, other = relative_changes(cube, predictor, ridge=ridge)
        for place in range(network.sizes["change"]):
            step = network.isel(change=place)
            depths = (int(step["before"]), int(step["after"]), not bool(step["single"]))
            for scale in range(cube.sizes["init_scale"]):
                values = [v.isel(change=place, init_scale=scale) for v in (network, other, network - other)]
                estimates = [cell_estimate(seeded(v)) for v in values]
                ends = [end for estimate in estimates for end in estimate.interval(confidence)]
                cell = (float(cube["init_scale"][scale]), int(cube["width"]), int(cube["n_train"]))
                signs = signs_of(*estimates[:2])
                yield LayerChange(name, *cell, *depths, predictor, ridge, *ends, signs, estimates[2].n)
