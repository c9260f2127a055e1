"""B5: the kernel of the trained network improves with the data it was trained on, and does not explain it all."""

from ntk_atlas.claims import EXPONENTS, Claim, Threshold
from ntk_atlas.study.claim_needs import own_curves, predictor, pretrained_kernels, sizes_of_a_law

CLAIM = Claim(
    statement=(
        "The kernel after training improves with the data it was trained on, but does not explain the network's "
        "exponent."
    ),
    statistic=(
        "Test MSE at the largest n, kernel trained there over kernel trained on m samples; exponent of the network "
        "minus that of the after-kernel"
    ),
    source="third-party summary",
    thresholds={
        **EXPONENTS,
        # Largest ratio of errors at the largest n_train: kernel trained there to kernel trained on few samples.
        "improvement": Threshold(
            value=0.909,
            reason="One over 1.1, a tenth of the error, as in B3.",
        ),
    },
    needs=(
        own_curves,
        pretrained_kernels("fewer samples"),
        sizes_of_a_law,
        predictor("ntk_final"),
    ),
)

from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Comparison, Measurement, Region, remarks
from ntk_atlas.judging.evidence import Evidence, cell_text, replicate_remark
from ntk_atlas.judging.scaling import (
    FINAL,
    cells,
    differences,
    error_ratio,
    fitted_sizes,
    mean_estimate,
    need_curves,
    pretrained_names,
    target_text,
    variables_of,
)


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """At the largest n, error of the kernel trained there over that of kernels trained on m < n samples; and the
    network's exponent minus that of the after-kernel.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    names = pretrained_names(evidence.settings)
    need_curves(evidence, FINAL, *names)
    sizes, comparisons = fitted_sizes(evidence), []
    for cell in cells(evidence.cube):
        at = cell_text(evidence.cube, cell)
        for name in names:
            ratio = mean_estimate(error_ratio(evidence, FINAL, name, cell, sizes[-1]))
            text = f"MSE at n = {sizes[-1]}, {predictor_label(FINAL)} over {predictor_label(name)} at {at}"
            comparisons.append(Comparison(text, ratio, Region(upper=thresholds.improvement.value), trained=True))
    compared, text = differences(evidence, FINAL, sizes, thresholds)
    remark = remarks(text, target_text(evidence), replicate_remark(evidence.cube))
    return Measurement(comparisons + compared, variables_of(FINAL, *names), remark)
