"""A'2: slopes of Var log Θ in λ at the narrowest width, phase by phase; ordered only where the phase settled."""

from ntk_atlas.claims import GROWS, SETTLED, Claim, Threshold
from ntk_atlas.study.claim_needs import DISPERSION, PHASES, depths_to_grow_over, differing_phases

CLAIM = Claim(
    statement=(
        "Variability of the kernel grows exponentially with depth at criticality and in chaos, not in the ordered "
        "phase."
    ),
    statistic="Slope of Var log Θ(x, x) in λ = (depth + 1)/width at the narrowest width, ordered where settled",
    compared=(
        (
            "slope of Var log Θ in λ at the narrowest width, every critical and chaotic init scale",
            "> 1",
        ),
        (
            "every ordered init scale, over settled depths",
            "−0.25 … 0.25",
        ),
    ),
    source="abstract",
    thresholds={
        # Least slope of Var log Θ in λ, critical and chaotic.
        "growth": GROWS,
        # Largest slope of Var log Θ in λ, ordered, either way.
        "ordered_growth": Threshold(
            value=0.25,
            reason="A quarter of what counts as growth; theory has 0 once the phase has settled.",
        ),
        # M (‖x‖²/n₀) L χ₁^L, up to which the ordered phase has settled.
        "unsettled": SETTLED,
    },
    needs=(
        differing_phases(*PHASES),
        DISPERSION,
        depths_to_grow_over,
    ),
    trained=False,
)

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Measurement, NotJudgedError, Region
from ntk_atlas.judging.evidence import Evidence, need, need_dispersion, unsettled_reason
from ntk_atlas.judging.kernels import LOG_VARIANCE, growth_in_lambda, inputs_text
from ntk_atlas.study.claim_needs import PHASES


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Slopes of Var log Θ in λ at the narrowest width, phase by phase; ordered only where the phase settled.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need(need_dispersion(evidence), LOG_VARIANCE)
    growing = Region(lower=thresholds.growth.value)
    flat = Region(-thresholds.ordered_growth.value, thresholds.ordered_growth.value)
    comparisons = growth_in_lambda(evidence, 0, ["critical", "chaotic"], growing)
    settled = growth_in_lambda(evidence, 0, ["ordered"], flat, unsettled=thresholds.unsettled.value)
    if not settled:
        reason = unsettled_reason(thresholds.unsettled.value, "dispersion.depth")
        raise NotJudgedError("not run", f"a slope needs two settled depths; {reason}")
    return Measurement([*comparisons, *settled], [LOG_VARIANCE], inputs_text(need_dispersion(evidence)))
