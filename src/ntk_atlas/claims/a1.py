"""A1: chaotic against ordered at the deepest cell, and deep against shallow in chaos; dispersion and drift."""

from ntk_atlas.claims import DEEP, SETTLED, Claim, Threshold
from ntk_atlas.study.claim_needs import DISPERSION, deep_networks, differing_phases, two_depths_everywhere

CLAIM = Claim(
    statement="Whether a network is in the NTK regime depends on the phase of its initialization and on its depth.",
    statistic=(
        "Differences of Var log Θ and ratios of drift, chaotic to ordered at the deepest cell and deepest to "
        "shallowest in chaos"
    ),
    compared=(
        (
            "Var log Θ, deepest: chaotic − ordered; in chaos: deepest − shallowest",
            "> 0.1",
        ),
        (
            "drift, the same two contrasts as median paired ratios, either way; drifts below 0.02 count as 0.02",
            "outside 1/1.5 … 1.5",
        ),
    ),
    source="abstract",
    thresholds={
        # Least difference of Var log Θ, chaotic − ordered and deep − shallow.
        "log_variance_difference": Threshold(
            value=0.1,
            reason=(
                "A difference of 0.1 is the largest Var log Θ that A4 still calls not random; differences below it "
                "leave both cells in the regime."
            ),
        ),
        # Least ratio of drifts, either way.
        "drift_factor": Threshold(
            value=1.5,
            reason=(
                "Half as much movement again is more than what a change of the checkpoint epoch by one step on the log "
                "grid does late in training."
            ),
        ),
        # Drift that counts as none: smaller ones are raised to it before ratios are taken.
        "drift_floor": Threshold(
            value=0.02,
            reason=(
                "A fifth of what A4 still calls still; the ratio of two movements that are both below it says nothing "
                "of the regime, however large."
            ),
        ),
        # λ from which a network counts as deep.
        "least_lambda": DEEP,
        # M (‖x‖²/n₀) L χ₁^L, up to which the ordered phase has settled.
        "unsettled": SETTLED,
    },
    needs=(
        differing_phases("ordered", "chaotic"),
        DISPERSION,
        two_depths_everywhere,
        deep_networks("dispersion", "grid"),
    ),
)

import xarray as xr

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Comparison, Measurement, NotJudgedError, Region, remarks
from ntk_atlas.judging.evidence import (
    Evidence,
    at_largest_n,
    cell_text,
    deepest_cell,
    final_values,
    need,
    need_dispersion,
    ratio_median,
    scales_of,
    settled_depths,
    unsettled_reason,
)
from ntk_atlas.judging.kernels import DRIFT, LOG_VARIANCE, conditions, inputs_text, log_variance
from ntk_atlas.statistics.estimates import combination


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Chaotic against ordered at the deepest cell, and deep against shallow in chaos; dispersion and drift.

    The ordered cell must have settled (`evidence.settled_depths`): before, it is as random as a critical one.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    dispersion, cube = need_dispersion(evidence), at_largest_n(evidence.cube)
    need(dispersion, LOG_VARIANCE)
    need(cube, DRIFT)
    comparisons = []
    for text, high, low in _contrasts(dispersion, thresholds, "dispersion.depth"):
        difference = combination([log_variance(evidence, high), log_variance(evidence, low)], [1.0, -1.0])
        region = Region(lower=thresholds.log_variance_difference.value)
        comparisons.append(Comparison(f"Var log Θ, {text}, difference", difference, region))
    drift = final_values(cube, DRIFT).clip(min=thresholds.drift_floor.value)
    factor = thresholds.drift_factor.value
    for text, high, low in _contrasts(cube, thresholds, "grid.depth"):
        ratio = ratio_median(drift.isel(high), drift.isel(low))
        region = Region(1.0 / factor, factor, outside=True)
        comparisons.append(Comparison(f"drift, {text}, median ratio", ratio, region, trained=True))
    remark = remarks(inputs_text(dispersion), conditions(evidence))
    return Measurement(comparisons, [LOG_VARIANCE, DRIFT], remark)


def _contrasts(
    dataset: xr.Dataset, thresholds: ClaimSettings, where: str
) -> list[tuple[str, dict[str, int], dict[str, int]]]:
    """(words, cell that should be larger, cell that should be smaller): across phases, and across depths in chaos.

    Raises:
        NotJudgedError: if the deepest cell of the most ordered init scale has not settled; `where` are its depths.
    """
    deep, most = deepest_cell(dataset, thresholds.least_lambda.value), thresholds.unsettled.value
    ordered, chaotic = int(scales_of(dataset, "ordered")[0]), int(scales_of(dataset, "chaotic")[-1])
    if deep["depth"] not in settled_depths(dataset, ordered, deep["width"], most):
        raise NotJudgedError("not run", unsettled_reason(most, where))
    top = deep | {"init_scale": chaotic}
    return [
        (f"chaotic to ordered at {cell_text(dataset, deep)}", top, deep | {"init_scale": ordered}),
        (f"deepest to shallowest in chaos at {cell_text(dataset, top)}", top, top | {"depth": 0}),
    ]
