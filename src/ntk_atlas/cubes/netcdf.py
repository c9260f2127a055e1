"""Labelled arrays as xarray has them, and its NetCDF files, written whole or not at all."""

from collections.abc import Hashable, Mapping
from pathlib import Path

import xarray as xr

from ntk_atlas.arrays import LabelledArray, LabelledArrays, whole_file
from ntk_atlas.cubes.dictionary.variable import File


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Writes compressed NetCDF-4 with checksums under a temporary name and renames it.

    Args:
        dataset: attributes must be text or numbers; NetCDF has no other kinds.
        path: the file; its folder is made.
    """
    numeric = {name for name, variable in dataset.variables.items() if variable.dtype.kind in "fiub"}
    encoding: dict[Hashable, dict[str, int]] = {name: {"fletcher32": True} for name in numeric if dataset[name].ndim}
    encoding |= {name: {"fletcher32": True, "zlib": True, "complevel": 4} for name in numeric if dataset[name].ndim > 1}
    with whole_file(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", encoding=encoding)


def read_netcdf(path: Path, *, drop: tuple[str, ...] = ()) -> xr.Dataset:
    """Reads a file into memory and closes it.

    Args:
        path: the file.
        drop: variables that are not read.

    Returns:
        The dataset, with integer codes left as they were written.
    """
    with xr.open_dataset(path, engine="netcdf4", drop_variables=drop) as dataset:
        return dataset.load()


def described(dataset: xr.Dataset, file: File, attributes: Mapping[str, object]) -> xr.Dataset:
    """The dataset with what the dictionary says of its kind of file and of each variable in it.

    Args:
        dataset: the contents of the file; its attributes are set in place.
        file: the kind of file; variables that it has no row for keep their attributes.
        attributes: of the file, besides those of its kind.
    """
    for name, row in file.attributes_of(map(str, dataset.variables)).items():
        dataset[name].attrs = row
    dataset.attrs = file.head | dict(attributes)
    return dataset


def to_xarray(contents: LabelledArrays) -> xr.Dataset:
    """The same arrays and attributes for xarray; values are not copied."""
    arrays = {name: (array.dims, array.values, dict(array.attributes)) for name, array in contents.arrays.items()}
    coordinates = {name: arrays.pop(name) for name in contents.coordinates}
    return xr.Dataset(arrays, coordinates, dict(contents.attributes))


def from_xarray(dataset: xr.Dataset) -> LabelledArrays:
    """The same arrays without xarray; attributes are left out."""
    return LabelledArrays(
        {
            str(name): LabelledArray(tuple(map(str, array.dims)), array.values)
            for name, array in dataset.variables.items()
        }
    )
