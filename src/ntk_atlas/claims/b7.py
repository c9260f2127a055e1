"""B7: test MSE of the network over that of regression around zero with its own final kernel, at every n."""

from ntk_atlas.claims import Claim, Threshold
from ntk_atlas.study.claim_needs import around_zero, own_curves, predictor, sizes_of_a_law

CLAIM = Claim(
    statement="The network's learning curve is that of regression with its own final kernel.",
    statistic=(
        "Test MSE of the network over that of regression around zero with its own final NTK (tuned ridge), at every n"
    ),
    source="a citing paper (Atanasov et al. 2022)",
    thresholds={
        # Ratio of errors, network to kernel, up to which they match, either way.
        "factor": Threshold(
            value=1.25,
            reason=(
                "A quarter of the error is what fitting the laws to eight times as many samples gains at an exponent "
                "of 0.1; in the pilot the initial kernel was 1.06 to 1.3 times the network on CIFAR-10, so that the "
                "margin parts them at the largest sizes only."
            ),
        ),
    },
    needs=(
        own_curves,
        sizes_of_a_law,
        predictor("ntk_final"),
        around_zero,
    ),
)

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Comparison, Measurement, Region, remarks
from ntk_atlas.judging.evidence import Evidence, cell_text, replicate_remark
from ntk_atlas.judging.scaling import (
    FINAL,
    cells,
    error_ratio,
    fitted_sizes,
    mean_estimate,
    need_curves,
    target_text,
    variables_of,
)


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Test MSE of the network over that of regression around zero with its own final kernel, at every n.

    Raises:
        NotJudgedError: where there is nothing to compare, or the kernel predicts around the network, which matches by
            construction once the network interpolates.
    """
    need_curves(evidence, FINAL)
    factor, comparisons = thresholds.factor.value, []
    for cell in cells(evidence.cube):
        for n in fitted_sizes(evidence):
            ratio = mean_estimate(error_ratio(evidence, "network", FINAL, cell, n))
            text = f"MSE of the network over its final NTK at n = {n}, {cell_text(evidence.cube, cell)}"
            comparisons.append(Comparison(text, ratio, Region(1.0 / factor, factor), trained=True))
    values = ", ".join(f"{c.estimate.interval(0.95)[0]:.2g}" for c in comparisons)
    remark = remarks(f"ratios by n: {values}", target_text(evidence), replicate_remark(evidence.cube))
    return Measurement(comparisons, variables_of(FINAL), remark)
