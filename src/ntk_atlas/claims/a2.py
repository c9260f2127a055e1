"""A2: Var log Θ of the deepest chaotic networks, and its slope in λ at their width."""

from ntk_atlas.claims import DEEP, GROWS, Claim, Threshold
from ntk_atlas.study.claim_needs import DISPERSION, deep_networks, depths_to_grow_over, differing_phases

CLAIM = Claim(
    statement="Deep networks whose gradients explode have a random kernel at initialization, the more so the deeper.",
    statistic="Var log Θ(x, x) over initializations of the deepest, narrowest chaotic networks, and its slope in λ",
    compared=(
        (
            "Var log Θ of every chaotic init scale, deepest",
            "> 0.25",
        ),
        (
            "its least-squares slope in λ at that width",
            "> 1",
        ),
    ),
    source="abstract; Var log Θ instead of R is our reading",
    thresholds={
        # Least Var log Θ.
        "log_variance": Threshold(
            value=0.25,
            reason=(
                "A standard deviation of log Θ of 0.5 means that a typical kernel is off its mean by a factor of 1.6 "
                "either way; R is then about 1.3."
            ),
        ),
        # Least slope of Var log Θ in λ.
        "growth": GROWS,
        # λ from which a network counts as deep.
        "least_lambda": DEEP,
    },
    needs=(
        differing_phases("chaotic"),
        DISPERSION,
        deep_networks("dispersion"),
        depths_to_grow_over,
    ),
    trained=False,
)

import xarray as xr

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Comparison, Measurement, Region, remarks
from ntk_atlas.judging.evidence import Evidence, cell_text, deepest_cell, need, need_dispersion, scales_of
from ntk_atlas.judging.kernels import LOG_VARIANCE, growth_in_lambda, inputs_text, log_variance, stored_value


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Var log Θ of the deepest chaotic networks, and its slope in λ at their width.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    dispersion = need_dispersion(evidence)
    need(dispersion, LOG_VARIANCE)
    place = deepest_cell(dispersion, thresholds.least_lambda.value)
    comparisons, ratios = [], []
    for scale in scales_of(dispersion, "chaotic"):
        cell = place | {"init_scale": int(scale)}
        estimate = log_variance(evidence, cell, logarithmic=True)
        label = f"Var log Θ at {cell_text(dispersion, cell)}"
        comparisons.append(Comparison(label, estimate, Region(lower=thresholds.log_variance.value)))
        ratios.append(_ratio_text(dispersion, cell))
    comparisons += growth_in_lambda(evidence, place["width"], ["chaotic"], Region(lower=thresholds.growth.value))
    remark = remarks(f"R = E[Θ²]/E[Θ]² there: {', '.join(ratios)}", inputs_text(dispersion))
    return Measurement(comparisons, [LOG_VARIANCE, "ntk_ratio"], remark)


def _ratio_text(dispersion: xr.Dataset, place: dict[str, int]) -> str:
    if "ntk_ratio" not in dispersion:
        return "not stored"
    reliable = "ntk_ratio_reliable" not in dispersion or stored_value(dispersion, "ntk_ratio_reliable", place) > 0
    return f"{stored_value(dispersion, 'ntk_ratio', place):.3g}" + ("" if reliable else " (unreliable)")
