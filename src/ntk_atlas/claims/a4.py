"""A4: Var log Θ and median drift of all ordered cells that have settled, drift at equal epoch and loss."""

from ntk_atlas.claims import SETTLED, STILL, Claim, Threshold
from ntk_atlas.study.claim_needs import DISPERSION, differing_phases, settled_comparisons

CLAIM = Claim(
    statement=(
        "Networks whose gradients vanish are in the NTK regime: their kernel is not random, and the median network's "
        "does not move."
    ),
    statistic="Var log Θ of all settled ordered cells, and relative drift of their median network",
    compared=(
        (
            "Var log Θ of every settled ordered cell",
            "< 0.1",
        ),
        (
            "median drift of every such cell at the last epoch, and at equal loss where all networks got there",
            "< 0.1",
        ),
    ),
    source="abstract; the median network is our reading",
    thresholds={
        # Largest Var log Θ.
        "log_variance": Threshold(
            value=0.1,
            reason=(
                "A standard deviation of log Θ of 0.32, R of 1.1; theory has R = 1.02 for σ_w² = 1 and 1.07 for 1.5 at "
                "width 100."
            ),
        ),
        # Largest relative drift.
        "drift": STILL,
        # M (‖x‖²/n₀) L χ₁^L, up to which the ordered phase has settled.
        "unsettled": SETTLED,
    },
    needs=(
        differing_phases("ordered"),
        DISPERSION,
    ),
    medians=settled_comparisons,
)

import xarray as xr

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Comparison, Measurement, NotJudgedError, Region, remarks
from ntk_atlas.judging.evidence import (
    Evidence,
    at_largest_n,
    cell_text,
    need,
    need_dispersion,
    scales_of,
    settled_depths,
    unsettled_reason,
)
from ntk_atlas.judging.kernels import (
    DRIFT,
    EQUAL_LOSS,
    LOG_VARIANCE,
    conditions,
    drift_comparisons,
    inputs_text,
    log_variance,
)


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Var log Θ and median drift of all ordered cells that have settled, drift at equal epoch and loss.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    dispersion, cube = need_dispersion(evidence), at_largest_n(evidence.cube)
    need(dispersion, LOG_VARIANCE)
    need(cube, DRIFT)
    most = thresholds.unsettled.value
    calm = Region(upper=thresholds.log_variance.value)
    comparisons = [
        Comparison(f"Var log Θ at {cell_text(dispersion, cell)}", log_variance(evidence, cell, logarithmic=True), calm)
        for cell in _settled_cells(dispersion, most)
    ]
    still = Region(upper=thresholds.drift.value)
    drifts, remark = drift_comparisons(cube, _settled_cells(cube, most), still, all_cells=False)
    if not comparisons or not drifts:
        where = "dispersion.depth" if not comparisons else "grid.depth"
        raise NotJudgedError("not run", unsettled_reason(most, where))
    remark = remarks(remark, inputs_text(dispersion), conditions(evidence))
    return Measurement([*comparisons, *drifts], [LOG_VARIANCE, DRIFT, EQUAL_LOSS], remark)


def _settled_cells(dataset: xr.Dataset, most: float) -> list[dict[str, int]]:
    return [
        {"depth": int(depth), "width": width, "init_scale": int(scale)}
        for scale in scales_of(dataset, "ordered")
        for width in range(dataset.sizes["width"])
        for depth in settled_depths(dataset, int(scale), width, most)
    ]
