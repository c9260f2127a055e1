"""R1: networks against their own linearization at initialization, trained alike, as functions."""

from ntk_atlas.claims import Claim, Threshold
from ntk_atlas.study.claim_needs import predictor

CLAIM = Claim(
    statement="The trained network is its linearization at initialization: its kernel stood still where it counts.",
    statistic=(
        "Root mean square difference of the network's predictions and those of its linearization, trained alike, over "
        "the error of the linearization, on test samples, at the largest width and n_train, every depth and init scale"
    ),
    compared=(
        (
            "root mean square distance of a network from its linearization, over √err_linearized: **every** cell",
            "< 0.33",
        ),
    ),
    source=(
        "Lee et al. 2019 ([1902.06720](https://arxiv.org/abs/1902.06720)), abstract, of wide networks; "
        "Chizat et al. 2019 ([1812.07956](https://arxiv.org/abs/1812.07956)), section 2, of scaled ones: both bound "
        "the distance; how small it must be is our reading"
    ),
    thresholds={
        # Root mean square difference of predictions, over the linearization's own error, up to which they are the same.
        "distance": Threshold(
            value=0.33,
            reason=(
                "Predictions that differ by a third of the linearization's own error could change its square by a "
                "tenth if they were not related to it; the regimes of cells take the same share (config/regimes.yaml)."
            ),
        ),
    },
    needs=(predictor("linearized"),),
)

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.cubes.files import errors_without_folds, without_folds
from ntk_atlas.judging.decision import Comparison, Measurement, Region, remarks
from ntk_atlas.judging.evidence import (
    Evidence,
    cell,
    cell_estimate,
    places,
    replicate_remark,
    trained,
    unfinished_remark,
    widest,
)
from ntk_atlas.statistics.estimates import Estimate

_DISTANCE, _FOLDS = "distance_linearized", "square_distance_folds_linearized"


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Networks against their linearization at the largest width, as functions: geometric means over networks.

    The claim is about any network, with an infinite kernel or without: it asks for the predictor `linearized` alone.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    cube = widest(evidence, _DISTANCE, "test_mse_linearized")
    error = errors_without_folds(cube, "linearized")
    square = cube[_DISTANCE] ** 2 * error.isel(left_out=0, drop=True)
    if error.sizes["left_out"] > 1:
        square = without_folds(square, cube[_FOLDS], cube)
    share = trained(cube, square) / error
    comparisons = [
        Comparison(
            f"distance from the linearization over its error at {cell(share, place)}",
            _root(cell_estimate(share.isel(place), logarithmic=True)),
            Region(upper=thresholds.distance.value),
            trained=True,
        )
        for place in places(share)
    ]
    text = remarks(
        f"networks of width {int(cube['width'])}", unfinished_remark(cube, evidence.settings), replicate_remark(cube)
    )
    return Measurement(comparisons, [_DISTANCE], text)


def _root(estimate: Estimate) -> Estimate:
    """The square root of a logarithmic estimate."""
    halves = (0.5 * estimate.value, 0.5 * estimate.error_low, 0.5 * estimate.error_high)
    return Estimate(*halves, estimate.n, estimate.freedom, logarithmic=True, common=0.25 * estimate.common)
