"""Scaling laws of a cube: one fit an error, predictor and cell, and the network's exponent against each kernel's."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

from ntk_atlas.config.analyses import ScalingSettings
from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.cubes.dictionary import DIFFERENCES, FIELDS, LAW_CELL, LAW_ERRORS, LAWS, METRICS, NEW_DATA, NO_CLASS
from ntk_atlas.cubes.files import (
    LEFT_OUT,
    SHARED_TRAIN,
    described,
    draws_overlap,
    errors_without_folds,
    experiment_settings,
    fold_shares,
    predictor_values,
    stand_ins_of,
)
from ntk_atlas.scaling_laws.fit import ScalingFit, compare_exponents, fit_scaling_law
from ntk_atlas.scaling_laws.laws import fit_power_law, on_common_sizes
from ntk_atlas.statistics.estimates import common_variance, for_new_data
from ntk_atlas.statistics.intervals import finite_mean


def fit_cube(cube: xr.Dataset, settings: ScalingSettings) -> xr.Dataset:
    """Fits every predictor at every (depth, width, init_scale) of a cube, by its MSE and by its 0–1 error.

    A predictor that does not depend on one of these is fitted once, and its law stands at every value of it.

    Args:
        cube: the cube.
        settings: ridge, fit range and confidence; `metric` is the error whose laws `laws_of` gives by default.

    Returns:
        `FIELDS`, `note` and the differences of exponents (network minus predictor, paired by draw) over
        (metric, predictor, depth, width, init_scale), and `LAW_ERRORS` over these and n_train. Data without classes
        have the MSE only, networks trained on cross-entropy the 0–1 error only.
    """
    training = experiment_settings(cube).training if "config" in cube.attrs else None
    has_classes = bool((cube["probe_class"] != NO_CLASS).any())
    has = {"mse": training is None or training.loss != "cross_entropy", "error": has_classes}
    metrics = [metric for metric in METRICS if has[metric]]
    fitted = [_fit_metric(cube, settings.model_copy(update={"metric": metric})) for metric in metrics]
    laws = xr.concat(fitted, xr.Variable("metric", metrics))
    setting = "" if training is None else training_text(training)
    stand_ins = cube.attrs.get("stand_ins", "")
    return described(laws, LAWS, settings.model_dump() | {"stand_ins": stand_ins, "setting": setting})


def laws_of(laws: xr.Dataset, metric: str | None = None) -> xr.Dataset:
    """The laws of one error: `mse` or `error`, by default the one that the settings name."""
    if "metric" not in laws.dims:
        return laws
    metric = metric or laws.attrs["metric"]
    return laws.sel(metric=metric, drop=True).assign_attrs(metric=metric)


def _fit_metric(cube: xr.Dataset, settings: ScalingSettings) -> xr.Dataset:
    names = [str(name) for name in cube["predictor"].values]
    shape = (len(names), *(cube.sizes[dim] for dim in LAW_CELL[1:]))
    arrays = {field: np.full(shape, np.nan) for field in (*FIELDS, *DIFFERENCES, *NEW_DATA)}
    arrays |= {field: np.full((*shape, cube.sizes["n_train"]), np.nan) for field in LAW_ERRORS}
    notes = np.full(shape, "", dtype=object)
    networks: dict[tuple[int, ...], ScalingFit] = {}
    for position, name in enumerate(names):
        for cell, fit in _cell_fits(cube, name, settings):
            for field in FIELDS:
                arrays[field][(position, *cell)] = _value(fit, field)
            fitted = np.isin(cube["n_train"].values, fit.n_train_fitted)
            for field, log_error in zip(
                LAW_ERRORS, (fit.log_law.value, fit.log_law.low, fit.log_law.high), strict=True
            ):
                arrays[field][(position, *cell)][fitted] = np.exp(log_error)
            exponent = (fit.exponent, fit.exponent_low, fit.exponent_high)
            ends = _new_data(cube, name, cell, exponent, settings)
            for field, value in zip(list(NEW_DATA)[:2], ends, strict=True):
                arrays[field][(position, *cell)] = value
            notes[(position, *cell)] = fit.note
            if name == "network":
                networks[cell] = fit
                continue
            pair = _common_fits(cube, name, cell, settings) or (networks[cell], fit)
            difference = compare_exponents(*pair, confidence=settings.confidence)
            interval = (difference.difference, difference.low, difference.high)
            ends = _new_data(cube, name, cell, interval, settings, from_network=True)
            for field, value in zip((*DIFFERENCES, *list(NEW_DATA)[2:]), (*interval, *ends), strict=True):
                arrays[field][(position, *cell)] = value
    dims = (*LAW_CELL, "n_train")
    variables = {name: (dims[: values.ndim], values) for name, values in (arrays | {"note": notes}).items()}
    return xr.Dataset(variables, {dim: cube[dim] for dim in dims})


def training_text(training: TrainingSettings) -> str:
    """A training in words: optimizer, learning rate, batch size."""
    rate = training.learning_rate
    rates = f"{rate.absolute:g}" if rate.relative is None else f"{rate.relative} of the limit"
    schedule = "" if training.schedule == "constant" else f" {training.schedule}"
    batch = "full batch" if training.batch_size == "full" else f"batch {training.batch_size}"
    return f"{training.optimizer}, rate {rates}{schedule}, {batch}"


def law_table(laws: xr.Dataset) -> pd.DataFrame:
    """The laws as a table, one line an error, predictor and cell."""
    table = laws[[*FIELDS, "note"]].to_dataframe().reset_index()
    table["predictor"] = [predictor_label(name, stand_ins_of(laws)) for name in table["predictor"]]
    return table


def difference_table(laws: xr.Dataset) -> pd.DataFrame:
    """Network's exponent minus each kernel's, with interval, one line an error, kernel and cell."""
    kernels = laws.sel(predictor=[name for name in laws["predictor"].values if name != "network"])
    table = kernels[list(DIFFERENCES)].to_dataframe()[list(DIFFERENCES)].reset_index()
    table["predictor"] = [predictor_label(name, stand_ins_of(laws)) for name in table["predictor"]]
    return table


def _common_fits(
    cube: xr.Dataset, kernel: str, cell: tuple[int, ...], settings: ScalingSettings
) -> tuple[ScalingFit, ScalingFit] | None:
    """Laws of the network and of a kernel over the sizes that both have; None if neither lacks one.

    A kernel trained on m samples has no error below m, a singular kernel none at its size.
    """
    errors = []
    for name in ("network", kernel):
        values = _errors(cube, name, settings)
        place = {dim: i for dim, i in zip(LAW_CELL[1:], cell, strict=True) if dim in values.dims}
        errors.append(values.isel(place).transpose("draw", "seed", "n_train").values)
    common = on_common_sizes(*errors)
    if common[0] is errors[0]:
        return None
    network, other = (fit_scaling_law(cube["n_train"].values, each, settings=settings) for each in common)
    return network, other


def _new_data(
    cube: xr.Dataset,
    predictor: str,
    cell: tuple[int, ...],
    interval: tuple[float, float, float],
    settings: ScalingSettings,
    *,
    from_network: bool = False,
) -> tuple[float, float]:
    """Ends of an exponent's interval (or of the network's minus it) for new data; NaN where that is not known."""
    if not draws_overlap(cube):
        return interval[1:]
    names = ("network", predictor) if from_network else (predictor,)
    if settings.metric != "mse" or any(f"test_mse_folds_{name}" not in cube for name in names):
        return np.nan, np.nan
    errors = []
    for name in names:
        values = errors_without_folds(cube, name, ridge=settings.ridge)
        values = values.isel({dim: i for dim, i in zip(LAW_CELL[1:], cell, strict=True) if dim in values.dims})
        values = values if "seed" in values.dims else values.expand_dims("seed")
        values = values.sel(n_train=values["n_train"] >= settings.n_train_min)
        errors.append(values.transpose(LEFT_OUT, "draw", "seed", "n_train"))
    arrays = [each.values for each in errors]
    arrays = list(on_common_sizes(*arrays)) if from_network else arrays
    exponents = [finite_mean(fit_power_law(errors[0]["n_train"].values, each).exponent) for each in arrays]
    exponent = exponents[0] - exponents[1] if from_network else exponents[0]
    common = common_variance(exponent, fold_shares(errors[0]), float(errors[0][SHARED_TRAIN].max()))
    n_draws = int(np.isfinite(exponent[0]).sum())
    return for_new_data(interval, common, n_draws, settings.confidence)


def _value(fit: ScalingFit, field: str) -> float:
    if field.startswith("amplitude"):
        return float(np.exp(getattr(fit, f"log_{field}")))
    return float(getattr(fit, field))


def _errors(cube: xr.Dataset, predictor: str, settings: ScalingSettings) -> xr.DataArray:
    """The fitted error of one predictor; a kernel without seeds has one."""
    values = predictor_values(cube, predictor, f"test_{settings.metric}", ridge=settings.ridge)
    return values if "seed" in values.dims else values.expand_dims("seed")


def _cell_fits(
    cube: xr.Dataset, predictor: str, settings: ScalingSettings
) -> Iterator[tuple[tuple[int, ...], ScalingFit]]:
    """The fit at each cell's position; fits are shared between cells that the predictor does not tell apart."""
    values = _errors(cube, predictor, settings)
    own = [dim for dim in LAW_CELL[1:] if dim in values.dims]
    values = values.transpose(*own, "draw", "seed", "n_train")
    fits: dict[tuple[int, ...], ScalingFit] = {}
    for cell in np.ndindex(*(cube.sizes[dim] for dim in LAW_CELL[1:])):
        key = tuple(i for i, dim in zip(cell, LAW_CELL[1:], strict=True) if dim in own)
        if key not in fits:
            fits[key] = fit_scaling_law(cube["n_train"].values, values.values[key], settings=settings)
        yield cell, fits[key]
