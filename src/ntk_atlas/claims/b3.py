"""B3: the network's advantage over its initial NTK grows with n and shrinks with the width."""

from ntk_atlas.claims import VISIBLE, Claim
from ntk_atlas.study.claim_needs import own_widths, predictor, several, sizes_of_a_law

CLAIM = Claim(
    statement=(
        "The advantage over the initial kernel grows with the training set at a fixed width, and shrinks with width at "
        "a fixed training set."
    ),
    statistic=(
        "Test MSE of the initial NTK over that of the network: its growth from the smallest to the largest n at the "
        "narrowest width, and its fall from the narrowest to the widest network at the largest n"
    ),
    source="introduction (the width matters); growth and fall are our reading",
    thresholds={
        # Least factor by which the ratio of errors, kernel to network, grows from the smallest n_train to the
        # largest.
        "growth": VISIBLE,
        # Least factor by which it shrinks from the narrowest to the widest network.
        "shrinkage": VISIBLE,
    },
    needs=(
        own_widths,
        sizes_of_a_law,
        several("width"),
        predictor("ntk_init"),
    ),
)

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Comparison, Measurement, Region, remarks
from ntk_atlas.judging.evidence import Evidence, cell_text, replicate_remark
from ntk_atlas.judging.scaling import (
    INITIAL,
    cells,
    error_ratio,
    fitted_sizes,
    mean_estimate,
    need_curves,
    quotient,
    target_text,
)


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Test MSE of the initial NTK over that of the network grows with n at the narrowest width, and shrinks with
    width at the largest n.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_curves(evidence, INITIAL)
    sizes, widths = fitted_sizes(evidence), evidence.cube["width"].values
    comparisons = []
    for cell in [cell for cell in cells(evidence.cube) if cell["width"] == 0]:
        gaps = {
            (width, n): error_ratio(evidence, INITIAL, "network", cell | {"width": width}, n)
            for width, n in ((0, sizes[0]), (0, sizes[-1]), (len(widths) - 1, sizes[-1]))
        }
        at = cell_text(evidence.cube, {dim: place for dim, place in cell.items() if dim != "width"})
        pairs = {
            f"n {sizes[-1]} to n {sizes[0]} at width {widths[0]}, {at}": (
                quotient(gaps[0, sizes[-1]], gaps[0, sizes[0]]),
                thresholds.growth.value,
            ),
            f"width {widths[0]} to width {widths[-1]} at n {sizes[-1]}, {at}": (
                quotient(gaps[0, sizes[-1]], gaps[len(widths) - 1, sizes[-1]]),
                thresholds.shrinkage.value,
            ),
        }
        comparisons += [
            Comparison(
                f"MSE of initial NTK over network, {text}, ratio", mean_estimate(ratio), Region(lower=least), True
            )
            for text, (ratio, least) in pairs.items()
        ]
    remark = remarks(target_text(evidence), replicate_remark(evidence.cube))
    return Measurement(comparisons, ["test_mse_network", f"test_mse_{INITIAL}"], remark)
