"""B6: the kernel keeps turning, and improving, over the last part of the epochs that networks take to fit."""

from ntk_atlas.claims import Claim, Threshold
from ntk_atlas.study.claim_needs import checkpoints_at_constant_rate, own_curves

CLAIM = Claim(
    statement="The kernel keeps evolving and improving through most of training.",
    statistic=(
        "Slope of log test MSE of regression with the kernel at epoch t in log t, and the angle that the kernel turns "
        "by (radians, the Frobenius inner product), over the last decade of epochs up to the first checkpoint at or "
        "below training.target_mse, at a constant learning rate"
    ),
    source="abstract (keeps evolving); that its error keeps falling is from a third-party summary",
    thresholds={
        # Largest slope of log error against log t over the last part of training; it is negative.
        "slope": Threshold(
            value=-0.05,
            reason=(
                'Over the last decade of epochs the error then falls by 11 %; a kernel that has settled "after a few '
                'epochs" has a slope of zero there.'
            ),
        ),
        # Least angle (radians) that the kernel turns by in the last part of training.
        "movement": Threshold(
            value=0.1,
            reason=(
                "At a tenth of a radian the kernels differ by a tenth of their norm; a kernel that has settled does "
                "not turn."
            ),
        ),
        # Share of the epochs up to the fit after which the last part begins.
        "last_part": Threshold(
            value=0.1,
            reason=(
                'The last decade of the epochs that a network takes to fit, 90 % of the time: "stabilizes after a few '
                'epochs" is over by then. Up to the fit, because nothing that has been fitted moves a kernel on.'
            ),
        ),
    },
    needs=(
        own_curves,
        checkpoints_at_constant_rate,
    ),
)

import numpy as np
import xarray as xr

from ntk_atlas.config.predictors import EPOCHS
from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.cubes.files import SHARED_TRAIN
from ntk_atlas.judging.decision import Comparison, Measurement, Region, remarks
from ntk_atlas.judging.evidence import Evidence, cell_estimate, cell_text, need, replicate_remark
from ntk_atlas.judging.scaling import cells, need_curves
from ntk_atlas.study.claim_needs import at_constant_rate

_LEAST_CHECKPOINTS = 3
ALONG = f"test_mse_{EPOCHS}"


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Slope of the log test MSE of regression with Θ_t in log t, and the angle that the kernel turns by, over the
    last part of the epochs that networks take to fit, at the largest n that has all checkpoints regressed.

    A network has fit at its first checkpoint at or below `training.target_mse`; after it the curve is flat by
    construction, and so it is where a schedule takes the learning rate to 0. Judged are therefore networks trained at a
    constant rate: the experiment's own, or a variant's. The drift from initialization would not do: a kernel can turn,
    and improve, at a constant or falling distance from where it began.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_curves(evidence)
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


def first_below(epochs: np.ndarray, training: np.ndarray, target: float) -> np.ndarray:
    """Epoch of each network's first checkpoint with a training MSE at or below a target, `(...)` of `(..., n_epochs)`.

    Of a network that never gets there, the last epoch that it has a checkpoint at; 0 if it has none.
    """
    known = np.isfinite(training)
    last = np.where(known, epochs, 0).max(-1, initial=0)
    below = known & (np.where(known, training, np.inf) <= target)
    return np.asarray(np.where(below.any(-1), epochs[below.argmax(-1)], last))


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
        inside = _last_part(epochs, float(until[place]), part)
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
        counted = _last_part(epochs, float(until[place]), part)
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
        inside = np.flatnonzero(_last_part(epochs, float(fit[place]), part) & np.isfinite(training[place]))
        if len(inside):
            starts.append(training[place][inside[0]])
            reached += bool(training[place][inside[-1]] <= target)
    first = float(np.exp(np.mean(np.log(np.maximum(starts, 1e-12))))) if starts else np.nan
    return (
        f"{reached} of {fit.size} reach a training MSE of {target:g}, from {first:.2g}, in the {part:g} … 1 of their "
        f"first {np.median(fit):g} epochs (median)"
    )
