"""A3: median drift of the deepest chaotic networks, at the last epoch and at equal training loss."""

from ntk_atlas.claims import DEEP, MOVES, Claim
from ntk_atlas.study.claim_needs import deep_networks, some_phases

CLAIM = Claim(
    statement="The kernel of the median one of the same networks changes much in training.",
    statistic=(
        "Relative drift of the kernel of the median deepest, narrowest chaotic network in training, at the last epoch "
        "and at equal training loss"
    ),
    compared=(
        (
            (
                "median relative drift of every chaotic init scale, deepest: at the last epoch, and at equal training "
                "loss (networks that never reach that loss count as unmoved to support the claim, and as moved to "
                "reject it)"
            ),
            "> 0.2",
        ),
    ),
    source="abstract; the median network is our reading",
    thresholds={
        # Least relative drift.
        "drift": MOVES,
        # λ from which a network counts as deep.
        "least_lambda": DEEP,
    },
    needs=(
        some_phases("chaotic"),
        deep_networks("grid"),
    ),
)

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.cubes.dictionary import TEST_PROBE
from ntk_atlas.judging.decision import Measurement, Region, remarks
from ntk_atlas.judging.evidence import Evidence, at_largest_n, deepest_cell, final_values, need, scales_of
from ntk_atlas.judging.kernels import DRIFT, EQUAL_LOSS, conditions, drift_comparisons


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Median drift of the deepest chaotic networks, at the last epoch and at equal training loss.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    cube = at_largest_n(evidence.cube)
    need(cube, DRIFT)
    place = deepest_cell(cube, thresholds.least_lambda.value)
    region = Region(lower=thresholds.drift.value)
    cells = [place | {"init_scale": int(scale)} for scale in scales_of(cube, "chaotic")]
    comparisons, remark = drift_comparisons(cube, cells, region, all_cells=True)
    beside = ""
    if DRIFT + TEST_PROBE in cube:
        found = final_values(cube, DRIFT + TEST_PROBE)
        beside = f"median drift on test samples {', '.join(f'{float(found.isel(c).median()):.2g}' for c in cells)}"
    return Measurement(comparisons, [DRIFT, EQUAL_LOSS], remarks(remark, beside, conditions(evidence)))
