"""The NetCDF file of a whole row: its parts at single init scales, joined along a first dimension."""

from collections.abc import Mapping

import numpy as np

from ntk_atlas.labelled import LabelledArray, LabelledArrays, filled
from ntk_atlas.study.specs import NetworksSpec


def join_init_scales(spec: NetworksSpec, parts: Mapping[float, LabelledArrays]) -> LabelledArrays:
    """Joins what a row's init scales gave.

    Epochs at which one init scale has checkpoints and another has none are NaN there, and so are arrays that a part
    lacks because none of its networks is finished.

    Args:
        spec: the row, with all its init scales.
        parts: arrays at each init scale, with the same coordinates but for `epoch`.

    Returns:
        Arrays with `init_scale` as their first dimension; coordinates without it.

    Raises:
        ValueError: if the parts are not those of the row, or differ in a coordinate.
    """
    if tuple(parts) != spec.init_scale:
        raise ValueError(f"{spec.row.name} is joined of init scales {list(parts)}: give its own, in order")
    first, *others = parts.values()
    coordinates = [name for name, array in first.arrays.items() if array.dims == (name,)]
    arrays = {"init_scale": LabelledArray(("init_scale",), np.array(spec.init_scale, dtype=np.float64))}
    for name in coordinates:
        if name != "epoch" and any(not np.array_equal(first[name], other[name]) for other in others):
            raise ValueError(f"{spec.row.name}: its init scales differ in {name}")
        arrays[name] = first.arrays[name]
    if "epoch" in coordinates:
        epochs = np.unique(np.concatenate([part["epoch"] for part in parts.values()]))
        arrays["epoch"] = LabelledArray(("epoch",), epochs)
    for name, array in {name: array for part in parts.values() for name, array in part.arrays.items()}.items():
        if name not in coordinates:
            values = [_at_epochs(part, name, arrays) if name in part.arrays else None for part in parts.values()]
            there = next(value for value in values if value is not None)
            values = [filled(there.shape, there.dtype) if value is None else value for value in values]
            # One init scale is the usual case and its probe kernels may be large: no copy.
            joined = values[0][None] if len(values) == 1 else np.stack(values)
            arrays[name] = LabelledArray(("init_scale", *array.dims), joined, array.attributes)
    return LabelledArrays(arrays, {"row": spec.row.name, "spec": spec.canonical_json()})


def _at_epochs(part: LabelledArrays, name: str, joined: Mapping[str, LabelledArray]) -> np.ndarray:
    """The values of an array at all epochs of the row."""
    array = part.arrays[name]
    if "epoch" not in array.dims or np.array_equal(part["epoch"], joined["epoch"].values):
        return array.values
    axis, epochs = array.dims.index("epoch"), joined["epoch"].values
    shape = (*array.values.shape[:axis], len(epochs), *array.values.shape[axis + 1 :])
    padded = filled(shape, array.values.dtype)
    padded[(slice(None),) * axis + (np.searchsorted(epochs, part["epoch"]),)] = array.values
    return padded
