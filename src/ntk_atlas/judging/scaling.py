"""Learning curves as evidence: ratios of errors, one per replicate, and exponents of networks minus those of kernels.

Both curves of a difference are fitted once. All claims about exponents (B1, B1∞, B2, B4, B5) go through `PairedLaws`.
The two curves are masked to the sizes that both have in every draw, each may end in a floor
(`scaling_laws/paired_laws.py`), and the claim stays open, whatever the interval says, where

* fewer sizes are left than a law needs;
* more than a stated share of a size's networks ended above the training error that they should reach: their budget
  bends the curve;
* the largest size, held out, misses what the law says of it from the others: the curves do not follow the law.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from ntk_atlas.arrays import Status
from ntk_atlas.config.predictors import PRETRAINED, predictor_label
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.cubes.files import SHARED_TRAIN, draws_overlap, errors_without_folds, predictor_values, stand_ins_of
from ntk_atlas.judging.decision import Comparison, Measurement, Region, remarks
from ntk_atlas.judging.evidence import Evidence, cell_estimate, cell_text, need, replicate_remark
from ntk_atlas.scaling_laws.laws import balanced_curves, on_common_sizes, usable
from ntk_atlas.scaling_laws.paired_laws import (
    LEAST_SIZES,
    FlooredCurve,
    HeldOutSize,
    PairedDifference,
    compare_paired,
    hold_out_largest,
)
from ntk_atlas.statistics.estimates import Estimate
from ntk_atlas.statistics.intervals import t_critical

Cell = dict[str, int]


def need_curves(evidence: Evidence, *predictors: str) -> None:
    """Checks that an experiment has the curves of the network and these predictors.

    Raises:
        NotJudgedError: `not run`, naming the first that is missing.
    """
    need(evidence.cube, "test_mse_network", *(f"test_mse_{name}" for name in predictors))


def fitted_sizes(evidence: Evidence, least: int = 0) -> np.ndarray:
    """The n_train that laws are fitted to: those that the fit range rule, set beforehand, leaves from `least` on."""
    sizes = evidence.cube["n_train"].values
    return sizes[sizes >= max(evidence.settings.scaling.n_train_min, least)]


def cells(cube: xr.Dataset) -> list[Cell]:
    """All (depth, width, init_scale) of a cube."""
    dims = ("depth", "width", "init_scale")
    return [dict(zip(dims, place, strict=True)) for place in np.ndindex(*(cube.sizes[dim] for dim in dims))]


def curve(cube: xr.Dataset, predictor: str, cell: Cell, settings: ExperimentSettings, field: str) -> xr.DataArray:
    """One error of one predictor in one cell over (draw, seed, n_train); a kernel without seeds has one.

    Args:
        cube: the cube.
        predictor: the predictor.
        cell: the cell.
        settings: the experiment's; they name the ridge of kernels.
        field: `test_mse` or `test_error`.

    Returns:
        The errors; those of diverged networks and singular kernels are NaN.
    """
    values = predictor_values(cube, predictor, field, ridge=settings.scaling.ridge)
    values = values.isel({dim: place for dim, place in cell.items() if dim in values.dims})
    values = values if "seed" in values.dims else values.expand_dims("seed")
    return values.transpose("draw", "seed", "n_train")


def error_ratio(evidence: Evidence, above: str, below: str, cell: Cell, n_train: int) -> xr.DataArray:
    """Ratio of the test MSEs of two predictors at one n_train over (left_out, draw, seed), see `shared_samples`."""
    ratio = quotient(*(_errors_at(evidence, name, cell, n_train) for name in (above, below)))
    return ratio if "seed" in ratio.dims else ratio.expand_dims("seed")


def quotient(above: xr.DataArray, below: xr.DataArray) -> xr.DataArray:
    """above/below, at one n_train or two; draws share what they do where they share more.

    Arithmetic would drop the coordinate where the two differ, and with it what training samples make draws share.
    """
    shares = [float(values.coords[SHARED_TRAIN]) for values in (above, below) if SHARED_TRAIN in values.coords]
    ratio = above / below
    return ratio.assign_coords({SHARED_TRAIN: max(shares)}) if shares else ratio


def mean_estimate(ratio: xr.DataArray) -> Estimate:
    """Geometric mean of ratios over draws, with what draws share."""
    return cell_estimate(ratio, logarithmic=True)


def variables_of(*kernels: str) -> list[str]:
    """The test errors of the network and of kernels."""
    return ["test_mse_network", *(f"test_mse_{name}" for name in kernels)]


def _errors_at(evidence: Evidence, predictor: str, cell: Cell, n_train: int) -> xr.DataArray:
    errors = errors_without_folds(evidence.cube, predictor, ridge=evidence.settings.scaling.ridge)
    place = {dim: i for dim, i in cell.items() if dim in errors.dims}
    errors = errors.isel(place).sel(n_train=n_train)  # its `drop` would take what draws share along
    return errors.drop_vars("n_train").clip(min=1e-12)


def above_target(status: xr.DataArray) -> tuple[int, int]:
    """How many networks ended above the training error that they should reach, or diverged, and of how many."""
    codes = status.values
    missed = np.isin(codes, [int(Status.BUDGET_SPENT), int(Status.DIVERGED)])
    return int(missed.sum()), int((codes != int(Status.MISSING)).sum())


def above_target_by_size(status: xr.DataArray) -> dict[int, tuple[int, int]]:
    """The same at each n_train."""
    return {int(n): above_target(status.isel(n_train=place)) for place, n in enumerate(status["n_train"].values)}


def target_text(evidence: Evidence) -> str:
    """Flags networks that did not reach the stated training error, by n_train, in words; empty if all did."""
    counts = above_target_by_size(evidence.cube["status"])
    parts = [f"{missed} of {total} at n = {n}" for n, (missed, total) in counts.items() if missed]
    target = evidence.settings.training.target_mse
    return f"above training MSE {target:g}: {', '.join(parts)}" if parts else ""


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
        low, high = (found.value - found.low) / quantile, (found.high - found.value) / quantile
        return Estimate(found.value, low, high, self.n_draws, float(self.n_draws - 1), common=self.common)

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
    evidence: Evidence, kernel: str, cell: Cell, sizes: np.ndarray, thresholds: ClaimSettings,
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
    cube = evidence.cube if network is None else network
    above, below = (
        curve(source, name, cell, evidence.settings, field).sel(n_train=list(sizes)).values
        for source, name in ((cube, "network"), (evidence.cube, kernel))
    )
    names = ("network", predictor_label(kernel, stand_ins_of(evidence.cube)))
    missing = _missing_text(names[1], above, below, sizes)
    pair = list(np.broadcast_arrays(*on_common_sizes(above, below)))
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
        errors = xr.DataArray(np.log(errors.where(errors > 0.0)))
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


INITIAL, FINAL, INFINITE = "ntk_init", "ntk_final", "infinite_ntk"


def pretrained_names(settings: ExperimentSettings) -> list[str]:
    """Kernels trained on m samples that an experiment has, by m."""
    names = [name for name in settings.regression.predictors if name.startswith(PRETRAINED)]
    return sorted(names, key=lambda name: int(name.removeprefix(PRETRAINED)))


def differences(
    evidence: Evidence, kernel: str, sizes: np.ndarray, thresholds: ClaimSettings
) -> tuple[list[Comparison], str]:
    """Exponent of the network minus that of a kernel in every cell, and the laws of the first cell in words."""
    region, comparisons, texts = Region(lower=thresholds.exponent_difference.value), [], []
    for cell in cells(evidence.cube):
        laws = paired_laws(evidence, kernel, cell, sizes, thresholds)
        label = f"exponent, network − {predictor_label(kernel)} at {cell_text(evidence.cube, cell)}"
        comparisons.append(laws.comparison(label, region))
        texts.append(laws.text)
    return comparisons, texts[0]


def better_than(evidence: Evidence, kernel: str, thresholds: ClaimSettings) -> Measurement:
    """What B1 and B1∞ say: exponent of the network minus that of a kernel, in every cell.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_curves(evidence, kernel)
    sizes = fitted_sizes(evidence)
    comparisons, text = differences(evidence, kernel, sizes, thresholds)
    remark = remarks(
        text,
        _error_text(evidence, kernel, sizes, thresholds),
        target_text(evidence),
        replicate_remark(evidence.cube),
    )
    return Measurement(comparisons, variables_of(kernel), remark)


def _error_text(evidence: Evidence, kernel: str, sizes: np.ndarray, thresholds: ClaimSettings) -> str:
    """The difference for the share of wrong classes, in words; empty for regression data."""
    if not bool(np.isfinite(evidence.cube["test_error_network"]).any()):
        return ""
    laws = paired_laws(evidence, kernel, cells(evidence.cube)[0], sizes, thresholds, field="test_error")
    value, low, high = laws.estimate.interval(0.95)
    return f"difference for the 0–1 error {value:.2g} [{low:.2g}, {high:.2g}]" if laws.estimate.known else ""
