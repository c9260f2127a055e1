"""Opening a cube, whichever version wrote it."""

from pathlib import Path

import numpy as np
import xarray as xr

from ntk_atlas.cubes.dictionary.cube import CUBE
from ntk_atlas.cubes.dictionary.variable import SCHEMA_VERSION

_UNKNOWN_SHARES = (
    "This cube does not say what its draws have in common: intervals are for further draws of its data set, and may be "
    "too short for new data."
)


class CubeError(ValueError):
    """A file is no cube that can be read, and what to do about it."""


def open_cube(path: str | Path) -> xr.Dataset:
    """Opens the cube of an experiment, as `docs/cube.md` describes it.

    Args:
        path: a `cube.nc`.

    Returns:
        The cube; values are read when they are asked for. A cube from before `schema_version` is translated: attributes
        of variables could have other words, ξ₁ could be missing and `n_cells` count networks; where the cube does not
        say what draws have in common, its `notices` say so.

    Raises:
        FileNotFoundError: if there is no file.
        CubeError: if the file cannot be read, is no cube, or is of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: `make run` writes results/<experiment>/{CUBE.name}")
    try:
        cube = xr.open_dataset(path, engine="netcdf4")
    except (OSError, ValueError) as error:
        raise CubeError(
            f"{path} is no NetCDF file, or a damaged one ({error}): copy it anew, or remove it and run its study again"
        ) from error
    if cube.attrs.get("title") != CUBE.title:
        title = cube.attrs.get("title", "a file without a title")
        cube.close()
        raise CubeError(
            f"{path} is no cube but {title!r}: the cube of an experiment is its {CUBE.name}; "
            "other NetCDF files are opened by xarray.open_dataset"
        )
    version = int(cube.attrs.get("schema_version", 0))
    if version > SCHEMA_VERSION:
        written = str(cube.attrs.get("versions", "")).split(", ")
        newer = next((name for name in written if name.startswith("ntk-atlas ")), "a newer ntk-atlas")
        cube.close()
        raise CubeError(
            f"{path} was written by {newer} and has schema version {version}; this version reads cubes up to "
            f"{SCHEMA_VERSION}: update ntk-atlas, or open the file by xarray.open_dataset and read its attributes"
        )
    return cube if version == SCHEMA_VERSION else _from_before_versions(cube)


def _from_before_versions(cube: xr.Dataset) -> xr.Dataset:
    """A cube without `schema_version` as one of version 1; names and values of what it has were the same."""
    if "xi_1" not in cube.coords:
        with np.errstate(divide="ignore"):
            cube = cube.assign_coords(xi_1=1.0 / abs(np.log(cube["chi_1"])))
    for name, row in CUBE.attributes_of(map(str, cube.variables)).items():
        cube[name].attrs |= row
    if "n_networks" not in cube.attrs:
        cells = [cube.sizes[dim] for dim in ("depth", "width", "init_scale", "n_train")]
        cube.attrs |= {"n_cells": int(np.prod(cells)), "n_networks": cube["status"].size}
    if "shared_test" not in cube and cube.sizes["draw"] > 1:
        said = str(cube.attrs.get("notices", ""))
        cube.attrs["notices"] = "\n".join(filter(None, (said, _UNKNOWN_SHARES)))
    cube.attrs |= CUBE.head
    return cube
