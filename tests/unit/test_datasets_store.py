"""Prepared data sets: bit-exact round trip, self-describing, digest, atomic writing."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from ntk_atlas.config import section_of
from ntk_atlas.datasets import DataError, Dataset, dataset_digest, load_dataset, read_dataset, save_dataset

DiabetesSettings = section_of("diabetes")
DigitsSettings = section_of("digits")
TeacherSettings = section_of("teacher")


def images():
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 2
    return Dataset(
        "images", rng.random((12, 3, 5, 4)), 2.0 * labels[:, None] - 1.0, labels, np.repeat([0, 1, 2], 4),
        "plus_minus_one", ("cat, \"big\"", "dög"),
    )  # fmt: skip


SOURCES = {
    "digits": lambda: read_dataset(DigitsSettings()),
    "diabetes": lambda: read_dataset(DiabetesSettings()),
    "teacher": lambda: read_dataset(TeacherSettings(noise=0.1)),
    "images": images,
}


@pytest.mark.parametrize("source", SOURCES)
def test_round_trip(tmp_path, source):
    dataset = SOURCES[source]()
    path = tmp_path / "made" / "dataset.nc"
    save_dataset(dataset, path)
    loaded = load_dataset(path)
    for name in ("x", "y", "labels", "split"):
        before, after = getattr(dataset, name), getattr(loaded, name)
        assert (before is None) == (after is None)
        if before is not None:
            np.testing.assert_array_equal(after, before)
    for name in ("name", "target_encoding", "class_names"):
        assert getattr(loaded, name) == getattr(dataset, name)
    assert dataset_digest(loaded) == dataset_digest(dataset)
    assert [entry.name for entry in path.parent.iterdir()] == ["dataset.nc"]


@pytest.mark.parametrize("source", SOURCES)
def test_file_describes_itself(tmp_path, source):
    dataset = SOURCES[source]()
    save_dataset(dataset, tmp_path / "dataset.nc")
    with xr.open_dataset(tmp_path / "dataset.nc") as stored:
        assert stored.attrs["digest"] == dataset_digest(dataset)
        assert stored.attrs["target_encoding"] == dataset.target_encoding
        assert {"x", "y"} <= set(stored.data_vars)
        for variable in stored.data_vars.values():
            assert variable.attrs["long_name"] and variable.attrs["units"] == "1"
            assert variable.dims[0] == "sample"


def test_digest_is_of_the_contents_alone():
    dataset = images()
    digest = dataset_digest(dataset)
    assert len(digest) == 64
    assert dataset_digest(images()) == digest
    assert dataset_digest(replace(dataset, name="other")) == digest
    assert dataset_digest(replace(dataset, x=np.asfortranarray(dataset.x))) == digest
    assert dataset_digest(replace(dataset, x=dataset.x.astype(">f8"))) == digest
    x, y = dataset.x.copy(), dataset.y.copy()
    x[3, 2, 1, 0], y[5, 0] = np.nextafter(x[3, 2, 1, 0], 2), 0.5
    changes = [
        {"x": x}, {"y": y}, {"labels": 1 - dataset.labels}, {"labels": None}, {"split": None},
        {"split": dataset.split[::-1]}, {"target_encoding": "standardized"}, {"class_names": ("a", "b")},
        {"x": dataset.x.reshape(12, 60)},
    ]  # fmt: skip
    digests = {dataset_digest(replace(dataset, **change)) for change in changes}
    assert len(digests) == len(changes) and digest not in digests


def test_changed_file_is_refused(tmp_path):
    path = tmp_path / "dataset.nc"
    save_dataset(images(), path)
    with xr.open_dataset(path) as stored:
        changed = stored.load()
    changed["x"][0, 0, 0, 0] += 1e-12
    changed.to_netcdf(path)
    with pytest.raises(DataError, match=r"dataset.nc does not match the digest .* prepare the data again"):
        load_dataset(path)


def test_missing_or_foreign_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no prepared data set .*absent.nc: run the rule"):
        load_dataset(tmp_path / "absent.nc")
    (tmp_path / "text.nc").write_text("no data")
    with pytest.raises(DataError, match=r"text.nc cannot be read as a prepared data set"):
        load_dataset(tmp_path / "text.nc")
    xr.Dataset({"a": ("n", [1.0])}).to_netcdf(tmp_path / "foreign.nc")
    with pytest.raises(DataError, match=r"foreign.nc cannot be read as a prepared data set"):
        load_dataset(tmp_path / "foreign.nc")


def test_interrupted_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "dataset.nc"
    save_dataset(images(), path)
    before = path.read_bytes()

    def half_written(file, name, array):
        file.createDimension("half", 3)
        raise OSError("disk full")

    monkeypatch.setattr("ntk_atlas.arrays._write", half_written)
    with pytest.raises(OSError, match="disk full"):
        save_dataset(read_dataset(DiabetesSettings()), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["dataset.nc"]
