"""C5∞: the limit of the squared distance as the width goes to ∞, and the exponent of the distance in the width."""

from ntk_atlas.claims import THIRD, Claim, Threshold
from ntk_atlas.study.claim_needs import kept_predictions, predictor, theorem, widths_of_a_law

CLAIM = Claim(
    statement=(
        "Nor do they become it as the width grows: their distance tends to a large share of its error, and not to "
        "nothing as the theorem says."
    ),
    statistic=(
        "Squared distance of the predictions of networks and infinite NTK over the NTK's squared error, extrapolated "
        "to infinite width by d² = d²(∞) + A/M + B/M² (least squares of M d², draw by draw), at every depth; the "
        "exponent of the distance in the width beside it"
    ),
    compared=(
        (
            "squared distance of predictions over err_NTK, extrapolated to infinite width: **at least one**",
            "> 0.33² = 0.109",
        ),
        (
            "exponent of the distance in the width, needed for *not supported*",
            "< −0.25",
        ),
    ),
    source="our reading",
    thresholds={
        # Root mean square difference of predictions, over the kernel's own error, up to which they are the same; the
        # extrapolated square is held against its square.
        "distance": THIRD,
        # Exponent of the distance in the width that theory has.
        "rate": Threshold(
            value=-0.5,
            reason=(
                "The outputs of trained networks fluctuate about those of the limit as their initial kernel does, an "
                "average over the width; training beyond the linear regime adds 1/M, which is steeper."
            ),
        ),
        # How much flatter the distance may fall where the extrapolation is to count against the claim.
        "rate_margin": Threshold(
            value=0.25,
            reason=(
                "At an exponent of -0.25 half of the squared distance does not fall as 1/M. Less could not be asked of "
                "widths that are not large: where the distance is half of the error its curve is bent, flatter than "
                "its limit."
            ),
        ),
        # Widths that an extrapolation takes.
        "least_widths": Threshold(
            value=4,
            reason=(
                "The law has three constants, which three widths fit whatever they are; four leave a degree of freedom."
            ),
        ),
        # Largest share of a cell's networks that end above `training.target_mse`.
        "most_above_target": Threshold(
            value=0.1,
            reason=(
                "Networks that lack training are apart from the kernel at any width; with more than a tenth of them "
                "the limit would be about time."
            ),
        ),
    },
    needs=(
        theorem,
        widths_of_a_law,
        predictor("infinite_ntk"),
        kept_predictions,
    ),
)

import numpy as np
import xarray as xr

from ntk_atlas.arrays import Status
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.cubes.dictionary import WHOLE_GAP
from ntk_atlas.cubes.files import FOLD_SHARE, SHARED_TRAIN, compared_ridge
from ntk_atlas.judging.decision import Comparison, Measurement, NotJudgedError, Region, remarks
from ntk_atlas.judging.equivalence import DISTANCE, KERNEL, seeded, squared_share, width_exponent, width_law
from ntk_atlas.judging.evidence import (
    Evidence,
    at_largest_n,
    cell_estimate,
    cell_text,
    need,
    places,
    replicate_remark,
    unfinished_remark,
)
from ntk_atlas.statistics.estimates import Estimate


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """The limit of the squared distance as the width goes to ∞, and the exponent of the distance in the width.

    The claim holds if at some depth and init scale the extrapolated limit lies above the square of the share of the
    kernel's error that C5 asks for. It is rejected if everywhere the limit lies below and the distance falls at
    theory's rate, within a margin, or faster: where it falls more slowly, much of it is there to stay.

    Raises:
        NotJudgedError: where the theorem says nothing, where the widths do not let one extrapolate, or where too many
            networks lack training.
    """
    settings = evidence.settings
    cube = at_largest_n(evidence.cube)
    need(cube, "test_mse_network", f"test_mse_{KERNEL}")
    if evidence.functions is None or DISTANCE not in evidence.functions:
        raise NotJudgedError("not run", "distances of predictions are not in the files: run the study anew")
    _need_training(cube, settings, thresholds.most_above_target.value)
    functions = at_largest_n(evidence.functions)
    share = squared_share(cube, functions, WHOLE_GAP, compared_ridge(settings))
    bound, rate = thresholds.distance.value**2, thresholds.rate.value + thresholds.rate_margin.value
    limits, rates, text = [], [], []
    for place in places(share):
        curve = _seeds_of_one_draw(share.isel(place))
        law = width_law(curve)
        limit, exponent = (cell_estimate(seeded(v)) for v in (law.isel(constant=0), width_exponent(curve)))
        where = cell_text(cube, place)
        limits.append(
            Comparison(
                f"squared distance over err_NTK as width → ∞ at {where}", limit, Region(lower=bound), trained=True
            )
        )
        rates.append(
            Comparison(
                f"exponent of the distance in the width at {where}", exponent, Region(lower=rate), trained=True,
                decides=False,
            )
        )  # fmt: skip
        text.append(f"{where}: {_law_text(curve, law, limit, exponent, bound)}")
    remark = remarks(*text, unfinished_remark(cube, settings), replicate_remark(cube))
    return Measurement([*limits, *rates], ["test_mse_network", f"test_mse_{KERNEL}", DISTANCE], remark, any_of=True)


