"""What is written of one row's linearized networks: outputs along training, and the predictor `linearized`."""

from collections.abc import Mapping

import numpy as np

from ntk_atlas.cubes.network_row import joined_epochs, unit_epochs
from ntk_atlas.labelled import LabelledArray, LabelledArrays, filled
from ntk_atlas.stages.linearize_row import LINEARIZED_ARRAYS, TEST_ARRAYS
from ntk_atlas.study.cells import Unit, units
from ntk_atlas.study.linearized_specs import LinearizeSpec
from ntk_atlas.unit_store import UnitStore

_UNIT = ("n_train", "draw", "seed")
_DIMS = {
    "linearized_predictions": ("epoch", "probe", "output"),
    "linearized_train_mse": ("epoch",),
    "test_predictions": ("test_sample", "output"),
}


def linearized_row(spec: LinearizeSpec, store: UnitStore, digests: Mapping[Unit, str]) -> LabelledArrays:
    """Joins the finished units of a row; epochs at which a unit has no checkpoint, and what is missing, are NaN."""
    seeds, names = range(spec.seeds), (*LINEARIZED_ARRAYS, *(TEST_ARRAYS if spec.on_test else ()))
    loaded = {
        unit: store.load(unit.name, digests[unit], seeds, (*names, "epochs"), partial=True)
        for unit in units(spec.n_train, spec.draws)
    }
    loaded = {unit: arrays for unit, arrays in loaded.items() if arrays}
    epochs = joined_epochs(loaded)
    shape = (len(spec.n_train), spec.draws, spec.seeds)
    joined: dict[str, np.ndarray] = {}
    for unit, arrays in loaded.items():
        at = np.searchsorted(epochs, unit_epochs(arrays))
        for name in names:
            values = arrays[name]
            if name in LINEARIZED_ARRAYS:
                padded = filled((spec.seeds, len(epochs), *values.shape[2:]), values.dtype)
                padded[:, at] = values
                values = padded
            whole = joined.setdefault(name, filled((*shape, *values.shape[1:]), values.dtype))
            whole[spec.n_train.index(unit.n_train), unit.draw] = values
    coordinates = {"n_train": spec.n_train, "draw": range(spec.draws), "seed": seeds, "epoch": epochs}
    arrays = {name: LabelledArray((name,), np.array(values)) for name, values in coordinates.items()}
    arrays |= {name: LabelledArray((*_UNIT, *_DIMS.get(name, ())), values) for name, values in joined.items()}
    return LabelledArrays(arrays, {"row": spec.row.name, "spec": spec.canonical_json()})
