"""C2: test error of the NNGP over that of the NTK at the tuned ridge, every depth and init scale: non-inferiority."""

from ntk_atlas.claims import Claim, Threshold
from ntk_atlas.study.claim_needs import predictor

CLAIM = Claim(
    statement=(
        "A kernel that ignores training (NNGP) costs next to nothing: its errors are above those of the NTK by less "
        "than a margin."
    ),
    statistic="Test error of the NNGP over that of the NTK, both at the tuned ridge, at every depth",
    compared=(
        (
            "err of the NNGP over that of the NTK, tuned ridge: every depth",
            "< 1.1",
        ),
    ),
    source="abstract; not inferior instead of very close is our reading",
    thresholds={
        # Error of the NNGP over that of the NTK up to which it is not inferior; either way, up to which they are
        # close.
        "factor": Threshold(
            value=1.1,
            reason=(
                "The same tenth. What ignores training costs nothing where its error is not above the NTK's by more: a "
                "better NNGP supports the claim too. How often the two are as close either way stands in the reason."
            ),
        ),
    },
    needs=(
        predictor("nngp"),
        predictor("infinite_ntk"),
    ),
    seeds=False,
)

from collections.abc import Sequence

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.cubes.files import errors_without_folds
from ntk_atlas.judging.decision import Comparison, Measurement, Region, remarks
from ntk_atlas.judging.equivalence import KERNEL, seeded
from ntk_atlas.judging.evidence import Evidence, cell, places, ratio_estimate, widest
from ntk_atlas.statistics.estimates import Estimate


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Test error of the NNGP over that of the NTK at the tuned ridge, every depth and init scale: non-inferiority.

    That a kernel which ignores training costs nothing is supported by a better one too. At how many depths the two are
    as close as the factor either way stands in the remark.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    cube, factor = widest(evidence, "test_mse_nngp", f"test_mse_{KERNEL}"), thresholds.factor.value
    ratios: dict[str, list[Estimate]] = {}
    for ridge in ("tuned", "zero"):
        nngp, ntk = (errors_without_folds(cube, name, ridge=ridge) for name in ("nngp", KERNEL))
        here = places(nngp)
        ratios[ridge] = [ratio_estimate(seeded(nngp.isel(place)), seeded(ntk.isel(place))) for place in here]
    comparisons = [
        Comparison(
            f"error of the NNGP over that of the NTK at {cell(nngp, place)}", e, Region(upper=factor), trained=True
        )
        for place, e in zip(here, ratios["tuned"], strict=True)
    ]
    ends = [estimate.interval(0.95)[1:] for estimate in ratios["tuned"]]
    close = sum(low >= 1.0 / factor and high <= factor for low, high in ends)
    text = remarks(
        f"within {1.0 / factor:.3g} … {factor:.3g}, very close either way, in {close} of {len(ends)}",
        f"the ratios are {_values(ratios['tuned'])}, at ridge → 0 {_values(ratios['zero'])}",
    )
    return Measurement(comparisons, ["test_mse_nngp", f"test_mse_{KERNEL}"], text)


def _values(estimates: Sequence[Estimate]) -> str:
    return ", ".join(f"{estimate.interval(0.95)[0]:.3g}" for estimate in estimates)
