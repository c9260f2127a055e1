"""C5: trained networks against kernel regression with their infinite NTK, at the largest width and in the limit.

The theorem speaks of the limit. A single network of width M is its limit plus what its random initialization adds, of
size M^(−1/2), plus what training beyond the linear regime adds, of size 1/M. So the mean square distance of the two
functions, over networks and test samples, is

    d²(M) = d²(∞) + A/M + O(M^(−2)),

with d(∞) = 0 if the theorem holds. So M d² is linear in M with slope d²(∞), and under the theorem it is a constant
whose noise is the same at all widths: least squares of M d² on M extrapolates with the weights that theory asks for,
draw by draw. The exponent of d in M, −1/2 in theory, says whether the widths are in the regime of that law.
"""

import numpy as np
import xarray as xr

from ntk_atlas.claims.decide import Comparison, NotJudgedError, Region
from ntk_atlas.claims.estimates import Estimate
from ntk_atlas.claims.evidence import Evidence, cell_text, need, need_settings
from ntk_atlas.claims.layer_changes import KERNEL, seeded
from ntk_atlas.claims.measurement import Measurement, remarks
from ntk_atlas.claims.networks import (
    at_largest_n,
    cell_estimate,
    ratio_estimate,
    replicate_remark,
    trained,
    unfinished_remark,
)
from ntk_atlas.claims.widest import at_widest, cell, own, places, widest
from ntk_atlas.config.claims.equivalence import InequivalenceSettings, WidthLimitSettings
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.gap import GAP_TERMS, WHOLE_GAP, pair_name
from ntk_atlas.cubes.layers import compared_ridge
from ntk_atlas.cubes.shared_samples import errors_without_folds, without_folds
from ntk_atlas.status import Status
from ntk_atlas.study.claim_needs import outside_the_theorem

DISTANCE = f"distance_{pair_name(*WHOLE_GAP)}"


