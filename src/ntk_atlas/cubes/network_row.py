"""The NetCDF file of one row of trained networks: curves, probe kernels, predictions, and where the weights lie."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from ntk_atlas.cubes.netcdf import filled
from ntk_atlas.stages.train_row import MEMBER_ARRAYS
from ntk_atlas.study.cells import Unit, units
from ntk_atlas.study.specs import TrainSpec
from ntk_atlas.unit_store import UnitStore

UNIT_DIMS = ("n_train", "draw", "seed")
EPOCH_ARRAYS = ("train_mse", "validation_mse", "test_mse", "train_error", "test_error", "probe_kernels")
EXTRA_DIMS = {"probe_kernels": ("probe", "probe_2"), "test_predictions": ("test_sample", "output")}


def network_row(spec: TrainSpec, store: UnitStore, digests: Mapping[Unit, str]) -> xr.Dataset:
    """Joins the finished units of a row.

    Epochs at which a unit has no checkpoint are NaN: units differ in their last epoch under `min_steps`.

    Args:
        spec: the row.
        store: the finished units.
        digests: digest of each unit.

    Returns:
        Arrays over (n_train, draw, seed), with `epoch` and `probe`, `probe_2` where they apply;
        `unit_digest` (n_train, draw) names the units that hold the weights.
    """
    seeds = range(spec.seeds)
    loaded = {
        unit: store.load(unit.name, digests[unit], seeds, (*MEMBER_ARRAYS, "epochs"))
        for unit in units(spec.n_train, spec.draws)
    }
    epochs = sorted({int(epoch) for arrays in loaded.values() for epoch in arrays["epochs"][0]})
    shape = (len(spec.n_train), spec.draws, spec.seeds)
    joined: dict[str, np.ndarray] = {}
    for unit, arrays in loaded.items():
        cell = (spec.n_train.index(unit.n_train), unit.draw)
        at = np.searchsorted(epochs, arrays["epochs"][0])
        for name in MEMBER_ARRAYS:
            values = arrays[name]
            if name in EPOCH_ARRAYS:
                padded = filled((spec.seeds, len(epochs), *values.shape[2:]), values.dtype)
                padded[:, at] = values
                values = padded
            if name not in joined:
                joined[name] = filled((*shape, *values.shape[1:]), values.dtype)
            joined[name][cell] = values
    joined["final_train_mse"] = _last(loaded, "train_mse", shape, spec)
    variables = {name: (_dims(name), values) for name, values in joined.items()}
    variables["unit_digest"] = (
        ("n_train", "draw"),
        np.array([[digests[Unit(n, draw)] for draw in range(spec.draws)] for n in spec.n_train], dtype=object),
    )
    coordinates = {
        "n_train": list(spec.n_train),
        "draw": list(range(spec.draws)),
        "seed": list(seeds),
        "epoch": epochs,
    }
    attributes = {"row": spec.row.name, "spec": spec.canonical_json()}
    return xr.Dataset(variables, coordinates, attributes)


def training_digests(row: xr.Dataset) -> dict[Unit, str]:
    """The digest of each unit of a row, as `network_row` recorded it."""
    return {
        Unit(int(n), int(draw)): str(row["unit_digest"].sel(n_train=n, draw=draw).item())
        for n in row["n_train"].values
        for draw in row["draw"].values
    }


def _dims(name: str) -> tuple[str, ...]:
    epoch = ("epoch",) if name in EPOCH_ARRAYS else ()
    return (*UNIT_DIMS, *epoch, *EXTRA_DIMS.get(name, ()))


def _last(loaded: Mapping[Unit, dict], name: str, shape: tuple[int, ...], spec: TrainSpec) -> np.ndarray:
    values = np.full(shape, np.nan)
    for unit, arrays in loaded.items():
        values[spec.n_train.index(unit.n_train), unit.draw] = arrays[name][:, -1]
    return values
