"""Claims about the kernels of trained networks, and about width: B3, B5, B6, B7."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ntk_atlas.claims.decide import Comparison, Region
from ntk_atlas.claims.estimates import Estimate, from_replicates
from ntk_atlas.claims.evidence import Evidence, cell_text, need
from ntk_atlas.claims.measurement import Measurement, remarks
from ntk_atlas.claims.networks import replicate_remark
from ntk_atlas.claims.scaling_curves import (
    cells,
    error_ratio,
    fitted_sizes,
    need_curves,
    replicates_of,
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

FINAL, ALONG = "ntk_final", f"test_mse_{EPOCHS}"
_LEAST_CHECKPOINTS = 3
_SMALLEST_ANGLE = 1e-8


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
                gaps[0, sizes[-1]] - gaps[0, sizes[0]],
                thresholds.growth.value,
            ),
            f"width {widths[0]} to width {widths[-1]} at n {sizes[-1]}, {at}": (
                gaps[0, sizes[-1]] - gaps[len(widths) - 1, sizes[-1]],
                thresholds.shrinkage.value,
            ),
        }
        comparisons += [
            Comparison(f"MSE of initial NTK over network, {text}, ratio", _exp(values), Region(lower=least), True)
            for text, (values, least) in pairs.items()
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
            ratio = _exp(error_ratio(evidence, FINAL, name, cell, sizes[-1]))
            text = f"MSE at n = {sizes[-1]}, {predictor_label(FINAL)} over {predictor_label(name)} at {at}"
            comparisons.append(Comparison(text, ratio, Region(upper=thresholds.improvement.value), trained=True))
    compared, text = differences(evidence, FINAL, sizes, thresholds)
    remark = remarks(text, target_text(evidence), replicate_remark(evidence.cube))
    return Measurement(comparisons + compared, _variables(FINAL, *names), remark)


def measure_evolving_kernel(evidence: Evidence, thresholds: EvolvingKernelSettings) -> Measurement:
    """B6: slope of the log test MSE of regression with Θ_t in log t over the last part of training, and the angle that
    the kernel turns by in it, at the largest n that has all checkpoints regressed.

    The drift from initialization would not do: a kernel can turn, and improve, at a constant or falling distance from
    where it began.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_curves("B6", evidence, thresholds)
    cube = evidence.cube
    need(cube, ALONG, "kernel_velocity")
    n = max(n for n in cube["n_train"].values if bool(np.isfinite(cube[ALONG].sel(n_train=n)).any()))
    part, comparisons, notes = thresholds.last_part.value, [], []
    for cell in cells(cube):
        at = f"n = {n}, {cell_text(cube, cell)}"
        place = cube.isel(cell).sel(n_train=n)
        error = place[ALONG].sel(ridge=evidence.settings.scaling.ridge).transpose("draw", "seed", "epoch")
        slopes = replicates_of(last_slopes(error["epoch"].values, error.values, part))
        falls = Region(upper=thresholds.slope.value)
        text = f"slope of log MSE of regression with Θ_t in log t, last part, at {at}"
        comparisons.append(Comparison(text, from_replicates(slopes), falls, trained=True))
        velocity = place["kernel_velocity"].transpose("draw", "seed", "epoch")
        turned = _exp(replicates_of(last_turn(velocity["epoch"].values, velocity.values, part)))
        text = f"angle that the kernel turns by in the last part, at {at}"
        comparisons.append(Comparison(text, turned, Region(lower=thresholds.movement.value), trained=True))
        notes += [_training_text(place, part)]
    training = evidence.settings.training
    how = f"{training.optimizer}, {training.schedule} rate; last part from {part:.0%} of the epochs on"
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
            ratio = _exp(error_ratio(evidence, "network", FINAL, cell, n))
            text = f"MSE of the network over its final NTK at n = {n}, {cell_text(evidence.cube, cell)}"
            comparisons.append(Comparison(text, ratio, Region(1.0 / factor, factor), trained=True))
    values = ", ".join(f"{c.estimate.interval(0.95)[0]:.2g}" for c in comparisons)
    remark = remarks(f"ratios by n: {values}", target_text(evidence), replicate_remark(evidence.cube))
    return Measurement(comparisons, _variables(FINAL), remark)


