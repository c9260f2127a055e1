"""A5: median final training MSE over that of predicting zero, best of the learning rates, at the largest width."""

from ntk_atlas.claims import SETTLED, Claim, Threshold
from ntk_atlas.study.claim_needs import differing_phases, fair_training, several

CLAIM = Claim(
    statement="But the median one of them becomes untrainable as they get deeper.",
    statistic=(
        "Final training MSE of the median network over that of predicting zero, best of the learning rates, at the "
        "largest width; most ordered deep, the same shallow, critical deep"
    ),
    compared=(
        (
            (
                "median final training MSE over that of predicting zero, best of several rates, widest networks: most "
                "ordered (settled), deepest"
            ),
            "> 0.5",
        ),
        (
            "the same networks at the shallowest depth, and critical ones at the deepest",
            "< 0.25",
        ),
    ),
    source="abstract; the depth scale and the median network are our reading",
    thresholds={
        # Final training MSE, over that of predicting zero, above which a network is untrained.
        "untrained": Threshold(
            value=0.5,
            reason=(
                "A fixed budget that leaves half of the error, where the same budget all but interpolates with "
                "critical networks of that depth, has not trained them."
            ),
        ),
        # And below which it is trained.
        "trained": Threshold(
            value=0.25,
            reason="Half of the other bound, so that slow training counts as neither.",
        ),
        # M (‖x‖²/n₀) L χ₁^L, up to which an ordered network is deep enough to be untrainable.
        "unsettled": SETTLED,
        # Largest share of diverged networks in a cell that is judged.
        "most_diverged": Threshold(
            value=0.5,
            reason="With more than half of a cell diverged at every rate, the others are a selection.",
        ),
    },
    needs=(
        differing_phases("ordered", "critical"),
        fair_training,
        several("depth"),
    ),
)

import numpy as np
import xarray as xr

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Comparison, Measurement, NotJudgedError, Region, remarks
from ntk_atlas.judging.evidence import (
    Evidence,
    at_largest_n,
    cell_median,
    cell_text,
    diverged_share,
    need,
    replicate_remark,
    scales_of,
    settled_depths,
    trained,
    unsettled_reason,
)
from ntk_atlas.judging.kernels import TARGETS


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Median final training MSE over that of predicting zero, best of the learning rates, at the largest width.

    At the deepest depth, the most ordered networks (smallest χ₁, settled) must stay untrained and
    critical ones be trained; at the shallowest depth, the same ordered networks must be trained. How many ξ₁ it takes
    depends on the budget, so the other ordered init scales are not compared with a threshold: the remark has the depth
    at which each crosses it, in units of ξ₁. Diverged networks are left out, and a cell with too many of them decides
    nothing.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    cube = at_largest_n(evidence.cube)
    need(cube, "final_train_mse", "zero_train_mse")
    share = trained(cube, cube["final_train_mse"]) / cube["zero_train_mse"]
    deep = {"depth": cube.sizes["depth"] - 1, "width": cube.sizes["width"] - 1}
    most = thresholds.unsettled.value
    ordered = int(scales_of(cube, "ordered")[0])
    if deep["depth"] not in settled_depths(cube, ordered, deep["width"], most):
        raise NotJudgedError("not run", unsettled_reason(most, "grid.depth"))
    untrained, learnt = Region(lower=thresholds.untrained.value), Region(upper=thresholds.trained.value)
    cells = [(deep | {"init_scale": ordered}, untrained), (deep | {"depth": 0, "init_scale": ordered}, learnt)]
    cells += [(deep | {"init_scale": int(s)}, learnt) for s in scales_of(cube, "critical")]
    for cell, _ in cells:
        diverged = diverged_share(cube, cell)
        if diverged > thresholds.most_diverged.value:
            raise NotJudgedError(
                "inconclusive",
                f"{diverged:.0%} of the networks diverged at {cell_text(cube, cell)} with every learning rate: add "
                "smaller ones to training.learning_rate.relative",
            )
    comparisons = [
        Comparison(
            f"median final training MSE over that of zero at {cell_text(cube, cell)}",
            cell_median(share.isel(cell), logarithmic=True),
            region,
            trained=True,
        )
        for cell, region in cells
    ]
    targets = TARGETS[evidence.settings.training.target_scale]
    remark = remarks(_crossings(cube, share, thresholds.untrained.value), targets, replicate_remark(cube))
    return Measurement(comparisons, ["final_train_mse", "zero_train_mse", "status"], remark)


def crossing_depth(depth: np.ndarray, share: np.ndarray, level: float) -> float:
    """L = depth + 1 at which the share first rises above a level, interpolated in log share; NaN if it never does."""
    above = np.flatnonzero(share > level)
    if not len(above) or above[0] == 0:
        return float("nan")
    i = above[0]
    log = np.log(share[i - 1 : i + 1])
    weight = (np.log(level) - log[0]) / (log[1] - log[0])
    return float(depth[i - 1] + weight * (depth[i] - depth[i - 1]) + 1)


def _crossings(cube: xr.Dataset, share: xr.DataArray, level: float) -> str:
    """Crossing depths in units of ξ₁, a number an ordered init scale: equal if the crossing goes with ξ₁."""
    ratios = []
    for scale in scales_of(cube, "ordered"):
        curve = share.isel(width=-1, init_scale=int(scale))
        median = curve.clip(min=1e-8).median([dim for dim in curve.dims if dim != "depth"])
        crossing = crossing_depth(cube["depth"].values, median.values, level)
        if np.isfinite(crossing):
            ratios.append(f"{crossing * abs(np.log(float(cube['chi_1'].values[scale]))):.2g}")
    return f"ordered networks cross {level:g} at {', '.join(ratios)} ξ₁" if ratios else ""
