"""B1: exponent of the network minus that of its own NTK at initialization, in every cell."""

from ntk_atlas.claims import EXPONENTS, Claim
from ntk_atlas.study.claim_needs import own_curves, predictor, sizes_of_a_law

CLAIM = Claim(
    statement=(
        "The error of networks falls with more data with a larger exponent than that of their NTK at initialization."
    ),
    statistic="Exponent of test MSE against n, network minus its NTK at initialization (tuned ridge), paired by draw",
    source="abstract",
    thresholds=EXPONENTS,
    needs=(
        own_curves,
        sizes_of_a_law,
        predictor("ntk_init"),
    ),
)

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Measurement
from ntk_atlas.judging.evidence import Evidence
from ntk_atlas.judging.scaling import INITIAL, better_than


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Exponent of the network minus that of its own NTK at initialization, in every cell.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    return better_than(evidence, INITIAL, thresholds)
