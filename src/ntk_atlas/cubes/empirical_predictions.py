"""What is written of one row's empirical kernels: `<field>_<predictor>` over (n_train, draw, seed, ridge)."""

from collections.abc import Mapping

import numpy as np

from ntk_atlas.cubes.predictions import labelled_predictions
from ntk_atlas.labelled import LabelledArrays
from ntk_atlas.regression.regress import NestedRegression
from ntk_atlas.stages.regress_row import RowDigests, RowStores
from ntk_atlas.stages.regression_arrays import REGRESSION_FIELDS
from ntk_atlas.study.cells import Unit, units
from ntk_atlas.study.prediction_specs import EmpiricalSpec
from ntk_atlas.unit_store import Arrays, UnitStore


def empirical_predictions(spec: EmpiricalSpec, stores: RowStores, digests: RowDigests) -> LabelledArrays:
    """Joins the units of a row's empirical kernels to (n_train, draw, seed, ridge)."""
    initial = _initial(spec, stores.initial, digests.initial) if spec.has_initial else {}
    trained = _trained(spec, stores.trained, digests.trained)
    dims = ("n_train", "draw", "seed", "ridge")
    return labelled_predictions(
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
