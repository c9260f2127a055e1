"""Cubes of every version are opened as one of this version, or a message says what to do."""

import numpy as np
import pytest
import xarray as xr
from dictionary_checks import departures
from synthetic_cube import synthetic_cube

from ntk_atlas import open_cube
from ntk_atlas.cubes import CUBE, FUNCTIONS, SCHEMA_VERSION, CubeError, described, write_netcdf


@pytest.fixture
def cube():
    whole = synthetic_cube(np.random.default_rng(0), depth=(1, 2), width=(8, 16), n_train=(8, 16), draws=2)
    whole = whole.assign(status=xr.zeros_like(whole["test_mse_network"], dtype=np.int8))
    whole = whole[["status", "test_mse_network"]]
    whole["shared_test"] = 0.0
    counts = {"n_cells": 24, "n_networks": whole["status"].size, "config": "{}"}
    return described(whole, CUBE, counts)


def written(cube, folder):
    write_netcdf(cube, folder / "cube.nc")
    return folder / "cube.nc"


def test_a_cube_of_this_version_is_opened_as_it_is(cube, tmp_path):
    with open_cube(written(cube, tmp_path)) as found, xr.open_dataset(tmp_path / "cube.nc") as plain:
        xr.testing.assert_identical(found, plain)
        assert found.attrs["schema_version"] == SCHEMA_VERSION


def test_a_cube_from_before_versions_is_translated(cube, tmp_path):
    old = cube.drop_vars(("xi_1", "shared_test"))
    for name in old.variables:
        old[name].attrs = {"long_name": "other words", "probe": "kept"} if name == "status" else {}
    old.attrs = {"title": CUBE.title, "config": "{}", "n_cells": old["status"].size, "notices": "a notice"}
    with open_cube(written(old, tmp_path)) as found:
        assert departures(found, CUBE) == []
        xr.testing.assert_equal(found["test_mse_network"], cube["test_mse_network"])
        np.testing.assert_allclose(found["xi_1"], cube["xi_1"])
        assert np.isinf(found["xi_1"].sel(init_scale=2.0)) and found["status"].attrs["probe"] == "kept"
        assert (found.attrs["n_cells"], found.attrs["n_networks"]) == (24, cube["status"].size)
        first, second = found.attrs["notices"].splitlines()
        assert first == "a notice" and "what its draws have in common" in second


def test_a_cube_of_a_newer_version_names_the_versions(cube, tmp_path):
    newer = cube.assign_attrs(schema_version=SCHEMA_VERSION + 1, versions="ntk-atlas 9.1, torch 2")
    with pytest.raises(CubeError, match=rf"by ntk-atlas 9\.1 and has schema version {SCHEMA_VERSION + 1}.*update"):
        open_cube(written(newer, tmp_path))


def test_what_is_no_cube_says_what_it_is(cube, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*cube\.nc: `make run` writes"):
        open_cube(tmp_path / "cube.nc")
    with pytest.raises(CubeError, match=r"no cube but 'NTK Atlas: predictions.*xarray\.open_dataset"):
        open_cube(written(described(cube, FUNCTIONS, {}), tmp_path))
    with pytest.raises(CubeError, match="no cube but 'a file without a title'"):
        open_cube(written(cube.drop_attrs(deep=False), tmp_path))


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"depth,width\n"])
def test_a_damaged_file_is_named(cube, tmp_path, damage):
    path = written(cube, tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CubeError, match=r"cube\.nc is no NetCDF file, or a damaged one .*copy it anew"):
        open_cube(path)
