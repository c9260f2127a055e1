"""What is written of one row's empirical kernels: `<field>_<predictor>` over (n_train, draw, seed[, epoch], ridge)."""

from collections.abc import Mapping, Sequence

import numpy as np

from ntk_atlas.config.predictors import EPOCHS, PRETRAINED
from ntk_atlas.cubes.predictions import field_dims, labelled_predictions
from ntk_atlas.cubes.row_units import joined_epochs, unit_epochs
from ntk_atlas.labelled import LabelledArrays, filled
from ntk_atlas.regression.regress import NestedRegression
from ntk_atlas.stages.regress_row import RowStores
from ntk_atlas.stages.regression_arrays import REGRESSION_FIELDS, kept_fields
from ntk_atlas.study.cells import Unit
from ntk_atlas.study.prediction_specs import EmpiricalSpec, RowDigests
from ntk_atlas.unit_store import Arrays, UnitStore

_DIMS = ("n_train", "draw", "seed", "ridge")
_RIDGES = len(NestedRegression.RIDGE_POLICIES)


def empirical_predictions(spec: EmpiricalSpec, stores: RowStores, digests: RowDigests) -> LabelledArrays:
    """Joins the units of a row's empirical kernels; what a kernel is not regressed on, or not yet, is NaN."""
    curves = _initial(spec, stores.initial, digests.initial) if spec.has_initial else {}
    curves |= _trained(spec, stores.trained, digests.trained)
    for m in spec.pretrained_sizes:
        units = {unit: digest for unit, digest in digests.pretrained.items() if unit.n_train == m}
        curves |= _pretrained(spec, stores.pretrained, units, f"{PRETRAINED}{m}")
    variables = {name: (field_dims(name, _DIMS), values) for name, values in curves.items()}
    coordinates = {"seed": range(spec.seeds)}
    if spec.has_epochs:
        epochs, along = _epochs(spec, stores.epochs, digests.epochs)
        variables |= {
            name: (field_dims(name, (*_DIMS[:3], "epoch", "ridge")), values) for name, values in along.items()
        }
        coordinates["epoch"] = epochs
    return labelled_predictions(spec, variables, **coordinates)


def _names(spec: EmpiricalSpec, predictors: Sequence[str], fields: Sequence[str] = REGRESSION_FIELDS) -> list[str]:
    return [f"{f}_{name}" for predictor in predictors for name in spec.variants(predictor) for f in fields]


def _empty(spec: EmpiricalSpec, dtype: np.dtype, *axes: int, rest: Sequence[int] = ()) -> np.ndarray:
    return filled((len(spec.n_train), spec.draws, spec.seeds, *axes, _RIDGES, *rest), dtype)


def _initial(spec: EmpiricalSpec, store: UnitStore, digests: Mapping[int, str]) -> Arrays:
    names = _names(spec, ["ntk_init"], kept_fields(spec.solve))
    per_draw = [store.load(f"draw-{d}", digests[d], range(spec.seeds), names) for d in range(spec.draws)]
    # (draw, seed, ridge, n_train, …) → (n_train, draw, seed, ridge, …)
    return {name: np.moveaxis(np.stack([arrays[name] for arrays in per_draw]), 3, 0) for name in names}


def _trained(spec: EmpiricalSpec, store: UnitStore, digests: Mapping[Unit, str]) -> Arrays:
    names = _names(spec, spec.trained_predictors, kept_fields(spec.solve))
    joined: Arrays = {}
    for unit, digest in digests.items():
        for name, values in store.load(unit.name, digest, range(spec.seeds), names, partial=True).items():
            whole = joined.setdefault(name, _empty(spec, values.dtype, rest=values.shape[3:]))
            whole[spec.n_train.index(unit.n_train), unit.draw] = values[:, :, 0]
    return joined


def _pretrained(spec: EmpiricalSpec, store: UnitStore, digests: Mapping[Unit, str], predictor: str) -> Arrays:
    joined: Arrays = {}
    for unit, digest in digests.items():
        at = [i for i, n in enumerate(spec.n_train) if n >= unit.n_train]
        names = _names(spec, [predictor], kept_fields(spec.solve))
        for name, values in store.load(unit.name, digest, range(spec.seeds), names, partial=True).items():
            whole = joined.setdefault(name, _empty(spec, values.dtype, rest=values.shape[3:]))
            whole[at, unit.draw] = np.moveaxis(values, 2, 0)  # (seed, ridge, n_train, …)
    return joined


def _epochs(spec: EmpiricalSpec, store: UnitStore, digests: Mapping[Unit, str]) -> tuple[list[int], Arrays]:
    names = _names(spec, [EPOCHS])
    loaded = {
        unit: store.load(unit.name, digest, range(spec.seeds), [*names, "epochs"], partial=True)
        for unit, digest in digests.items()
    }
    loaded = {unit: arrays for unit, arrays in loaded.items() if arrays}
    epochs = joined_epochs(loaded)
    joined: Arrays = {}
    for unit, arrays in loaded.items():
        at = np.searchsorted(epochs, unit_epochs(arrays))
        for name in names:
            whole = joined.setdefault(name, _empty(spec, arrays[name].dtype, len(epochs), rest=arrays[name].shape[3:]))
            # (seed, ridge, epoch, …) → (seed, epoch, ridge, …)
            whole[spec.n_train.index(unit.n_train), unit.draw][:, at] = np.moveaxis(arrays[name], 2, 1)
    return epochs, joined
