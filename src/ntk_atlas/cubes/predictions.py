"""The NetCDF files of kernel predictions: `<field>_<predictor>` over the dimensions the predictor depends on."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from ntk_atlas.regression.regress import NestedRegression
from ntk_atlas.stages.regress_row import REGRESSION_FIELDS
from ntk_atlas.study.cells import Unit, units
from ntk_atlas.study.prediction_specs import EmpiricalSpec, InfiniteSpec, StationarySpec
from ntk_atlas.study.specs import DataSpec
from ntk_atlas.unit_store import Arrays, UnitStore


def initial_predictions(spec: EmpiricalSpec, store: UnitStore, digests: Mapping[int, str]) -> xr.Dataset:
    """Joins the units (draws) of `regress_initial` to (n_train, draw, seed, ridge)."""
    seeds = range(spec.seeds)
    per_draw = [store.load(f"draw-{d}", digests[d], seeds, REGRESSION_FIELDS) for d in range(spec.draws)]
    (predictor,) = spec.predictors
    variables = {}
    for field in REGRESSION_FIELDS:
        stacked = np.stack([arrays[field] for arrays in per_draw])  # (draw, seed, ridge, n_train)
        variables[f"{field}_{predictor}"] = (
            ("n_train", "draw", "seed", "ridge"),
            np.transpose(stacked, (3, 0, 1, 2)),
        )
    return _dataset(spec, variables, seed=list(seeds))


def trained_predictions(spec: EmpiricalSpec, store: UnitStore, digests: Mapping[Unit, str]) -> xr.Dataset:
    """Joins the units of `regress_trained` to (n_train, draw, seed, ridge)."""
    seeds = range(spec.seeds)
    names = [f"{field}_{predictor}" for predictor in spec.predictors for field in REGRESSION_FIELDS]
    joined: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for unit in units(spec.n_train, spec.draws):
        arrays = store.load(unit.name, digests[unit], seeds, names)
        for name in names:
            joined[name].append(arrays[name][..., 0])
    shape = (len(spec.n_train), spec.draws, spec.seeds, len(NestedRegression.RIDGE_POLICIES))
    variables = {
        name: (("n_train", "draw", "seed", "ridge"), np.stack(values).reshape(shape)) for name, values in joined.items()
    }
    return _dataset(spec, variables, seed=list(seeds))


def infinite_predictions(spec: InfiniteSpec, arrays: Mapping[str, Arrays]) -> xr.Dataset:
    """Labels the arrays of `regress_infinite`."""
    variables = {}
    for predictor, fields in arrays.items():
        has_width = predictor == "infinite_ntk" and bool(spec.width)
        dims = ("depth", *(("width",) if has_width else ()), "n_train", "draw", "ridge")
        variables |= {f"{field}_{predictor}": (dims, values) for field, values in fields.items()}
    width = {"width": list(spec.width)} if spec.width else {}
    return _dataset(spec, variables, depth=list(spec.depth), **width)


def stationary_predictions(spec: StationarySpec, arrays: Arrays) -> xr.Dataset:
    """Labels the arrays of `regress_stationary`."""
    dims = ("n_train", "draw", "ridge")
    return _dataset(spec, {f"{field}_{spec.kernel}": (dims, values) for field, values in arrays.items()})


def _dataset(spec: DataSpec, variables: dict, **coordinates: Sequence) -> xr.Dataset:
    shared = {
        "n_train": list(spec.n_train),
        "draw": list(range(spec.draws)),
        "ridge": list(NestedRegression.RIDGE_POLICIES),
    }
    return xr.Dataset(variables, {**shared, **coordinates}, {"spec": spec.canonical_json()})
