"""The NetCDF files that the output variance is assembled from: linearized networks of a row, and theory."""

from collections.abc import Mapping

import numpy as np

from ntk_atlas.labelled import LabelledArray, LabelledArrays
from ntk_atlas.stages.linearize_row import LINEARIZED_ARRAYS
from ntk_atlas.stages.predict_output_variance import theory_epochs
from ntk_atlas.study.cells import Unit, units
from ntk_atlas.study.output_variance_specs import LinearizeSpec, VarianceTheorySpec
from ntk_atlas.unit_store import Arrays, UnitStore

_DIMS = {
    "linearized_predictions": ("n_train", "draw", "seed", "epoch", "probe", "output"),
    "linearized_train_mse": ("n_train", "draw", "seed", "epoch"),
}


def linearized_row(spec: LinearizeSpec, store: UnitStore, digests: Mapping[Unit, str]) -> LabelledArrays:
    """Joins the finished units of a row; epochs at which a unit has no checkpoint are NaN."""
    seeds = range(spec.seeds)
    loaded = {
        unit: store.load(unit.name, digests[unit], seeds, (*LINEARIZED_ARRAYS, "epochs"))
        for unit in units(spec.n_train, spec.draws)
    }
    epochs = sorted({int(epoch) for arrays in loaded.values() for epoch in arrays["epochs"][0]})
    shape = (len(spec.n_train), spec.draws, spec.seeds, len(epochs))
    joined = {}
    for unit, arrays in loaded.items():
        at = np.searchsorted(epochs, arrays["epochs"][0])
        for name in LINEARIZED_ARRAYS:
            rest = arrays[name].shape[2:]
            target = joined.setdefault(name, np.full((*shape, *rest), np.nan))
            target[spec.n_train.index(unit.n_train), unit.draw][:, at] = arrays[name]
    coordinates = {"n_train": spec.n_train, "draw": range(spec.draws), "seed": seeds, "epoch": epochs}
    arrays = {name: LabelledArray((name,), np.array(values)) for name, values in coordinates.items()}
    arrays |= {name: LabelledArray(_DIMS[name], values) for name, values in joined.items()}
    return LabelledArrays(arrays, {"row": spec.row.name, "spec": spec.canonical_json()})


def variance_theory(spec: VarianceTheorySpec, arrays: Arrays) -> LabelledArrays:
    """Labels the arrays of `predict_output_variance`; there is a width only where the kernel depends on it."""
    has_width = bool(spec.width)
    cell = ("depth", *(("width",) if has_width else ()), "n_train", "draw")
    dims = {"mean": ("epoch", "probe", "output"), "variance": ("epoch", "probe"), "learning_rate": ()}
    coordinates = {
        "depth": spec.depth,
        **({"width": spec.width} if has_width else {}),
        "n_train": spec.n_train,
        "draw": range(spec.draws),
        "epoch": theory_epochs(spec),
    }
    labelled = {name: LabelledArray((name,), np.array(values)) for name, values in coordinates.items()}
    for name, values in arrays.items():
        labelled[name] = LabelledArray((*cell, *dims[name]), values if has_width else values[:, 0])
    return LabelledArrays(labelled, {"spec": spec.canonical_json()})
