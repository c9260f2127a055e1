"""Claims about the kernels of trained networks, and about width: B3, B5, B6, B7."""

import numpy as np
import xarray as xr

from ntk_atlas.claims.decide import Comparison, Region
from ntk_atlas.claims.estimates import Estimate
from ntk_atlas.claims.evidence import Evidence, cell_text, need
from ntk_atlas.claims.measurement import Measurement, remarks
from ntk_atlas.claims.networks import cell_estimate, replicate_remark
from ntk_atlas.claims.scaling_curves import (
    cells,
    error_ratio,
    fitted_sizes,
    need_curves,
    quotient,
    target_text,
)
from ntk_atlas.claims.scaling_exponents import INITIAL, differences, pretrained_names
from ntk_atlas.config.claims.scaling_laws import (
    AfterKernelSettings,
    EvolvingKernelSettings,
    MatchingKernelSettings,
    WidthSettings,
)
from ntk_atlas.config.predictors import EPOCHS, predictor_label
from ntk_atlas.cubes.shared_samples import SHARED_TRAIN
from ntk_atlas.study.claim_needs import at_constant_rate

FINAL, ALONG = "ntk_final", f"test_mse_{EPOCHS}"
_LEAST_CHECKPOINTS = 3


def measure_width(evidence: Evidence, thresholds: WidthSettings) -> Measurement:
    """B3: test MSE of the initial NTK over that of the network grows with n at the narrowest width, and shrinks with
    width at the largest n.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_curves("B3", evidence, thresholds, INITIAL)
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
            Comparison(f"MSE of initial NTK over network, {text}, ratio", _mean(ratio), Region(lower=least), True)
            for text, (ratio, least) in pairs.items()
        ]
    remark = remarks(target_text(evidence), replicate_remark(evidence.cube))
    return Measurement(comparisons, ["test_mse_network", f"test_mse_{INITIAL}"], remark)


def measure_after_kernel(evidence: Evidence, thresholds: AfterKernelSettings) -> Measurement:
    """B5: at the largest n, error of the kernel trained there over that of kernels trained on m < n samples; and the
    network's exponent minus that of the after-kernel.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    names = pretrained_names(evidence.settings)
    need_curves("B5", evidence, thresholds, FINAL, *names)
    sizes, comparisons = fitted_sizes(evidence), []
    for cell in cells(evidence.cube):
        at = cell_text(evidence.cube, cell)
        for name in names:
            ratio = _mean(error_ratio(evidence, FINAL, name, cell, sizes[-1]))
            text = f"MSE at n = {sizes[-1]}, {predictor_label(FINAL)} over {predictor_label(name)} at {at}"
            comparisons.append(Comparison(text, ratio, Region(upper=thresholds.improvement.value), trained=True))
    compared, text = differences(evidence, FINAL, sizes, thresholds)
    remark = remarks(text, target_text(evidence), replicate_remark(evidence.cube))
    return Measurement(comparisons + compared, _variables(FINAL, *names), remark)


