"""Exponent of networks minus that of a kernel: both curves fitted once, and why the difference cannot be judged.

All claims about exponents (B1, B1∞, B2, B4, B5) go through `PairedLaws`. The two curves are masked to the sizes that
both have in every draw, each may end in a floor (`scaling_laws/paired_laws.py`), and the claim stays open, whatever the
interval says, where

* fewer sizes are left than a law needs;
* more than a stated share of a size's networks ended above the training error that they should reach: their budget
  bends the curve;
* the largest size, held out, misses what the law says of it from the others: the curves do not follow the law.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ntk_atlas.config.claims import ClaimSettings
from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.cubes.reading import SHARED_TRAIN, draws_overlap, errors_without_folds, stand_ins_of
from ntk_atlas.judging.decision import Comparison, Region
from ntk_atlas.judging.evidence import Evidence
from ntk_atlas.judging.measurement import remarks
from ntk_atlas.judging.networks import cell_estimate
from ntk_atlas.judging.scaling_curves import Cell, above_target_by_size, curve
from ntk_atlas.scaling_laws.floor_law import balanced_curves
from ntk_atlas.scaling_laws.paired_laws import (
    LEAST_SIZES,
    FlooredCurve,
    HeldOutSize,
    PairedDifference,
    compare_paired,
    hold_out_largest,
)
from ntk_atlas.scaling_laws.power_law import on_common_sizes, usable
from ntk_atlas.statistics.estimates import Estimate
from ntk_atlas.statistics.student import t_critical

_CONFIDENCE = 0.95
"""Coverage at which ends of the interval are found; other levels scale it by Student's quantiles."""


@dataclass(frozen=True, eq=False)
class PairedLaws:
    """Laws of the network and of a kernel in one cell over the sizes that both have.

    Attributes:
        names: the network and the kernel, in words.
        sizes: n_train that both laws are fitted to.
        difference: exponents; None where too few sizes or draws are left.
        n_draws: replicates.
        missing: n_train left out because one of the two has no error there, in words.
        unfinished: sizes at which too many networks ended above their target, in words.
        largest_floor: largest share of the error at the smallest size that may be irreducible.
        common: variance that the difference has of the samples that draws share.
    """

    names: tuple[str, str]
    sizes: np.ndarray
    difference: PairedDifference | None
    n_draws: int
    missing: str
    unfinished: str
    largest_floor: float
    common: float = 0.0

    @property
    def estimate(self) -> Estimate:
        """Exponent of the network minus that of the kernel."""
        found = self.difference
        if found is None:
            return Estimate(np.nan, np.nan, np.nan, self.n_draws)
        quantile = float(t_critical(self.n_draws, _CONFIDENCE))
        errors = [(found.value - found.low) / quantile, (found.high - found.value) / quantile]
        return Estimate(found.value, *errors, n=self.n_draws, freedom=float(self.n_draws - 1), common=self.common)

    @property
    def held_out(self) -> dict[str, HeldOutSize]:
        """The check at the largest size, of each curve; both together hold at `_CONFIDENCE`."""
        if self.difference is None:
            return {}
        curves = (self.difference.first, self.difference.second)
        level = 1.0 - 0.5 * (1.0 - _CONFIDENCE)
        return {n: hold_out_largest(c, confidence=level) for n, c in zip(self.names, curves, strict=True)}

    @property
    def open(self) -> str:
        """Why the difference decides nothing, in words; empty if it can be judged."""
        if len(self.sizes) < LEAST_SIZES:
            return f"{len(self.sizes)} n_train at which every draw has both errors, a law needs {LEAST_SIZES}"
        if self.unfinished:
            return f"the budget bends the curve: {self.unfinished}; give more epochs"
        missed = [
            f"{name} {check.measured:.3g}, predicted {check.predicted:.3g} [{check.low:.3g}, {check.high:.3g}]"
            for name, check in self.held_out.items()
            if not check.inside
        ]
        if missed:
            return f"no power law with a floor: n = {self.sizes[-1]} held out misses its interval ({', '.join(missed)})"
        return ""

    @property
    def text(self) -> str:
        """The laws in words."""
        if self.difference is None:
            return self.missing
        pairs = zip(self.names, (self.difference.first, self.difference.second), strict=True)
        laws = (_law_text(*pair) for pair in pairs)
        checks = [
            f"{name} {check.measured:.3g} in [{check.low:.3g}, {check.high:.3g}]"
            for name, check in self.held_out.items()
            if check.inside
        ]
        return remarks(
            f"exponents: {', '.join(laws)}; floors up to {self.largest_floor:g} of the error at n = {self.sizes[0]} "
            f"are allowed for, without any the difference is {self.difference.pure:.2g}",
            f"n = {self.sizes[-1]} held out: {', '.join(checks)}" if checks else "",
            self.missing,
        )

    def comparison(self, label: str, region: Region) -> Comparison:
        """What a claim says of the difference."""
        return Comparison(label, self.estimate, region, trained=True, open=self.open)


