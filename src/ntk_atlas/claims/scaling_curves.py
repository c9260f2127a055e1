"""Learning curves as evidence: exponents and ratios of errors, a number a replicate, paired between predictors."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ntk_atlas.claims.estimates import Estimate, from_replicates
from ntk_atlas.claims.evidence import Evidence, need, need_settings
from ntk_atlas.config.claims.threshold import ClaimSettings
from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.predictors import predictor_values, stand_ins_of
from ntk_atlas.scaling_laws.holdout import check_held_out
from ntk_atlas.scaling_laws.intervals import finite_mean
from ntk_atlas.scaling_laws.power_law import fit_power_law, on_common_sizes, usable
from ntk_atlas.status import Status

Cell = dict[str, int]


def need_curves(claim: str, evidence: Evidence, thresholds: ClaimSettings, *predictors: str) -> None:
    """Checks that an experiment has what a claim needs, and the curves of the network and these predictors.

    Raises:
        NotJudgedError: `not applicable` to variants, which B2 judges with the experiment they are variants of; `not
            run` naming what to configure.
    """
    need_settings(claim, evidence, thresholds)
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


def replicates_of(values: np.ndarray) -> np.ndarray:
    """One number a replicate of (draw, seed): the mean over the seeds of a draw; of one draw, its seeds."""
    return finite_mean(values) if len(values) > 1 else values[0]


def exponents(
    cube: xr.Dataset,
    predictor: str,
    cell: Cell,
    settings: ExperimentSettings,
    sizes: Sequence[int],
    field: str = "test_mse",
) -> np.ndarray:
    """Exponent α of err = A n^−α of each replicate.

    Args:
        cube: the cube.
        predictor: the predictor.
        cell: the cell.
        settings: the experiment's.
        sizes: n_train that are fitted.
        field: `test_mse` or `test_error`.

    Returns:
        `(n_draws,)`; with a single draw `(n_seeds,)`, one number if the predictor has no seeds.
    """
    errors = curve(cube, predictor, cell, settings, field).sel(n_train=list(sizes))
    return replicates_of(fit_power_law(np.asarray(sizes), errors.values).exponent)


def exponent_difference(
    evidence: Evidence, kernel: str, cell: Cell, sizes: Sequence[int], *, network: xr.Dataset | None = None,
    field: str = "test_mse",
) -> Estimate:  # fmt: skip
    """Exponent of the network minus that of a kernel, paired by draw, both fitted to the same n_train.

    Where one of the two has no error (a singular kernel, a diverged network), the other's at that n_train, draw and
    seed is left out too: on different n_train two equal curves that bend have different slopes.

    Args:
        evidence: the experiment whose kernel it is.
        kernel: its predictor.
        cell: the cell.
        sizes: n_train that are fitted.
        network: cube whose networks are compared; by default the experiment's own.
        field: `test_mse` or `test_error`.

    Returns:
        The estimate.
    """
    cube, settings = evidence.cube, evidence.settings
    curves = [
        curve(source, name, cell, settings, field).sel(n_train=list(sizes)).values
        for source, name in ((cube if network is None else network, "network"), (cube, kernel))
    ]
    curves = on_common_sizes(*curves)
    own, other = (replicates_of(fit_power_law(np.asarray(sizes), errors).exponent) for errors in curves)
    return from_replicates(own - other)


def missing_text(evidence: Evidence, kernel: str, cell: Cell, sizes: Sequence[int]) -> str:
    """The n_train that a difference of exponents leaves out because one of the two has no error there, in words."""
    errors = [
        curve(evidence.cube, name, cell, evidence.settings, "test_mse").sel(n_train=list(sizes)).values
        for name in ("network", kernel)
    ]
    gone = ~(usable(errors[0]) & usable(errors[1]))
    parts = [
        f"{n} in {gone[..., i].any(-1).sum()} of {len(gone)} draws" for i, n in enumerate(sizes) if gone[..., i].any()
    ]
    return (
        f"{predictor_label(kernel)}: n left out of both laws, an error is missing: {', '.join(parts)}" if parts else ""
    )


def error_ratio(evidence: Evidence, above: str, below: str, cell: Cell, n_train: int) -> np.ndarray:
    """Logarithm of the ratio of test MSEs of two predictors at one n_train, of each replicate."""
    logs = [
        np.log(curve(evidence.cube, name, cell, evidence.settings, "test_mse").sel(n_train=n_train).clip(min=1e-12))
        for name in (above, below)
    ]
    ratio = np.broadcast_arrays(logs[0].values, logs[1].values)
    return replicates_of(ratio[0] - ratio[1])


def mean_exponent_text(evidence: Evidence, predictors: Sequence[str], cell: Cell, sizes: Sequence[int]) -> str:
    """Mean exponents in words: what a difference is a difference of."""
    stand = stand_ins_of(evidence.cube)
    parts = [
        f"{predictor_label(name, stand)} "
        f"{np.nanmean(exponents(evidence.cube, name, cell, evidence.settings, sizes)):.2g}"
        for name in predictors
    ]
    return f"exponents: {', '.join(parts)}"


def error_text(evidence: Evidence, kernel: str, cell: Cell, sizes: Sequence[int], confidence: float = 0.95) -> str:
    """The same difference of the share of wrong classes, in words; empty for regression data."""
    if not bool(np.isfinite(evidence.cube["test_error_network"]).any()):
        return ""
    value, low, high = exponent_difference(evidence, kernel, cell, sizes, field="test_error").interval(confidence)
    return f"difference for the 0–1 error {value:.2g} [{low:.2g}, {high:.2g}]"


def held_out_text(evidence: Evidence, cell: Cell, sizes: Sequence[int], confidence: float = 0.95) -> str:
    """What the network's law says of the largest n_train, fitted without it, and what was measured."""
    if len(sizes) < 4:
        return ""
    errors = curve(evidence.cube, "network", cell, evidence.settings, "test_mse").sel(n_train=list(sizes)).values
    check = check_held_out(np.asarray(sizes), errors, confidence=confidence)
    if not np.isfinite(check.predicted):
        return ""
    return (
        f"network at n = {sizes[-1]} held out: {check.measured:.3g} measured, {check.predicted:.3g} "
        f"[{check.low:.3g}, {check.high:.3g}] predicted"
    )


def above_target(cube: xr.Dataset) -> tuple[int, int]:
    """How many networks ended above the training error that they should reach, or diverged, and of how many."""
    status = cube["status"]
    missed = status.isin([int(Status.BUDGET_SPENT), int(Status.DIVERGED)])
    return int(missed.sum()), int((status != int(Status.MISSING)).sum())


def target_text(evidence: Evidence) -> str:
    """Flags networks that did not reach the stated training error, by n_train, in words; empty if all did."""
    cube = evidence.cube
    parts = []
    for place, n in enumerate(cube["n_train"].values):
        missed, total = above_target(cube.isel(n_train=[place]))
        parts += [f"{missed} of {total} at n = {n}"] if missed else []
    target = evidence.settings.training.target_mse
    return f"above training MSE {target:g}: {', '.join(parts)}" if parts else ""
