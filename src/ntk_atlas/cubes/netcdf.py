"""NetCDF files that are written whole or not at all."""

import os
from pathlib import Path

import xarray as xr


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
