"""Named arrays with named dimensions, and their NetCDF files, without the second it takes a job to import xarray.

Heavy jobs write and read their files with these two functions; `xarray.open_dataset` opens the same files.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from ntk_atlas.arrays.whole_files import whole_file

if TYPE_CHECKING:
    import netCDF4

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
    """Arrays that belong together; one that is named like its only dimension is a coordinate, the labels along it."""

    arrays: Mapping[str, LabelledArray]
    attributes: Attributes = field(default_factory=dict)

    @classmethod
    def of(cls, variables: Mapping[str, tuple[Sequence[str], object]], **labels: Sequence[object] | np.ndarray) -> Self:
        """Arrays from their values.

        Args:
            variables: dimensions and values by name.
            **labels: the coordinates, by dimension.
        """
        arrays = {dim: ((dim,), list(values)) for dim, values in labels.items()} | dict(variables)
        return cls({name: LabelledArray(tuple(dims), _array(values)) for name, (dims, values) in arrays.items()})

    def __getitem__(self, name: str) -> np.ndarray:
        """The values of an array."""
        return self.arrays[name].values

    @cached_property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates."""
        return tuple(name for name, array in self.arrays.items() if array.dims == (name,))

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Names of all other arrays."""
        return tuple(name for name in self.arrays if name not in self.coordinates)

    def at(self, **labels: object) -> Self:
        """The same arrays with a place: each of `labels` is a new first dimension, of size one, of every variable."""
        new = LabelledArrays.of({}, **{dim: [label] for dim, label in labels.items()}).arrays
        axes = (np.newaxis,) * len(labels)
        placed = {
            name: array
            if name in self.coordinates
            else replace(array, dims=(*labels, *array.dims), values=array.values[axes])
            for name, array in self.arrays.items()
        }
        return replace(self, arrays={**new, **placed})

    def only(self, names: Collection[str]) -> Self:
        """The variables that are named, with the coordinates that they have."""
        dims = {dim for name in self.variables if name in names for dim in self.arrays[name].dims}
        kept = [name for name in self.arrays if name in (dims if name in self.coordinates else names)]
        return replace(self, arrays={name: self.arrays[name] for name in kept})

    def described(self, attributes: Mapping[str, Attributes]) -> Self:
        """The same arrays, those that are named with these attributes instead of their own."""
        arrays = self.arrays.items()
        return replace(
            self, arrays={name: replace(a, attributes=attributes.get(name, a.attributes)) for name, a in arrays}
        )

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same arrays, those that are in `names` under the name there."""
        return replace(self, arrays={names.get(name, name): array for name, array in self.arrays.items()})

    def with_attributes(self, **attributes: str) -> Self:
        """The same arrays with more attributes."""
        return replace(self, attributes={**self.attributes, **attributes})


def _array(values: object) -> np.ndarray:
    array = np.asarray(values)
    return array.astype(object) if array.dtype.kind == "U" else array


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
        drop: arrays that are left out.

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


def _write(file: "netCDF4.Dataset", name: str, array: LabelledArray) -> None:
    values = np.asarray(array.values)
    for dim, size in zip(array.dims, values.shape, strict=True):
        if dim not in file.dimensions:
            file.createDimension(dim, size)
    text = values.dtype.kind in "OU"
    # Readers are told of flipped bits; only what has chunks can have checksums.
    in_chunks = not text and values.ndim > 0
    variable = file.createVariable(
        name,
        str if text else values.dtype,
        array.dims,
        fletcher32=in_chunks,
        zlib=in_chunks and values.ndim > 1,
        complevel=4,
    )
    variable.setncatts(dict(array.attributes))
    variable[...] = values.astype(object) if text else values