def measure_inequivalence(evidence: Evidence, thresholds: InequivalenceSettings) -> Measurement:
    """C5: networks against kernel regression with the infinite NTK, in error and as functions, at the largest width.

    The claim holds if at some depth the errors differ by more than a factor or the predictions by more than a share of
    the kernel's own error, and is rejected if nowhere they do. Any fixed width is far enough from the limit for some
    task; `measure_limit` is about the limit.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("C5", evidence, thresholds)
    cube, ridge = widest(evidence, "test_mse_network", f"test_mse_{KERNEL}"), compared_ridge(evidence.settings)
    factor = thresholds.factor.value
    network = trained(cube, errors_without_folds(cube, "network"))
    kernel = errors_without_folds(cube, KERNEL, ridge=ridge)
    comparisons = [
        Comparison(
            f"error of the network over that of the NTK at {cell(network, place)}",
            ratio_estimate(network.isel(place), kernel.isel(own(kernel, place))),
            Region(1.0 / factor, factor, outside=True),
            trained=True,
        )
        for place in places(network)
    ]
    variables, said = ["test_mse_network", f"test_mse_{KERNEL}"], "predictions were not kept: errors only"
    if evidence.functions is not None:
        functions, parts = at_widest(at_largest_n(evidence.functions)), []
        if DISTANCE in functions:
            variables.append(DISTANCE)
            share = _squared_share(cube, functions, WHOLE_GAP, ridge)
            comparisons += [
                Comparison(
                    f"distance of predictions over the NTK's error at {cell(share, place)}",
                    _root(cell_estimate(share.isel(place), logarithmic=True)),
                    Region(lower=thresholds.distance.value),
                    trained=True,
                )
                for place in places(share)
            ]
        for pair in GAP_TERMS:
            if f"distance_{pair_name(*pair)}" in functions:
                deepest = _squared_share(cube, functions, pair, ridge).isel(left_out=0, depth=-1, init_scale=-1)
                parts.append(f"{pair[0]} − {pair[1]} {float(np.sqrt(deepest).mean()):.2g}")
        said = f"distances over the NTK's error at the deepest: {', '.join(parts)}" if parts else ""
    text = remarks(
        f"networks of width {int(cube['width'])}; C5∞ is about the limit",
        _outside_text(evidence.settings),
        said,
        f"kernel at ridge {ridge}",
        unfinished_remark(cube, evidence.settings),
        replicate_remark(cube),
    )
    return Measurement(comparisons, variables, text, any_of=True)


def measure_limit(evidence: Evidence, thresholds: WidthLimitSettings) -> Measurement:
    """C5∞: the limit of the squared distance as the width goes to ∞, and the exponent of the distance in the width.

    The claim holds if at some depth and init scale the extrapolated limit lies above the square of the share of the
    kernel's error that C5 asks for. It is rejected if everywhere the limit lies below and the distance falls as fast as
    theory's rate, within a margin, or faster: what falls more slowly does not follow the law that extrapolates.

    Raises:
        NotJudgedError: where the theorem says nothing, where the widths do not let one extrapolate, or where too many
            networks lack training.
    """
    settings = evidence.settings
    need_settings("C5∞", evidence, thresholds)
    cube = at_largest_n(evidence.cube)
    need(cube, "test_mse_network", f"test_mse_{KERNEL}")
    if evidence.functions is None or DISTANCE not in evidence.functions:
        raise NotJudgedError("not run", "distances of predictions are not in the files: run the study anew")
    _need_training(cube, settings, thresholds.most_above_target.value)
    functions = at_largest_n(evidence.functions)
    share = _squared_share(cube, functions, WHOLE_GAP, compared_ridge(settings))
    bound, rate = thresholds.distance.value**2, thresholds.rate.value + thresholds.rate_margin.value
    limits, rates, text = [], [], []
    for place in places(share):
        curve = share.isel(place)
        limit, exponent = (cell_estimate(seeded(found)) for found in (squared_limit(curve), width_exponent(curve)))
        where = cell_text(cube, place)
        limits.append(
            Comparison(
                f"squared distance over err_NTK as width → ∞ at {where}", limit, Region(lower=bound), trained=True
            )
        )
        rates.append(
            Comparison(
                f"exponent of the distance in the width at {where}", exponent, Region(lower=rate), trained=True,
                decides=False,
            )
        )  # fmt: skip
        text.append(f"{where}: {_law_text(curve, limit, exponent, bound)}")
    remark = remarks(*text, unfinished_remark(cube, settings), replicate_remark(cube))
    return Measurement([*limits, *rates], ["test_mse_network", f"test_mse_{KERNEL}", DISTANCE], remark, any_of=True)


def squared_limit(share: xr.DataArray) -> xr.DataArray:
    """d²(∞) by d² = d²(∞) + A/M: the least-squares slope of M d² in M, d² the mean over seeds.

    Args:
        share: squared distances over (width, draw, seed) and whatever else, three widths or more.

    Returns:
        The limit in each draw; below zero where noise has it so; NaN where a width is missing.
    """
    width = share["width"].astype(float)
    centred = width - width.mean()
    scaled = width * share.mean("seed")
    return (centred * scaled).sum("width", skipna=False) / (centred**2).sum()


def width_exponent(share: xr.DataArray) -> xr.DataArray:
    """β of d ∝ M^β: half of the least-squares slope of log d² in log M, d² the mean over seeds; arguments as above."""
    width = np.log(share["width"].astype(float))
    centred = width - width.mean()
    logarithms = np.log(share.mean("seed").clip(min=1e-16))
    return 0.5 * (centred * logarithms).sum("width", skipna=False) / (centred**2).sum()


def _squared_share(cube: xr.Dataset, functions: xr.Dataset, pair: tuple[str, str], ridge: str) -> xr.DataArray:
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


def _root(estimate: Estimate) -> Estimate:
    """The square root of a logarithmic estimate."""
    halves = (0.5 * estimate.value, 0.5 * estimate.error_low, 0.5 * estimate.error_high)
    return Estimate(*halves, estimate.n, estimate.freedom, logarithmic=True, common=0.25 * estimate.common)


def _outside_text(settings: ExperimentSettings) -> str:
    found = outside_the_theorem(settings)
    return f"not covered by the theorem: {found}" if found else ""


def _need_training(cube: xr.Dataset, settings: ExperimentSettings, most: float) -> None:
    """Checks that at no depth, width and init scale more than a share of networks ended above the training error asked.

    Raises:
        NotJudgedError: `inconclusive`, naming the cell with the largest share.
    """
    above = (cube["status"] == int(Status.BUDGET_SPENT)).mean(["draw", "seed"])
    worst = above.isel(above.argmax(...))
    if float(worst) > most:
        where = f"depth {int(worst['depth'])}, width {int(worst['width'])}"
        raise NotJudgedError(
            "inconclusive",
            f"{float(worst):.0%} of the networks at {where} ended above the training MSE of "
            f"{settings.training.target_mse:g}, {most:.0%} may: the theorem is about networks trained to the end, and "
            "what these lack is time, not width; raise training.max_epochs",
        )


def _law_text(curve: xr.DataArray, limit: Estimate, exponent: Estimate, bound: float) -> str:
    """The law in words: distance at the widest, exponent, and the width from which on the distance is a third."""
    mean = curve.isel(left_out=0).mean(["draw", "seed"])
    widest_place = int(mean["width"].values.argmax())
    at_widest_value = float(np.sqrt(mean.isel(width=widest_place)))
    value, low, high = exponent.interval(0.95)
    width = mean["width"].values.astype(float)
    amplitude = float((width * mean.values).mean() - limit.value * width.mean())
    parts = [
        f"distance {at_widest_value:.2g} of the NTK's error at width {int(width[widest_place])}",
        f"exponent {value:.2f} [{low:.2f}, {high:.2f}], −0.5 in theory",
    ]
    if 0.0 < amplitude and limit.value < bound:
        parts.append(f"by the law {np.sqrt(bound):.2g} from width {amplitude / (bound - limit.value):.0f} on")
    return ", ".join(parts)
