"""The NetCDF files of kernel predictions: `<field>_<predictor>` over the dimensions the predictor depends on."""

from collections.abc import Mapping, Sequence

import numpy as np

from ntk_atlas.labelled import LabelledArray, LabelledArrays
from ntk_atlas.regression.regress import NestedRegression
from ntk_atlas.stages.regress_row import REGRESSION_FIELDS, RowDigests, RowStores
from ntk_atlas.study.cells import Unit, units
from ntk_atlas.study.prediction_specs import EmpiricalSpec, InfiniteSpec, StationarySpec
from ntk_atlas.study.specs import DataSpec
from ntk_atlas.unit_store import Arrays, UnitStore


def empirical_predictions(spec: EmpiricalSpec, stores: RowStores, digests: RowDigests) -> LabelledArrays:
    """Joins the units of a row's empirical kernels to (n_train, draw, seed, ridge)."""
    initial = _initial(spec, stores.initial, digests.initial) if spec.has_initial else {}
    trained = _trained(spec, stores.trained, digests.trained)
    dims = ("n_train", "draw", "seed", "ridge")
    return _labelled(
        spec, {name: (dims, values) for name, values in {**initial, **trained}.items()}, seed=range(spec.seeds)
    )


def _initial(spec: EmpiricalSpec, store: UnitStore, digests: Mapping[int, str]) -> Arrays:
    seeds = range(spec.seeds)
    per_draw = [store.load(f"draw-{d}", digests[d], seeds, REGRESSION_FIELDS) for d in range(spec.draws)]
    return {
        # (draw, seed, ridge, n_train) → (n_train, draw, seed, ridge)
        f"{field}_ntk_init": np.transpose(np.stack([arrays[field] for arrays in per_draw]), (3, 0, 1, 2))
        for field in REGRESSION_FIELDS
    }


def _trained(spec: EmpiricalSpec, store: UnitStore, digests: Mapping[Unit, str]) -> Arrays:
    names = [f"{field}_{predictor}" for predictor in spec.trained_predictors for field in REGRESSION_FIELDS]
    if not names:
        return {}
    loaded = [store.load(u.name, digests[u], range(spec.seeds), names) for u in units(spec.n_train, spec.draws)]
    shape = (len(spec.n_train), spec.draws, spec.seeds, len(NestedRegression.RIDGE_POLICIES))
    return {name: np.stack([arrays[name][..., 0] for arrays in loaded]).reshape(shape) for name in names}


def infinite_predictions(spec: InfiniteSpec, arrays: Mapping[str, Arrays]) -> LabelledArrays:
    """Labels the arrays of `regress_infinite`."""
    variables = {}
    for predictor, fields in arrays.items():
        has_width = predictor == "infinite_ntk" and bool(spec.width)
        dims = ("depth", *(("width",) if has_width else ()), "n_train", "draw", "ridge")
        variables |= {f"{field}_{predictor}": (dims, values) for field, values in fields.items()}
    width = {"width": spec.width} if spec.width else {}
    return _labelled(spec, variables, depth=spec.depth, **width)


def stationary_predictions(spec: StationarySpec, arrays: Arrays) -> LabelledArrays:
    """Labels the arrays of `regress_stationary`."""
    dims = ("n_train", "draw", "ridge")
    return _labelled(spec, {f"{field}_{spec.kernel}": (dims, values) for field, values in arrays.items()})


def _labelled(spec: DataSpec, variables: dict[str, tuple], **coordinates: Sequence) -> LabelledArrays:
    shared = {"n_train": spec.n_train, "draw": range(spec.draws)}
    arrays = {name: LabelledArray((name,), np.array(values)) for name, values in {**shared, **coordinates}.items()}
    arrays["ridge"] = LabelledArray(("ridge",), np.array(NestedRegression.RIDGE_POLICIES, dtype=object))
    arrays |= {name: LabelledArray(dims, values) for name, (dims, values) in variables.items()}
    return LabelledArrays(arrays, {"spec": spec.canonical_json()})
