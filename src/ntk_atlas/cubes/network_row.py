"""What is written of one row of trained networks: curves, probe kernels, predictions, and where the weights lie."""

from collections.abc import Mapping

import numpy as np

from ntk_atlas.cubes.row_units import UNIT_DIMS, join_units, load_units, unit_coordinates
from ntk_atlas.labelled import LabelledArray, LabelledArrays, filled
from ntk_atlas.stages.trained_arrays import MEMBER_ARRAYS
from ntk_atlas.status import Status
from ntk_atlas.study.cells import Unit
from ntk_atlas.study.specs import TrainSpec
from ntk_atlas.unit_store import UnitStore

EPOCH_ARRAYS = (
    "train_mse", "validation_mse", "test_mse", "train_error", "test_error", "probe_kernels", "probe_predictions",
)  # fmt: skip
EXTRA_DIMS = {
    "probe_kernels": ("probe", "probe_2"),
    "probe_predictions": ("output_probe", "output"),
    "selected_test_mse_folds": ("test_fold",),
    "test_predictions": ("test_sample", "output"),
}


def network_row(spec: TrainSpec, store: UnitStore, digests: Mapping[Unit, str]) -> LabelledArrays:
    """Joins the finished units of a row.

    Epochs at which a unit has no checkpoint are NaN: units differ in their last epoch under `min_steps`. So is all of
    a network that is not finished, whose status is `missing` or `timed_out`; a row without any has its status alone.

    Args:
        spec: the row, at one init scale.
        store: the finished units.
        digests: digest of each unit.

    Returns:
        Arrays over (n_train, draw, seed), with `epoch`, `probe` and `probe_2` (samples of the kernels) and
        `output_probe` (samples of the outputs) where they apply;
        `unit_digest` (n_train, draw) names the units that hold the weights.
    """
    seeds, shape = range(spec.seeds), (len(spec.n_train), spec.draws, spec.seeds)
    loaded = load_units(spec, store, digests, MEMBER_ARRAYS)
    joined, epochs = join_units(spec, loaded, MEMBER_ARRAYS, along_epochs=EPOCH_ARRAYS)
    if loaded:
        joined["final_train_mse"] = _last(loaded, "train_mse", shape, spec)
    status = joined.setdefault("status", filled(shape, np.int8))
    for unit, digest in digests.items():
        stopped = [seed for seed in store.timed_out(unit.name, digest) if seed in seeds]
        status[spec.n_train.index(unit.n_train), unit.draw, stopped] = int(Status.TIMED_OUT)
    digest_table = [[digests[Unit(n, draw)] for draw in range(spec.draws)] for n in spec.n_train]
    arrays = unit_coordinates(spec, epochs)
    arrays |= {name: LabelledArray(_dims(name), values) for name, values in joined.items()}
    arrays["unit_digest"] = LabelledArray(("n_train", "draw"), np.array(digest_table, dtype=object))
    return LabelledArrays(arrays, {"row": spec.row.name, "spec": spec.canonical_json()})


def training_digests(row: LabelledArrays) -> dict[float, dict[Unit, str]]:
    """The digest of each unit of a row's file at each init scale, as `network_row` recorded it."""
    return {
        float(scale): {
            Unit(int(n), int(draw)): str(row["unit_digest"][s, i, j])
            for i, n in enumerate(row["n_train"])
            for j, draw in enumerate(row["draw"])
        }
        for s, scale in enumerate(row["init_scale"])
    }


def _dims(name: str) -> tuple[str, ...]:
    epoch = ("epoch",) if name in EPOCH_ARRAYS else ()
    return (*UNIT_DIMS, *epoch, *EXTRA_DIMS.get(name, ()))


def _last(loaded: Mapping[Unit, dict], name: str, shape: tuple[int, ...], spec: TrainSpec) -> np.ndarray:
    values = np.full(shape, np.nan)
    for unit, arrays in loaded.items():
        values[spec.n_train.index(unit.n_train), unit.draw] = arrays[name][:, -1]
    return values
