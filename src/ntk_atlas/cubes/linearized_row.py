"""What is written of one row's linearized networks: outputs along training, and the predictor `linearized`."""

from collections.abc import Mapping

from ntk_atlas.cubes.row_units import UNIT_DIMS, join_units, load_units, unit_coordinates
from ntk_atlas.labelled import LabelledArray, LabelledArrays
from ntk_atlas.stages.linearize_row import LINEARIZED_ARRAYS, TEST_ARRAYS
from ntk_atlas.study.cells import Unit
from ntk_atlas.study.linearized_specs import LinearizeSpec
from ntk_atlas.unit_store import UnitStore

_DIMS = {
    "linearized_predictions": ("epoch", "probe", "output"),
    "linearized_train_mse": ("epoch",),
    "test_mse_folds_linearized": ("test_fold",),
    "test_predictions": ("test_sample", "output"),
}


def linearized_row(spec: LinearizeSpec, store: UnitStore, digests: Mapping[Unit, str]) -> LabelledArrays:
    """Joins the finished units of a row; epochs at which a unit has no checkpoint, and what is missing, are NaN."""
    names = (*LINEARIZED_ARRAYS, *(TEST_ARRAYS if spec.on_test else ()))
    loaded = load_units(spec, store, digests, names)
    joined, epochs = join_units(spec, loaded, names, along_epochs=LINEARIZED_ARRAYS)
    arrays = unit_coordinates(spec, epochs)
    arrays |= {name: LabelledArray((*UNIT_DIMS, *_DIMS.get(name, ())), values) for name, values in joined.items()}
    return LabelledArrays(arrays, {"row": spec.row.name, "spec": spec.canonical_json()})
