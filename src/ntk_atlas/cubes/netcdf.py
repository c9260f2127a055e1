"""NetCDF files that are written whole or not at all."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import xarray as xr

from ntk_atlas.study.cells import Row


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Writes compressed NetCDF-4 under a temporary name and renames it.

    Args:
        dataset: attributes must be text or numbers; NetCDF has no other kinds.
        path: the file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    numeric = {name for name, variable in dataset.variables.items() if variable.dtype.kind in "fiu"}
    encoding = {name: {"zlib": True, "complevel": 4} for name in numeric if dataset[name].ndim > 1}
    try:
        dataset.to_netcdf(temporary, engine="netcdf4", encoding=encoding)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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


def read_rows(files: Mapping[Row, Path], *, drop: tuple[str, ...] = ()) -> Iterator[tuple[Row, xr.Dataset]]:
    """Reads the files of rows, one init scale after the other.

    Args:
        files: file of each row.
        drop: variables that are not read.

    Yields:
        A row of one init scale, and its part of the file, without the dimension `init_scale`.
    """
    for row, path in files.items():
        dataset = read_netcdf(path, drop=drop)
        for position, single in enumerate(row.per_init_scale()):
            yield single, dataset.isel(init_scale=position, drop=True)
