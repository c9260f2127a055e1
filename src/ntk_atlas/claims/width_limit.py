"""C5: trained networks against kernel regression with their infinite NTK, at the largest width and in the limit.

The theorem speaks of the limit. A network of width M is its limit plus what its random initialization adds, of size
M^(−1/2), plus what training beyond the linear regime adds, of size 1/M. So the mean square distance of the two
functions, over networks and test samples, is

    d²(M) = d²(∞) + A/M + B/M² + …,

with d(∞) = 0 if the theorem holds. M d² is then a constant at large M, with the same noise at all widths: least squares
of M d² on M, 1 and 1/M has the weights that theory asks for, and its coefficient of M is d²(∞), draw by draw. The term
B/M² is needed: narrow networks make up in training for some of their random kernel, which bends the curve, and a
straight line through it ends above zero. The exponent of d in M, −1/2 in theory, says how much of the distance falls.
"""

import numpy as np
import xarray as xr

from ntk_atlas.claims.decide import Comparison, NotJudgedError, Region
from ntk_atlas.claims.estimates import Estimate
from ntk_atlas.claims.evidence import (
    Evidence,
    at_widest,
    cell,
    cell_text,
    need,
    need_settings,
    own,
    places,
    widest,
)
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
from ntk_atlas.config.claims.equivalence import InequivalenceSettings, WidthLimitSettings
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.gap import GAP_TERMS, WHOLE_GAP, pair_name
from ntk_atlas.cubes.layers import compared_ridge
from ntk_atlas.cubes.shared_samples import FOLD_SHARE, SHARED_TRAIN, errors_without_folds, without_folds
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
            share = squared_share(cube, functions, WHOLE_GAP, ridge)
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
                deepest = squared_share(cube, functions, pair, ridge).isel(left_out=0, depth=-1, init_scale=-1)
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
    kernel's error that C5 asks for. It is rejected if everywhere the limit lies below and the distance falls at
    theory's rate, within a margin, or faster: where it falls more slowly, much of it is there to stay.

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
    share = squared_share(cube, functions, WHOLE_GAP, compared_ridge(settings))
    bound, rate = thresholds.distance.value**2, thresholds.rate.value + thresholds.rate_margin.value
    limits, rates, text = [], [], []
    for place in places(share):
        curve = _seeds_of_one_draw(share.isel(place))
        law = width_law(curve)
        limit, exponent = (cell_estimate(seeded(v)) for v in (law.isel(constant=0), width_exponent(curve)))
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
        text.append(f"{where}: {_law_text(curve, law, limit, exponent, bound)}")
    remark = remarks(*text, unfinished_remark(cube, settings), replicate_remark(cube))
    return Measurement([*limits, *rates], ["test_mse_network", f"test_mse_{KERNEL}", DISTANCE], remark, any_of=True)


def _seeds_of_one_draw(share: xr.DataArray) -> xr.DataArray:
    """Squared distances in which the seeds of a single draw stand for draws: they are the replicates then."""
    if share.sizes["draw"] > 1:
        return share
    alone = share.isel(draw=0).drop_vars(["draw", FOLD_SHARE, SHARED_TRAIN], errors="ignore")
    return alone.rename(seed="draw").expand_dims("seed")


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
    return (weights * share.mean("seed")).sum("width", skipna=False)


def width_exponent(share: xr.DataArray) -> xr.DataArray:
    """β of d ∝ M^β: half of the least-squares slope of log d² in log M, d² the mean over seeds; arguments as above."""
    width = np.log(share["width"].astype(float))
    centred = width - width.mean()
    logarithms = np.log(share.mean("seed").clip(min=1e-16))
    return 0.5 * (centred * logarithms).sum("width", skipna=False) / (centred**2).sum()


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


def _root(estimate: Estimate) -> Estimate:
    """The square root of a logarithmic estimate."""
    halves = (0.5 * estimate.value, 0.5 * estimate.error_low, 0.5 * estimate.error_high)
    return Estimate(*halves, estimate.n, estimate.freedom, logarithmic=True, common=0.25 * estimate.common)


def _outside_text(settings: ExperimentSettings) -> str:
    found = outside_the_theorem(settings)
    return f"not covered by the theorem: {found}" if found else ""


def _need_training(cube: xr.Dataset, settings: ExperimentSettings, most: float) -> None:
    """Checks that at no depth, width and init scale more than a share of networks lack the training error asked.

    Networks that ended above it lack it, and so do those that diverged: what is left of a cell is a selection.

    Raises:
        NotJudgedError: `inconclusive`, naming the cell with the largest share.
    """
    lacking = cube["status"].isin([int(Status.BUDGET_SPENT), int(Status.DIVERGED)]).mean(["draw", "seed"])
    worst = lacking.isel(lacking.argmax(...))
    if float(worst) > most:
        where = f"depth {int(worst['depth'])}, width {int(worst['width'])}"
        raise NotJudgedError(
            "inconclusive",
            f"{float(worst):.0%} of the networks at {where} diverged or ended above the training MSE of "
            f"{settings.training.target_mse:g}, {most:.0%} may: the theorem is about networks trained to the end, and "
            "what these lack is time or a smaller rate, not width: raise training.max_epochs or lower the rate",
        )


def _law_text(curve: xr.DataArray, law: xr.DataArray, limit: Estimate, exponent: Estimate, bound: float) -> str:
    """In words: distance at the widest, exponent, d²(∞), and the width from which on the law has d² below the bound."""
    mean = curve.isel(left_out=0).mean(["draw", "seed"])
    last = mean.isel(width=int(mean["width"].values.argmax()))
    end, first, second = law.isel(left_out=0).mean("draw").values
    parts = [
        f"distance {float(np.sqrt(last)):.2g} of the NTK's error at width {int(last['width'])}",
        f"exponent {_interval_text(exponent)}, −0.5 in theory",
        f"limit of the square {_interval_text(limit)}",
    ]
    crossings = [root.real for root in np.roots([second, first, end - bound]) if abs(root.imag) < 1e-12 < root.real]
    if end < bound and crossings:
        parts.append(f"by the law {np.sqrt(bound):.2g} from width {1.0 / min(crossings):.0f} on")
    return ", ".join(parts)


def _interval_text(estimate: Estimate) -> str:
    value, low, high = estimate.interval(0.95)
    return f"{value:.2g} [{low:.2g}, {high:.2g}]"
