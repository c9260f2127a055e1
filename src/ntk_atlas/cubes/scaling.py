"""Scaling laws of a cube: one fit a predictor and cell, and the network's exponent against each kernel's."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.config.scaling import ScalingSettings
from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.cubes.predictors import predictor_values, stand_ins_of
from ntk_atlas.cubes.settings import experiment_settings
from ntk_atlas.scaling_laws.comparison import compare_exponents
from ntk_atlas.scaling_laws.fit import ScalingFit, fit_scaling_law

LAW_DIMS = ("predictor", "depth", "width", "init_scale")
FIELDS = {
    "exponent": "exponent α of err = A n^−α",
    "exponent_low": "lower end of its interval over draws",
    "exponent_high": "upper end of its interval over draws",
    "amplitude": "amplitude A, the error extrapolated to n = 1",
    "amplitude_low": "lower end of its interval over draws",
    "amplitude_high": "upper end of its interval over draws",
    "irreducible_error": "E of err = E + A n^−α",
    "irreducible_error_low": "lower end of its interval over draws",
    "irreducible_error_high": "upper end of its interval over draws",
    "floor_exponent": "exponent α of err = E + A n^−α",
    "floor_exponent_low": "lower end of its interval over draws",
    "floor_exponent_high": "upper end of its interval over draws",
    "floor_identifiable": "1 where E and α of the law with floor can be told apart",
    "aicc_difference": "AICc of the pure law minus that of the law with floor; positive favours the floor",
    "holdout_predicted": "error at the largest n_train, predicted from the smaller ones",
    "holdout_low": "lower end of its prediction interval over draws",
    "holdout_high": "upper end of its prediction interval over draws",
    "holdout_measured": "error measured at the largest n_train",
    "n_points": "learning-curve points fitted, all draws and seeds",
    "n_left_out": "points left out: missing, not finite, or zero",
}
"""Fields of a `ScalingFit` that are kept, with their meaning."""
DIFFERENCES = ("exponent_difference", "exponent_difference_low", "exponent_difference_high")


def fit_cube(cube: xr.Dataset, settings: ScalingSettings) -> xr.Dataset:
    """Fits every predictor at every (depth, width, init_scale) of a cube.

    A predictor that does not depend on one of these is fitted once, and its law stands at every value of it.

    Args:
        cube: the cube.
        settings: metric, ridge, fit range and confidence.

    Returns:
        `FIELDS`, `note` and the differences of exponents (network minus predictor, paired by draw) over
        (predictor, depth, width, init_scale).
    """
    names = [str(name) for name in cube["predictor"].values]
    shape = (len(names), *(cube.sizes[dim] for dim in LAW_DIMS[1:]))
    arrays = {field: np.full(shape, np.nan) for field in (*FIELDS, *DIFFERENCES)}
    notes = np.full(shape, "", dtype=object)
    networks: dict[tuple[int, ...], ScalingFit] = {}
    for position, name in enumerate(names):
        for cell, fit in _cell_fits(cube, name, settings):
            for field in FIELDS:
                arrays[field][(position, *cell)] = _value(fit, field)
            notes[(position, *cell)] = fit.note
            if name == "network":
                networks[cell] = fit
                continue
            network = networks[cell]
            if fit.n_train_fitted and fit.n_train_fitted != network.n_train_fitted:
                network = _network_at(cube, cell, fit.n_train_fitted, settings)
            difference = compare_exponents(network, fit, confidence=settings.confidence)
            values = (difference.difference, difference.low, difference.high)
            for field, value in zip(DIFFERENCES, values, strict=True):
                arrays[field][(position, *cell)] = value
    variables = {name: (LAW_DIMS, values) for name, values in arrays.items()} | {"note": (LAW_DIMS, notes)}
    laws = xr.Dataset(variables, {dim: cube[dim] for dim in LAW_DIMS})
    for field, meaning in FIELDS.items():
        laws[field].attrs = {"long_name": meaning, "units": "1"}
    laws.attrs = {**settings.model_dump(), "title": "scaling laws of test error against n_train"}
    laws.attrs["stand_ins"] = cube.attrs.get("stand_ins", "")
    laws.attrs["setting"] = training_text(experiment_settings(cube).training) if "config" in cube.attrs else ""
    return laws


def training_text(training: TrainingSettings) -> str:
    """A training in words: optimizer, learning rate, batch size."""
    rate = training.learning_rate
    rates = f"{rate.absolute:g}" if rate.relative is None else f"{rate.relative} of the limit"
    schedule = "" if training.schedule == "constant" else f" {training.schedule}"
    batch = "full batch" if training.batch_size == "full" else f"batch {training.batch_size}"
    return f"{training.optimizer}, rate {rates}{schedule}, {batch}"


def law_table(laws: xr.Dataset) -> pd.DataFrame:
    """The laws as a table, one line a predictor and cell."""
    table = laws.drop_vars(list(DIFFERENCES)).to_dataframe()[[*FIELDS, "note"]].reset_index()
    table["predictor"] = [predictor_label(name, stand_ins_of(laws)) for name in table["predictor"]]
    return table


def difference_table(laws: xr.Dataset) -> pd.DataFrame:
    """Network's exponent minus each kernel's, with interval, one line a kernel and cell."""
    kernels = laws.sel(predictor=[name for name in laws["predictor"].values if name != "network"])
    table = kernels[list(DIFFERENCES)].to_dataframe()[list(DIFFERENCES)].reset_index()
    table["predictor"] = [predictor_label(name, stand_ins_of(laws)) for name in table["predictor"]]
    return table


def _network_at(cube: xr.Dataset, cell: tuple[int, ...], sizes: Sequence[int], settings: ScalingSettings) -> ScalingFit:
    """The network's law over the sizes that a kernel has: one trained on m samples has none below m."""
    place = dict(zip(LAW_DIMS[1:], cell, strict=True))
    there = cube.isel({dim: [i] for dim, i in place.items()}).sel(n_train=list(sizes))
    return next(fit for _, fit in _cell_fits(there, "network", settings))


def _value(fit: ScalingFit, field: str) -> float:
    if field.startswith("amplitude"):
        return float(np.exp(getattr(fit, f"log_{field}")))
    return float(getattr(fit, field))


def _cell_fits(
    cube: xr.Dataset, predictor: str, settings: ScalingSettings
) -> Iterator[tuple[tuple[int, ...], ScalingFit]]:
    """The fit at each cell's position; fits are shared between cells that the predictor does not tell apart."""
    values = predictor_values(cube, predictor, f"test_{settings.metric}", ridge=settings.ridge)
    if "seed" not in values.dims:
        values = values.expand_dims("seed")
    own = [dim for dim in LAW_DIMS[1:] if dim in values.dims]
    values = values.transpose(*own, "draw", "seed", "n_train")
    fits: dict[tuple[int, ...], ScalingFit] = {}
    for cell in np.ndindex(*(cube.sizes[dim] for dim in LAW_DIMS[1:])):
        key = tuple(i for i, dim in zip(cell, LAW_DIMS[1:], strict=True) if dim in own)
        if key not in fits:
            fits[key] = fit_scaling_law(cube["n_train"].values, values.values[key], settings=settings)
        yield cell, fits[key]
