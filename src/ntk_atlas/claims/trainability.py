"""Claim A5: ordered networks become untrainable with depth."""

import numpy as np
import xarray as xr

from ntk_atlas.claims.decide import Comparison, NotJudgedError, Region
from ntk_atlas.claims.evidence import (
    Evidence,
    cell_text,
    need,
    need_settings,
    scales_of,
    settled_depths,
    unsettled_reason,
)
from ntk_atlas.claims.measurement import Measurement, remarks
from ntk_atlas.claims.medians import cell_median
from ntk_atlas.claims.movement import TARGETS
from ntk_atlas.claims.networks import at_largest_n, diverged_share, replicate_remark, trained
from ntk_atlas.config.claims.finite_width import UntrainableSettings


def measure_untrainable(evidence: Evidence, thresholds: UntrainableSettings) -> Measurement:
    """A5: median final training MSE over that of predicting zero, best of the learning rates, at the largest width.

    At the deepest depth, the most ordered networks (smallest χ₁, settled) must stay untrained and
    critical ones be trained; at the shallowest depth, the same ordered networks must be trained. How many ξ₁ it takes
    depends on the budget, so the other ordered init scales are not compared with a threshold: the remark has the depth
    at which each crosses it, in units of ξ₁. Diverged networks are left out, and a cell with too many of them decides
    nothing.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("A5", evidence, thresholds)
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
