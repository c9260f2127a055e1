"""Named arrays with named dimensions in NetCDF files, without the second it takes a job to import xarray.

Heavy jobs write and read their files with these two functions; `xarray.open_dataset` opens the same files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np

from ntk_atlas.whole_files import whole_file

Attributes = Mapping[str, str | int | float | np.ndarray]


@dataclass(frozen=True, eq=False)
class LabelledArray:
    """An array, the names of its dimensions, and what is said of it.

    Attributes:
        dims: one name an axis.
        values: numbers, or text as an object array.
        attributes: e.g. `long_name`, `units`.
    """

    dims: tuple[str, ...]
    values: np.ndarray
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LabelledArrays:
    """The contents of one file; an array named like its only dimension is a coordinate."""

    arrays: Mapping[str, LabelledArray]
    attributes: Attributes = field(default_factory=dict)

    def __getitem__(self, name: str) -> np.ndarray:
        """The values of an array."""
        return self.arrays[name].values

    def with_attributes(self, **attributes: str) -> Self:
        """The same arrays with more attributes."""
        return replace(self, attributes={**self.attributes, **attributes})


def filled(shape: Sequence[int], dtype: np.dtype | str) -> np.ndarray:
    """An array of what stands for "not there": NaN for floats, −1 for integers."""
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else -1, dtype=dtype)


def write_labelled(contents: LabelledArrays, path: str | Path) -> None:
    """Writes compressed NetCDF-4 with checksums, whole or not at all: under a temporary name first, then renamed.

    Args:
        contents: what to write.
        path: the file; its folder is made.
    """
    import netCDF4

    with whole_file(Path(path)) as temporary, netCDF4.Dataset(temporary, "w") as file:
        file.setncatts(dict(contents.attributes))
        for name, array in contents.arrays.items():
            _write(file, name, array)


def read_labelled(path: str | Path, names: Sequence[str] | None = None, *, drop: Sequence[str] = ()) -> LabelledArrays:
    """Reads a file into memory and closes it.

    Args:
        path: the file.
        names: arrays to read; None for all.
        drop: arrays that are not read all the same.

    Returns:
        Its contents, values as they were written.
    """
    import netCDF4

    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        arrays = {
            name: LabelledArray(variable.dimensions, variable[...], variable.__dict__)
            for name, variable in file.variables.items()
            if (names is None or name in names) and name not in drop
        }
        return LabelledArrays(arrays, file.__dict__)


def _write(file, name: str, array: LabelledArray) -> None:
    values = np.asarray(array.values)
    for dim, size in zip(array.dims, values.shape, strict=True):
        if dim not in file.dimensions:
            file.createDimension(dim, size)
    text = values.dtype.kind in "OU"
    # Readers are told of flipped bits; only what has chunks can have checksums.
    options = {} if text or not values.ndim else {"fletcher32": True}
    if options and values.ndim > 1:
        options |= {"zlib": True, "complevel": 4}
    variable = file.createVariable(name, str if text else values.dtype, array.dims, **options)
    variable.setncatts(dict(array.attributes))
    variable[...] = values.astype(object) if text else values
