"""B2: exponent of each variant's networks minus that of the experiment's initial NTK, in every cell."""

from ntk_atlas.claims import EXPONENTS, Claim, Threshold
from ntk_atlas.study.claim_needs import own_curves, predictor, sizes_of_a_law, varied_training

CLAIM = Claim(
    statement="So it does with other learning rates, batch sizes and optimizers.",
    statistic=(
        "Exponent of test MSE against n, networks trained with another learning rate, batch size or optimizer minus "
        "the NTK at initialization, paired by draw"
    ),
    source="introduction",
    thresholds={
        **EXPONENTS,
        # Largest share of a variant's networks that end above `training.target_mse`.
        "most_above_target": Threshold(
            value=0.5,
            reason=(
                "A setting at which more than half of the networks do not fit their training set is outside the range "
                "used in practice, which is what the claim is about; it is named, and left out."
            ),
        ),
    },
    needs=(
        own_curves,
        varied_training,
        sizes_of_a_law,
        predictor("ntk_init"),
    ),
)

import numpy as np

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Measurement, NotJudgedError, Region, remarks
from ntk_atlas.judging.evidence import Evidence, cell_text, replicate_remark
from ntk_atlas.judging.scaling import INITIAL, above_target, cells, fitted_sizes, need_curves, paired_laws, variables_of
from ntk_atlas.study.claim_needs import varied_knobs


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Exponent of each variant's networks minus that of the experiment's initial NTK, in every cell.

    Raises:
        NotJudgedError: where learning rate, batch size and optimizer are not all varied.
    """
    need_curves(evidence, INITIAL)
    others = {name: settings for name, (settings, _) in evidence.variants.items()}
    varied = varied_knobs(evidence.settings, others, least_sizes=thresholds.least_sizes.value)
    comparisons, parts = [], []
    for name, knobs in varied.items():
        settings, cube = evidence.variants[name]
        missed, total = above_target(cube["status"])
        label = f"{name} ({', '.join(knobs)})"
        if missed > thresholds.most_above_target.value * total:
            parts.append(f"{label} left out: {missed} of {total} networks above training MSE "
                         f"{settings.training.target_mse:g}")  # fmt: skip
            continue
        sizes = np.intersect1d(fitted_sizes(evidence), cube["n_train"].values)
        for cell in cells(evidence.cube):
            laws = paired_laws(evidence, INITIAL, cell, sizes, thresholds, network=cube)
            region = Region(lower=thresholds.exponent_difference.value)
            text = f"exponent, network of {label} − initial NTK at {cell_text(evidence.cube, cell)}"
            comparisons.append(laws.comparison(text, region))
            parts.append(f"{label}: {laws.text}")
    if not comparisons:
        raise NotJudgedError("inconclusive", "; ".join(parts))
    return Measurement(comparisons, variables_of(INITIAL), remarks(*parts, replicate_remark(evidence.cube)))