def _seeds_of_one_draw(share: xr.DataArray) -> xr.DataArray:
    """Squared distances in which the seeds of a single draw stand for draws: they are the replicates then."""
    if share.sizes["draw"] > 1:
        return share
    alone = share.isel(draw=0).drop_vars(["draw", FOLD_SHARE, SHARED_TRAIN], errors="ignore")
    return alone.rename(seed="draw").expand_dims("seed")


def _need_training(cube: xr.Dataset, settings: ExperimentSettings, most: float) -> None:
    """Checks that at no depth, width and init scale more than a share of networks lack the training error asked.

    Networks that ended above it lack it, and so do those that diverged: what is left of a cell is a selection.

    Raises:
        NotJudgedError: `inconclusive`, naming the cell with the largest share.
    """
    lacking = cube["status"].isin([int(Status.BUDGET_SPENT), int(Status.DIVERGED)]).mean(["draw", "seed"])
    worst = lacking.isel(lacking.argmax(...))
    if float(worst) > most:
        where = f"depth {int(worst['depth'])}, width {int(worst['width'])}"
        raise NotJudgedError(
            "inconclusive",
            f"{float(worst):.0%} of the networks at {where} diverged or ended above the training MSE of "
            f"{settings.training.target_mse:g}, {most:.0%} may: the theorem is about networks trained to the end, and "
            "what these lack is time or a smaller rate, not width: raise training.max_epochs or lower the rate",
        )


def _law_text(curve: xr.DataArray, law: xr.DataArray, limit: Estimate, exponent: Estimate, bound: float) -> str:
    """In words: distance at the widest, exponent, d²(∞), and the width from which on the law has d² below the bound."""
    mean = curve.isel(left_out=0).mean(["draw", "seed"])
    last = mean.isel(width=int(mean["width"].values.argmax()))
    end, first, second = law.isel(left_out=0).mean("draw").values
    parts = [
        f"distance {float(np.sqrt(last)):.2g} of the NTK's error at width {int(last['width'])}",
        f"exponent {_interval_text(exponent)}, −0.5 in theory",
        f"limit of the square {_interval_text(limit)}",
    ]
    crossings = [root.real for root in np.roots([second, first, end - bound]) if abs(root.imag) < 1e-12 < root.real]
    if end < bound and crossings:
        parts.append(f"by the law {np.sqrt(bound):.2g} from width {1.0 / min(crossings):.0f} on")
    return ", ".join(parts)


def _interval_text(estimate: Estimate) -> str:
    value, low, high = estimate.interval(0.95)
    return f"{value:.2g} [{low:.2g}, {high:.2g}]"
