"""The units of one row joined into arrays over (n_train, draw, seed): trained networks, and linearized ones."""

from collections.abc import Mapping, Sequence

import numpy as np

from ntk_atlas.labelled import LabelledArray, filled
from ntk_atlas.study.cells import Unit, units
from ntk_atlas.study.specs import TrainSpec
from ntk_atlas.unit_store import Arrays, UnitStore

UNIT_DIMS = ("n_train", "draw", "seed")


def load_units(
    spec: TrainSpec, store: UnitStore, digests: Mapping[Unit, str], names: Sequence[str]
) -> dict[Unit, Arrays]:
    """The finished units of a row with the arrays that are named; seeds that are missing are NaN, units left out."""
    loaded = {
        unit: store.load(unit.name, digests[unit], range(spec.seeds), (*names, "epochs"), partial=True)
        for unit in units(spec.n_train, spec.draws)
    }
    return {unit: arrays for unit, arrays in loaded.items() if arrays}


def join_units(
    spec: TrainSpec, loaded: Mapping[Unit, Arrays], names: Sequence[str], *, along_epochs: Sequence[str]
) -> tuple[dict[str, np.ndarray], list[int]]:
    """Puts the arrays of units at their places.

    Args:
        spec: the row, at one init scale.
        loaded: arrays of each finished unit, (seed, …).
        names: which arrays.
        along_epochs: those of them that are (seed, epoch, …), at the unit's own epochs.

    Returns:
        Arrays (n_train, draw, seed, …), NaN where nothing is, and the epochs of all units.
    """
    epochs = joined_epochs(loaded)
    shape = (len(spec.n_train), spec.draws, spec.seeds)
    joined: dict[str, np.ndarray] = {}
    for unit, arrays in loaded.items():
        at = np.searchsorted(epochs, unit_epochs(arrays))
        for name in names:
            values = arrays[name]
            if name in along_epochs:
                padded = filled((spec.seeds, len(epochs), *values.shape[2:]), values.dtype)
                padded[:, at] = values
                values = padded
            whole = joined.setdefault(name, filled((*shape, *values.shape[1:]), values.dtype))
            whole[spec.n_train.index(unit.n_train), unit.draw] = values
    return joined, epochs


def unit_coordinates(spec: TrainSpec, epochs: Sequence[int]) -> dict[str, LabelledArray]:
    """Coordinates of a row's arrays."""
    values = {"n_train": spec.n_train, "draw": range(spec.draws), "seed": range(spec.seeds), "epoch": epochs}
    return {name: LabelledArray((name,), np.array(labels)) for name, labels in values.items()}


def unit_epochs(arrays: Arrays) -> np.ndarray:
    """The epochs of a unit; seeds that are missing have −1 instead."""
    return arrays["epochs"].max(axis=0)


def joined_epochs(loaded: Mapping[Unit, Arrays]) -> list[int]:
    """All epochs at which any unit has a checkpoint, ascending."""
    return sorted({int(epoch) for arrays in loaded.values() for epoch in unit_epochs(arrays)})
