"""C5: networks against kernel regression with the infinite NTK, in error and as functions, at the largest width."""

from ntk_atlas.claims import THIRD, Claim, Threshold
from ntk_atlas.study.claim_needs import predictor

CLAIM = Claim(
    statement="Trained networks of this width are not kernel regression with their infinite-width NTK.",
    statistic=(
        "Test error of the network over that of the infinite NTK, and root mean square difference of their predictions "
        "over the NTK's error, at the largest width and every depth"
    ),
    compared=(
        (
            (
                "err of the network over that of the NTK, and root mean square distance of their predictions over "
                "√err_NTK: **at least one**"
            ),
            "outside 1/1.1 … 1.1; > 0.33",
        ),
    ),
    source="abstract (conclusion)",
    thresholds={
        # Ratio of test errors, either way, up to which they are the same.
        "factor": Threshold(
            value=1.1,
            reason="The tenth of C1 and C2.",
        ),
        # Root mean square difference of predictions, over the kernel's own error, up to which they are the same.
        "distance": THIRD,
    },
    needs=(predictor("infinite_ntk"),),
)

import numpy as np

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.cubes.dictionary import GAP_TERMS, WHOLE_GAP, pair_name
from ntk_atlas.cubes.files import compared_ridge, errors_without_folds
from ntk_atlas.judging.decision import Comparison, Measurement, Region, remarks
from ntk_atlas.judging.equivalence import DISTANCE, KERNEL, squared_share
from ntk_atlas.judging.evidence import (
    Evidence,
    at_largest_n,
    at_widest,
    cell,
    cell_estimate,
    own,
    places,
    ratio_estimate,
    replicate_remark,
    trained,
    unfinished_remark,
    widest,
)
from ntk_atlas.statistics.estimates import Estimate
from ntk_atlas.study.claim_needs import outside_the_theorem


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Networks against kernel regression with the infinite NTK, in error and as functions, at the largest width.

    The claim holds if at some depth the errors differ by more than a factor or the predictions by more than a share of
    the kernel's own error, and is rejected if nowhere they do. Any fixed width is far enough from the limit for some
    task; `measure_limit` is about the limit.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
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


def _root(estimate: Estimate) -> Estimate:
    """The square root of a logarithmic estimate."""
    halves = (0.5 * estimate.value, 0.5 * estimate.error_low, 0.5 * estimate.error_high)
    return Estimate(*halves, estimate.n, estimate.freedom, logarithmic=True, common=0.25 * estimate.common)


def _outside_text(settings: ExperimentSettings) -> str:
    found = outside_the_theorem(settings)
    return f"not covered by the theorem: {found}" if found else ""
