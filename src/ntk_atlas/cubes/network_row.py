"""What is written of one row of trained networks: curves, probe kernels, predictions, and where the weights lie."""

from collections.abc import Mapping

import numpy as np

from ntk_atlas.labelled import LabelledArray, LabelledArrays
from ntk_atlas.stages.train_row import MEMBER_ARRAYS
from ntk_atlas.study.cells import Unit, units
from ntk_atlas.study.specs import TrainSpec
from ntk_atlas.unit_store import UnitStore

UNIT_DIMS = ("n_train", "draw", "seed")
EPOCH_ARRAYS = (
    "train_mse", "validation_mse", "test_mse", "train_error", "test_error", "probe_kernels", "probe_predictions",
)  # fmt: skip
EXTRA_DIMS = {
    "probe_kernels": ("probe", "probe_2"),
    "probe_predictions": ("probe", "output"),
    "test_predictions": ("test_sample", "output"),
}


def network_row(spec: TrainSpec, store: UnitStore, digests: Mapping[Unit, str]) -> LabelledArrays:
    """Joins the finished units of a row.

    Epochs at which a unit has no checkpoint are NaN: units differ in their last epoch under `min_steps`.

    Args:
        spec: the row, at one init scale.
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
    digest_table = [[digests[Unit(n, draw)] for draw in range(spec.draws)] for n in spec.n_train]
    coordinates = {"n_train": spec.n_train, "draw": range(spec.draws), "seed": seeds, "epoch": epochs}
    arrays = {name: LabelledArray((name,), np.array(values)) for name, values in coordinates.items()}
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


def filled(shape: tuple[int, ...], dtype: np.dtype | str) -> np.ndarray:
    """An array of what stands for "not there": NaN for floats, −1 for integers."""
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else -1, dtype=dtype)


def _dims(name: str) -> tuple[str, ...]:
    epoch = ("epoch",) if name in EPOCH_ARRAYS else ()
    return (*UNIT_DIMS, *epoch, *EXTRA_DIMS.get(name, ()))


def _last(loaded: Mapping[Unit, dict], name: str, shape: tuple[int, ...], spec: TrainSpec) -> np.ndarray:
    values = np.full(shape, np.nan)
    for unit, arrays in loaded.items():
        values[spec.n_train.index(unit.n_train), unit.draw] = arrays[name][:, -1]
    return values
