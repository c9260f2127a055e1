"""Networks against kernel regression with their infinite NTK: what layers add to both errors, and the limit of width.

The theorem speaks of the limit. A network of width M is its limit plus what its random initialization adds, of size
M^(−1/2), plus what training beyond the linear regime adds, of size 1/M. So the mean square distance of the two
functions, over networks and test samples, is

    d²(M) = d²(∞) + A/M + B/M² + …,

with d(∞) = 0 if the theorem holds. M d² is then a constant at large M, with the same noise at all widths: least squares
of M d² on M, 1 and 1/M has the weights that theory asks for, and its coefficient of M is d²(∞), draw by draw. The term
B/M² is needed: narrow networks make up in training for some of their random kernel, which bends the curve, and a
straight line through it ends above zero. The exponent of d in M, −1/2 in theory, says how much of the distance falls.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import xarray as xr

from ntk_atlas.cubes.dictionary import WHOLE_GAP, pair_name
from ntk_atlas.cubes.files import compared_ridge, errors_without_folds, experiment_settings, without_folds
from ntk_atlas.judging.evidence import at_largest_n, cell_estimate, trained
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
                of_network, of_other, of_both = (estimate.interval(confidence) for estimate in estimates)
                cell = (float(cube["init_scale"][scale]), int(cube["width"]), int(cube["n_train"]))
                signs = signs_of(*estimates[:2])
                ends = (*of_network, *of_other, *of_both)
                yield LayerChange(name, *cell, *depths, predictor, ridge, *ends, signs, estimates[2].n)


DISTANCE = f"distance_{pair_name(*WHOLE_GAP)}"


def width_law(share: xr.DataArray) -> xr.DataArray:
    """The constants of d² = d²(∞) + A/M + B/M² by least squares of M d² on M, 1 and 1/M, d² the mean over seeds.

    Args:
        share: squared distances over (width, draw, seed) and whatever else, three widths or more.

    Returns:
        The three in each draw, over `constant`; d²(∞) may be below zero; NaN where a width is missing.
    """
    width = share["width"].values.astype(float)
    columns = np.stack([width, np.ones_like(width), 1.0 / width], axis=1)
    weights = xr.DataArray(np.linalg.pinv(columns) * width, {"width": share["width"]}, ("constant", "width"))
    law: xr.DataArray = (weights * share.mean("seed")).sum("width", skipna=False)
    return law


def width_exponent(share: xr.DataArray) -> xr.DataArray:
    """β of d ∝ M^β: half of the least-squares slope of log d² in log M, d² the mean over seeds; arguments as above."""
    width = np.log(share["width"].astype(float))
    centred = width - width.mean()
    logarithms = np.log(share.mean("seed").clip(min=1e-16))
    exponent: xr.DataArray = 0.5 * (centred * logarithms).sum("width", skipna=False) / (centred**2).sum()
    return exponent


def squared_share(cube: xr.Dataset, functions: xr.Dataset, pair: tuple[str, str], ridge: str) -> xr.DataArray:
    """Mean square of f − g over the kernel's error, of networks that were trained to the end, with `left_out`."""
    name = pair_name(*pair)

    def at_ridge(values: xr.DataArray) -> xr.DataArray:
        return values.sel(ridge=ridge) if "ridge" in values.dims else values

    whole, kernel = at_ridge(functions[f"distance_{name}"]) ** 2, errors_without_folds(cube, KERNEL, ridge=ridge)
    parts = functions.get(f"square_distance_folds_{name}")
    if kernel.sizes["left_out"] > 1 and parts is not None:
        whole = without_folds(whole, at_ridge(parts), cube)
    else:
        kernel = kernel.isel(left_out=[0])
    return trained(cube, whole) / kernel
