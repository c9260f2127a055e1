"""NetCDF files that are written whole or not at all."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import xarray as xr

from ntk_atlas.labelled import LabelledArrays, read_labelled
from ntk_atlas.study.cells import Row
from ntk_atlas.whole_files import whole_file


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Writes compressed NetCDF-4 with checksums under a temporary name and renames it.

    Args:
        dataset: attributes must be text or numbers; NetCDF has no other kinds.
        path: the file; its folder is made.
    """
    numeric = {name for name, variable in dataset.variables.items() if variable.dtype.kind in "fiub"}
    encoding = {name: {"fletcher32": True} for name in numeric if dataset[name].ndim}
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


def read_rows(
    files: Mapping[Row, Path], check: Callable[[Row, Path, Mapping], None], *, drop: tuple[str, ...] = ()
) -> Iterator[tuple[Row, xr.Dataset]]:
    """Reads the files of rows, one init scale after the other.

    There may be thousands: they are read without xarray's lazy loading, which takes longer than the reading.

    Args:
        files: file of each row.
        check: raises if the attributes of a file say that it is not the one of the row.
        drop: variables that are not read.

    Yields:
        A row of one init scale, and its part of the file, without the dimension `init_scale`.
    """
    for row, path in files.items():
        contents = read_labelled(path, drop=drop)
        check(row, path, contents.attributes)
        for position, single in enumerate(row.per_init_scale()):
            yield single, _at_init_scale(contents, position)


def _at_init_scale(contents: LabelledArrays, position: int) -> xr.Dataset:
    """One init scale of a row's file, of which it is the first dimension where it is one at all."""
    arrays = {}
    for name, array in contents.arrays.items():
        if array.dims[:1] == ("init_scale",):
            arrays[name] = (array.dims[1:], array.values[position], dict(array.attributes))
        else:
            arrays[name] = (array.dims, array.values, dict(array.attributes))
    del arrays["init_scale"]
    coordinates = {name: arrays.pop(name) for name, (dims, *_) in [*arrays.items()] if dims == (name,)}
    return xr.Dataset(arrays, coordinates)
