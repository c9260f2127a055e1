"""A'3: median drift of the deepest networks, small if ordered, large if critical or chaotic."""

from ntk_atlas.claims import DEEP, MOVES, SETTLED, STILL, Claim
from ntk_atlas.study.claim_needs import PHASES, deep_networks, differing_phases

CLAIM = Claim(
    statement="Only in the ordered phase may the kernel of the median deep network stay constant.",
    statistic="Relative drift of the kernel of the median deepest, narrowest network at the last epoch, phase by phase",
    compared=(
        (
            "median drift at the last epoch, deepest: critical and chaotic",
            "> 0.2",
        ),
        (
            "ordered (settled)",
            "< 0.1",
        ),
    ),
    source="abstract; the median network is our reading",
    thresholds={
        # Least relative drift, critical and chaotic.
        "drift": MOVES,
        # Largest relative drift, ordered.
        "ordered_drift": STILL,
        # λ from which a network counts as deep.
        "least_lambda": DEEP,
        # M (‖x‖²/n₀) L χ₁^L, up to which the ordered phase has settled.
        "unsettled": SETTLED,
    },
    needs=(
        differing_phases(*PHASES),
        deep_networks("grid"),
    ),
)

import numpy as np

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Measurement, NotJudgedError, Region
from ntk_atlas.judging.evidence import (
    Evidence,
    at_largest_n,
    deepest_cell,
    final_values,
    need,
    scales_of,
    settled_depths,
    unsettled_reason,
)
from ntk_atlas.judging.kernels import DRIFT, conditions, drift_comparison
from ntk_atlas.study.claim_needs import PHASES


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Median drift of the deepest networks, small if ordered, large if critical or chaotic.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    cube = at_largest_n(evidence.cube)
    need(cube, DRIFT)
    place = deepest_cell(cube, thresholds.least_lambda.value)
    drift, comparisons = final_values(cube, DRIFT), []
    for scale in scales_of(cube, *PHASES):
        ordered = cube["phase"].values[scale] == "ordered"
        settled = settled_depths(cube, int(scale), place["width"], thresholds.unsettled.value)
        if ordered and place["depth"] not in settled:
            continue
        bound = thresholds.ordered_drift.value if ordered else thresholds.drift.value
        region = Region(upper=bound) if ordered else Region(lower=bound)
        comparisons.append(drift_comparison(cube, drift, place | {"init_scale": int(scale)}, region))
    if not any(says_small(comparison.region) for comparison in comparisons):
        raise NotJudgedError("not run", unsettled_reason(thresholds.unsettled.value, "grid.depth"))
    return Measurement(comparisons, [DRIFT], conditions(evidence))


def says_small(region: Region) -> bool:
    """Whether a region says "small"."""
    return bool(np.isfinite(region.upper))