def last_slopes(epochs: np.ndarray, errors: np.ndarray, part: float) -> np.ndarray:
    """Least-squares slope of log error in log epoch over the last part of each network's own checkpoints.

    Args:
        epochs: `(n_epochs,)`.
        errors: `(..., n_epochs)`; NaN where a network has no checkpoint.
        part: share of its last checkpoint's epoch from which on checkpoints count.

    Returns:
        `(...)`; NaN with fewer than three checkpoints.
    """
    slopes = np.full(errors.shape[:-1], np.nan)
    for place in np.ndindex(slopes.shape):
        there = _last_part(epochs, errors[place], part)
        if there.sum() >= _LEAST_CHECKPOINTS:
            slopes[place] = np.polyfit(np.log(epochs[there]), np.log(errors[place][there]), 1)[0]
    return slopes


def last_turn(epochs: np.ndarray, velocity: np.ndarray, part: float) -> np.ndarray:
    """Logarithm of the angle (radians) that a kernel turns by from checkpoint to checkpoint in the last part, summed.

    Two kernels at distance S = 1 − cos φ are φ apart; S is the velocity at a checkpoint times the epochs since the one
    before. The sum is not less than the angle between the first and the last.

    Args:
        epochs: `(n_epochs,)`.
        velocity: `kernel_velocity`, `(..., n_epochs)`; NaN where a network has no checkpoint.
        part: see `last_slopes`.

    Returns:
        `(...)`, the logarithm of no less than 1e-8; NaN with fewer than three checkpoints.
    """
    turns = np.full(velocity.shape[:-1], np.nan)
    for place in np.ndindex(turns.shape):
        known = np.flatnonzero(np.isfinite(velocity[place]))
        before, after = known[:-1], known[1:]
        inside = epochs[before] >= part * epochs[known].max(initial=0)
        if inside.sum() + 1 >= _LEAST_CHECKPOINTS:
            distance = velocity[place][after] * (epochs[after] - epochs[before])
            angle = np.arccos(np.clip(1.0 - distance, -1.0, 1.0))[inside].sum()
            turns[place] = np.log(max(angle, _SMALLEST_ANGLE))
    return turns


def _last_part(epochs: np.ndarray, values: np.ndarray, part: float) -> np.ndarray:
    there = np.isfinite(values) & (values > 0.0) & (epochs > 0)
    last = epochs[there].max(initial=0)
    return there & (epochs >= part * last)


def _training_text(place: xr.Dataset, part: float) -> str:
    """Training error where the last part begins and at the end: a plateau says little of a network that fits."""
    error = place["train_mse"].transpose("draw", "seed", "epoch").values
    pairs = []
    for row in error.reshape(-1, error.shape[-1]):
        there = np.flatnonzero(_last_part(place["epoch"].values, row, part))
        pairs += [(row[there[0]], row[there[-1]])] if len(there) else []
    first, last = np.exp(np.mean(np.log(np.maximum(pairs, 1e-12)), axis=0)) if pairs else (np.nan, np.nan)
    return f"training MSE from {first:.2g} to {last:.2g} over it"


def _exp(logs: Sequence[float] | np.ndarray) -> Estimate:
    """Geometric mean of ratios given by their logarithms."""
    plain = from_replicates(logs)
    return Estimate(plain.value, plain.error_low, plain.error_high, plain.n, plain.freedom, logarithmic=True)


def _variables(*kernels: str) -> list[str]:
    return ["test_mse_network", *(f"test_mse_{name}" for name in kernels)]