def paired_laws(
    evidence: Evidence, kernel: str, cell: Cell, sizes: Sequence[int], thresholds: ClaimSettings,
    *, network: xr.Dataset | None = None, field: str = "test_mse",
) -> PairedLaws:  # fmt: skip
    """Fits the laws of the network and of a kernel in one cell.

    Args:
        evidence: the experiment whose kernel it is.
        kernel: its predictor.
        cell: the cell.
        sizes: n_train in the fit range.
        thresholds: the bound of floors and the share of networks that may end above their target.
        network: cube whose networks are compared; by default the experiment's own.
        field: `test_mse` or `test_error`.

    Returns:
        The laws.
    """
    sizes, cube = np.asarray(sizes), evidence.cube if network is None else network
    pair = [
        curve(source, name, cell, evidence.settings, field).sel(n_train=list(sizes)).values
        for source, name in ((cube, "network"), (evidence.cube, kernel))
    ]
    names = ("network", predictor_label(kernel, stand_ins_of(evidence.cube)))
    missing = _missing_text(names[1], *pair, sizes)
    pair = np.broadcast_arrays(*on_common_sizes(*pair))
    if len(pair[0]) == 1:  # of one draw, seeds are the replicates
        pair = [np.swapaxes(errors, 0, 1) for errors in pair]
    (first, kept), (second, _) = (balanced_curves(errors) for errors in pair)
    whole = np.isfinite(first).all(-1) & np.isfinite(second).all(-1)
    n_draws = int(whole.sum()) if kept.any() else 0
    bound, difference = thresholds.largest_floor.value, None
    if kept.sum() >= LEAST_SIZES and n_draws >= 2:
        difference = compare_paired(
            sizes[kept], first[whole], second[whole], largest_floor=bound, confidence=_CONFIDENCE
        )
    common = 0.0
    if difference is not None and field == "test_mse" and cube.sizes["draw"] > 1 and draws_overlap(evidence.cube):
        common = _common(evidence, cube, kernel, cell, difference)
    unfinished = _unfinished_text(cube, cell, sizes[kept], thresholds.most_above_target_per_size.value)
    return PairedLaws(names, sizes[kept], difference, n_draws, missing, unfinished, bound, common)


def _common(
    evidence: Evidence, network: xr.Dataset, kernel: str, cell: Cell, difference: PairedDifference
) -> float:  # fmt: skip
    """What the ends of the interval have of samples that draws share: the larger of the two ends'."""
    sizes, ridge = list(difference.first.n_train), evidence.settings.scaling.ridge
    logs = []
    for source, name in ((network, "network"), (evidence.cube, kernel)):
        errors = errors_without_folds(source, name, ridge=ridge).sel(n_train=sizes)
        errors = errors.isel({dim: place for dim, place in cell.items() if dim in errors.dims})
        errors = np.log(errors.where(errors > 0.0))
        logs.append(errors if "seed" in errors.dims else errors.expand_dims("seed"))
    found = []
    for weights in difference.weights:
        parts = [log * xr.DataArray(w, dims="n_train") for log, w in zip(logs, weights, strict=True)]
        statistic = (parts[0] + parts[1]).sum("n_train", skipna=False)
        if SHARED_TRAIN in logs[0].coords:
            statistic = statistic.assign_coords({SHARED_TRAIN: float(logs[0][SHARED_TRAIN].max())})
        found.append(cell_estimate(statistic).common)
    return max(found)


def _law_text(name: str, law: FlooredCurve) -> str:
    floor = f" with a floor of {law.floor:.2g} of its error at n = {law.n_train[0]}" if law.floor >= 0.005 else ""
    return f"{name} {law.exponent:.2g}{floor}"


def _missing_text(kernel: str, network: np.ndarray, other: np.ndarray, sizes: np.ndarray) -> str:
    gone = ~(usable(network) & usable(other))
    parts = [
        f"{n} in {gone[..., i].any(-1).sum()} of {len(gone)} draws" for i, n in enumerate(sizes) if gone[..., i].any()
    ]
    return f"{kernel}: n left out of both laws, an error is missing: {', '.join(parts)}" if parts else ""


def _unfinished_text(cube: xr.Dataset, cell: Cell, sizes: np.ndarray, most: float) -> str:
    """Sizes at which more than a share of the networks ended above their target, in words."""
    counts = above_target_by_size(cube["status"].isel(cell).sel(n_train=list(sizes)))
    parts = [
        f"{missed} of {total} networks at n = {n} ended above training.target_mse"
        for n, (missed, total) in counts.items()
        if missed > most * total
    ]
    return ", ".join(parts)