def measure_evolving_kernel(evidence: Evidence, thresholds: EvolvingKernelSettings) -> Measurement:
    """B6: slope of the log test MSE of regression with Θ_t in log t, and the angle that the kernel turns by, over the
    last part of the epochs that networks take to fit, at the largest n that has all checkpoints regressed.

    A network has fit at its first checkpoint at or below `training.target_mse`; after it the curve is flat by
    construction, and so it is where a schedule takes the learning rate to 0. Judged are therefore networks trained at a
    constant rate: the experiment's own, or a variant's. The drift from initialization would not do: a kernel can turn,
    and improve, at a constant or falling distance from where it began.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_curves("B6", evidence, thresholds)
    known = {evidence.name: (evidence.settings, evidence.cube), **evidence.variants}
    name = at_constant_rate({name: settings for name, (settings, _) in known.items()})
    settings, cube = known[name]
    need(cube, ALONG, "kernel_velocity", "train_mse")
    n = max(n for n in cube["n_train"].values if bool(np.isfinite(cube[ALONG].sel(n_train=n)).any()))
    part, comparisons, notes = thresholds.last_part.value, [], []
    for cell in cells(cube):
        at = f"n = {n}, {cell_text(cube, cell)}"
        place = cube.isel(cell).sel(n_train=n)
        epochs, order = place["epoch"].values, ("draw", "seed", "epoch")
        training = place["train_mse"].transpose(*order).values
        fit = first_below(epochs, training, settings.training.target_mse)
        error = place[ALONG].sel(ridge=settings.scaling.ridge).transpose(*order)
        slopes = _per_network(cube, n, last_slopes(epochs, error.values, fit, part))
        falls = Region(upper=thresholds.slope.value)
        text = f"slope of log MSE of regression with Θ_t in log t, last part, at {at}"
        comparisons.append(Comparison(text, cell_estimate(slopes), falls, trained=True))
        velocity = place["kernel_velocity"].transpose(*order)
        turned = _per_network(cube, n, last_turn(epochs, velocity.values, fit, part))
        text = f"angle that the kernel turns by in the last part, at {at}"
        turns = Region(lower=thresholds.movement.value)
        comparisons.append(Comparison(text, cell_estimate(turned, logarithmic=True), turns, trained=True))
        notes += [_training_text(epochs, training, fit, part, settings.training.target_mse)]
    how = f"networks of {name}: {settings.training.optimizer} at a constant rate"
    return Measurement(comparisons, [ALONG, "kernel_velocity"], remarks(how, *notes, replicate_remark(cube)))


def measure_matching_kernel(evidence: Evidence, thresholds: MatchingKernelSettings) -> Measurement:
    """B7: test MSE of the network over that of regression around zero with its own final kernel, at every n.

    Raises:
        NotJudgedError: where there is nothing to compare, or the kernel predicts around the network, which matches by
            construction once the network interpolates.
    """
    need_curves("B7", evidence, thresholds, FINAL)
    factor, comparisons = thresholds.factor.value, []
    for cell in cells(evidence.cube):
        for n in fitted_sizes(evidence):
            ratio = _mean(error_ratio(evidence, "network", FINAL, cell, n))
            text = f"MSE of the network over its final NTK at n = {n}, {cell_text(evidence.cube, cell)}"
            comparisons.append(Comparison(text, ratio, Region(1.0 / factor, factor), trained=True))
    values = ", ".join(f"{c.estimate.interval(0.95)[0]:.2g}" for c in comparisons)
    remark = remarks(f"ratios by n: {values}", target_text(evidence), replicate_remark(evidence.cube))
    return Measurement(comparisons, _variables(FINAL), remark)


def first_below(epochs: np.ndarray, training: np.ndarray, target: float) -> np.ndarray:
    """Epoch of each network's first checkpoint with a training MSE at or below a target, `(...)` of `(..., n_epochs)`.

    Of a network that never gets there, the last epoch that it has a checkpoint at; 0 if it has none.
    """
    known = np.isfinite(training)
    last = np.where(known, epochs, 0).max(-1, initial=0)
    below = known & (np.where(known, training, np.inf) <= target)
    return np.where(below.any(-1), epochs[below.argmax(-1)], last)


def last_slopes(epochs: np.ndarray, errors: np.ndarray, until: np.ndarray, part: float) -> np.ndarray:
    """Least-squares slope of log error in log epoch over the last part of each network's checkpoints up to an epoch.

    Args:
        epochs: `(n_epochs,)`.
        errors: `(..., n_epochs)`; NaN where a network has no checkpoint.
        until: the last epoch that counts, `(...)`.
        part: share of it from which on checkpoints count.

    Returns:
        `(...)`; NaN with fewer than three checkpoints.
    """
    slopes = np.full(errors.shape[:-1], np.nan)
    for place in np.ndindex(slopes.shape):
        inside = _last_part(epochs, until[place], part)
        there = inside & np.isfinite(errors[place]) & (np.nan_to_num(errors[place]) > 0.0)
        if there.sum() >= _LEAST_CHECKPOINTS:
            slopes[place] = np.polyfit(np.log(epochs[there]), np.log(errors[place][there]), 1)[0]
    return slopes


def last_turn(epochs: np.ndarray, velocity: np.ndarray, until: np.ndarray, part: float) -> np.ndarray:
    """Angle (radians) that a kernel turns by from checkpoint to checkpoint in the last part up to an epoch, summed.

    Two kernels at distance S = 1 − cos φ are φ apart; S is the velocity at a checkpoint times the epochs since the one
    before. The sum is not less than the angle between the first and the last.

    Args:
        epochs: `(n_epochs,)`.
        velocity: `kernel_velocity`, `(..., n_epochs)`; NaN where a network has no checkpoint, and at its first.
        until: see `last_slopes`.
        part: see `last_slopes`.

    Returns:
        `(...)`; NaN with fewer than three checkpoints.
    """
    turns = np.full(velocity.shape[:-1], np.nan)
    for place in np.ndindex(turns.shape):
        known = np.flatnonzero(np.isfinite(velocity[place]))
        before, after = known[:-1], known[1:]
        counted = _last_part(epochs, until[place], part)
        inside = counted[before] & counted[after]
        if inside.sum() + 1 >= _LEAST_CHECKPOINTS:
            distance = velocity[place][after] * (epochs[after] - epochs[before])
            turns[place] = np.arccos(np.clip(1.0 - distance, -1.0, 1.0))[inside].sum()
    return turns


def _per_network(cube: xr.Dataset, n_train: int, values: np.ndarray) -> xr.DataArray:
    """Values over (draw, seed), with the share of samples that draws have in common."""
    shares = [float(cube[name].sel(n_train=n_train) if "n_train" in cube[name].dims else cube[name])
              for name in (SHARED_TRAIN, "shared_test") if name in cube]  # fmt: skip
    coords = {SHARED_TRAIN: max(shares)} if shares else {}
    return xr.DataArray(values, dims=("draw", "seed"), coords=coords)


def _last_part(epochs: np.ndarray, until: float, part: float) -> np.ndarray:
    return (epochs > 0) & (epochs >= part * until) & (epochs <= until)


def _training_text(epochs: np.ndarray, training: np.ndarray, fit: np.ndarray, part: float, target: float) -> str:
    """When networks fit, and their training error where the last part begins."""
    starts, reached = [], 0
    for place in np.ndindex(fit.shape):
        inside = np.flatnonzero(_last_part(epochs, fit[place], part) & np.isfinite(training[place]))
        if len(inside):
            starts.append(training[place][inside[0]])
            reached += bool(training[place][inside[-1]] <= target)
    first = float(np.exp(np.mean(np.log(np.maximum(starts, 1e-12))))) if starts else np.nan
    return (
        f"{reached} of {fit.size} reach a training MSE of {target:g}, from {first:.2g}, in the {part:g} … 1 of their "
        f"first {np.median(fit):g} epochs (median)"
    )


def _mean(ratio: xr.DataArray) -> Estimate:
    """Geometric mean of ratios over draws, with what draws share."""
    return cell_estimate(ratio, logarithmic=True)


def _variables(*kernels: str) -> list[str]:
    return ["test_mse_network", *(f"test_mse_{name}" for name in kernels)]
