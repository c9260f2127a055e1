"""B1∞: the same against the infinite-width NTK; a stand-in is not judged, its difference is a remark."""

from ntk_atlas.claims import EXPONENTS, Claim
from ntk_atlas.study.claim_needs import own_curves, predictor, sizes_of_a_law

CLAIM = Claim(
    statement="So it does compared with the infinite-width NTK.",
    statistic="Exponent of test MSE against n, network minus infinite-width NTK (tuned ridge), paired by draw",
    source="abstract",
    thresholds=EXPONENTS,
    needs=(
        own_curves,
        sizes_of_a_law,
        predictor("infinite_ntk"),
    ),
    asks_itself=True,
)

from ntk_atlas.config.predictors import STAND_IN, predictor_label
from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Measurement, NotJudgedError
from ntk_atlas.judging.evidence import Evidence, need_settings
from ntk_atlas.judging.scaling import INFINITE, better_than, cells, fitted_sizes, paired_laws


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """As B1, against the infinite-width NTK; a stand-in is not judged, its difference is a remark.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    try:
        need_settings(CLAIM, evidence, thresholds)
        return better_than(evidence, INFINITE, thresholds)
    except NotJudgedError as reason:
        sizes, cube = fitted_sizes(evidence), evidence.cube
        few = len(sizes) < thresholds.least_sizes.value
        if reason.word != "not run" or f"test_mse_{STAND_IN}" not in cube or few:
            raise
        laws = paired_laws(evidence, STAND_IN, cells(cube)[0], sizes, thresholds)
        value, low, high = laws.estimate.interval(0.95)
        stand_in = f"network minus stand-in ({predictor_label(STAND_IN)}): {value:.2g} [{low:.2g}, {high:.2g}]"
        raise NotJudgedError("not run", f"{reason}; not judged: {stand_in}") from None
