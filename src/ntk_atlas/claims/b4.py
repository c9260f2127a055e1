"""B4: exponent of the network minus that of kernels trained on m samples, both over n ≥ m, in every cell."""

from ntk_atlas.claims import EXPONENTS, Claim
from ntk_atlas.study.claim_needs import own_curves, pretrained_kernels, sizes_above_pretrained

CLAIM = Claim(
    statement="A kernel trained on a constant number of samples does not catch up with the network's exponent.",
    statistic=(
        "Exponent of test MSE against n >= m, network minus the NTK of the network trained on the first m samples, "
        "paired by draw"
    ),
    source="abstract",
    thresholds=EXPONENTS,
    needs=(
        own_curves,
        pretrained_kernels("m samples"),
        sizes_above_pretrained,
    ),
)

from ntk_atlas.config.predictors import PRETRAINED
from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Measurement, remarks
from ntk_atlas.judging.evidence import Evidence, replicate_remark
from ntk_atlas.judging.scaling import differences, fitted_sizes, need_curves, pretrained_names, variables_of


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Exponent of the network minus that of kernels trained on m samples, both over n ≥ m, in every cell.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    names = pretrained_names(evidence.settings)
    need_curves(evidence, *names)
    comparisons, parts = [], []
    for name in names:
        sizes = fitted_sizes(evidence, int(name.removeprefix(PRETRAINED)))
        compared, text = differences(evidence, name, sizes, thresholds)
        comparisons += compared
        parts += [text]
    return Measurement(comparisons, variables_of(*names), remarks(*parts, replicate_remark(evidence.cube)))
