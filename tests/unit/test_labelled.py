"""Files written without xarray are files that xarray reads, value by value."""

import numpy as np
import pytest
import xarray as xr

from ntk_atlas.arrays import LabelledArray, LabelledArrays, read_labelled, write_labelled
from ntk_atlas.cubes import read_netcdf, write_netcdf


@pytest.fixture
def contents():
    values = np.arange(6.0).reshape(2, 3)
    values[0, 1] = np.nan
    return LabelledArrays(
        {
            "n": LabelledArray(("n",), np.array([8, 16, 32])),
            "kind": LabelledArray(("kind",), np.array(["zero", "tuned"], dtype=object)),
            "error": LabelledArray(("kind", "n"), values, {"long_name": "an error", "units": "1"}),
            "flag": LabelledArray(("n",), np.array([-1, 0, 255], dtype=np.int16)),
            "number": LabelledArray((), np.float64(2.5)),
        },
        {"spec": '{"ä": 1}'},
    )


def test_xarray_reads_what_was_written(contents, tmp_path):
    write_labelled(contents, tmp_path / "deep" / "file.nc")
    with xr.open_dataset(tmp_path / "deep" / "file.nc") as dataset:
        assert dataset.attrs == {"spec": '{"ä": 1}'}
        assert dataset["kind"].values.tolist() == ["zero", "tuned"]
        np.testing.assert_array_equal(dataset["error"].sel(kind="zero").values, [0.0, np.nan, 2.0])
        assert dataset["error"].attrs == {"long_name": "an error", "units": "1"}
        assert dataset["flag"].values.tolist() == [-1, 0, 255]
        assert float(dataset["number"]) == 2.5


def test_reading_gives_back_what_was_written(contents, tmp_path):
    write_labelled(contents, tmp_path / "file.nc")
    back = read_labelled(tmp_path / "file.nc")
    assert dict(back.attributes) == dict(contents.attributes)
    for name, array in contents.arrays.items():
        assert back.arrays[name].dims == array.dims
        np.testing.assert_array_equal(back[name], array.values)
        assert dict(back.arrays[name].attributes) == dict(array.attributes)
    assert list(read_labelled(tmp_path / "file.nc", ["flag"]).arrays) == ["flag"]


def test_equal_contents_give_equal_files_and_nothing_is_left_over(contents, tmp_path):
    for name in ("a.nc", "b.nc"):
        write_labelled(contents, tmp_path / name)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.nc", "b.nc"]


@pytest.mark.parametrize("write", ["labelled", "xarray"])
def test_a_flipped_bit_in_any_numbers_is_no_number(write, tmp_path):
    values = np.random.default_rng(0).normal(size=(100, 200))
    arrays = {
        "line": LabelledArray(("y",), values[0]),
        "field": LabelledArray(("x", "y"), values),
        "codes": LabelledArray(("z",), np.arange(30, dtype=np.int8)),
    }
    path = tmp_path / "file.nc"
    if write == "labelled":
        write_labelled(LabelledArrays(arrays), path)
    else:
        write_netcdf(xr.Dataset({name: (array.dims, array.values) for name, array in arrays.items()}), path)
    content = path.read_bytes()
    places = [content.find(values[0].tobytes()), content.find(bytes(range(30))), len(content) // 2]
    for at in places:
        assert at > 0
        flipped = bytearray(content)
        flipped[at + 17] ^= 16
        path.write_bytes(flipped)
        with pytest.raises((OSError, RuntimeError)):
            read_labelled(path)
        with pytest.raises((OSError, RuntimeError)):
            read_netcdf(path)


def test_sizes_that_contradict_each_other_are_refused(tmp_path):
    wrong = LabelledArrays({"a": LabelledArray(("n",), np.zeros(2)), "b": LabelledArray(("n",), np.zeros(3))})
    with pytest.raises((IndexError, ValueError)):
        write_labelled(wrong, tmp_path / "file.nc")
    assert list(tmp_path.iterdir()) == []
