"""User files: what they give, and the message for everything that can be wrong with them."""

import logging
import pathlib
import pickle
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from ntk_atlas.config.dataset import FileSettings
from ntk_atlas.datasets import DataError, inspect_dataset, make_draw, read_dataset
from ntk_atlas.datasets.user_file import read_array

N = 30
X = np.random.default_rng(0).standard_normal((N, 4))
LABELS = np.arange(N) % 3
SPLIT = np.repeat([0, 1, 2], 10)


def write(folder, suffix=".npz", **arrays):
    """Writes arrays to a file of that suffix, and returns its path as text."""
    path = folder / f"mine{suffix}"
    if suffix == ".npz":
        np.savez(path, **arrays)
        return str(path)
    with netCDF4.Dataset(path, "w") as file:
        for name, values in arrays.items():
            values = np.asarray(values)
            dims = [f"{name}_{axis}" for axis in range(values.ndim)]
            for dim, size in zip(dims, values.shape, strict=True):
                file.createDimension(dim, size)
            file.createVariable(name, values.dtype, dims)[...] = values
    return str(path)


def mine(path, **keys):
    return FileSettings(path=path, **{"n_validation": 5, "n_test": 6, **keys})


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_classes(tmp_path, suffix):
    settings = mine(write(tmp_path, suffix, X=X, y=10 * LABELS))
    dataset = read_dataset(settings)
    np.testing.assert_array_equal(dataset.x, X)
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert (dataset.name, dataset.class_names) == ("mine", ("0", "10", "20"))
    size = inspect_dataset(settings)
    assert (size.n_samples, size.n_pool, size.n_test) == (N, N - 11, 6)
    assert (size.input_shape, size.n_outputs, size.task) == ((4,), None, "classes")


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_other_array_names_and_binary_task(tmp_path, suffix):
    path = write(tmp_path, suffix, pixels=X.astype(np.float32), kind=LABELS.astype(float)[:, None])
    settings = mine(path, x="pixels", y="kind", task="binary", positive_classes=(0, 2))
    dataset = read_dataset(settings)
    assert dataset.x.dtype == np.float64
    np.testing.assert_array_equal(dataset.y[:, 0], np.where(LABELS == 1, -1.0, 1.0))
    assert inspect_dataset(settings).n_outputs == dataset.n_outputs == 1


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_regression_with_several_outputs(tmp_path, suffix):
    y = X[:, :2] * [3.0, 0.1] + 7.0
    settings = mine(write(tmp_path, suffix, X=X, y=y), task="regression")
    dataset = read_dataset(settings)
    np.testing.assert_allclose(dataset.y, (y - y.mean(axis=0)) / y.std(axis=0), atol=1e-12)
    assert dataset.labels is None
    assert inspect_dataset(settings).n_outputs == 2
    draw = make_draw(dataset, settings, 0)
    np.testing.assert_allclose(draw.y_pool.std(axis=0), 1.0, rtol=1e-12)


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_images_keep_their_shape(tmp_path, suffix):
    images = np.random.default_rng(1).integers(0, 256, (N, 3, 5, 4), dtype=np.uint8)
    settings = mine(write(tmp_path, suffix, X=images, y=LABELS))
    dataset = read_dataset(settings)
    np.testing.assert_array_equal(dataset.x, images)
    assert inspect_dataset(settings).input_shape == dataset.input_shape == (3, 5, 4)
    draw = make_draw(dataset, settings, 0)
    assert draw.x_test.shape == (6, 3, 5, 4)
    np.testing.assert_allclose((draw.x_test**2).sum(axis=(1, 2, 3)), 60.0, rtol=1e-12)


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_own_split(tmp_path, suffix):
    settings = mine(write(tmp_path, suffix, X=X, y=LABELS, part=SPLIT), split="part", n_test=400, normalization="none")
    size = inspect_dataset(settings)
    assert (size.n_pool, size.n_test) == (10, 10)
    draw = make_draw(read_dataset(settings), settings, 0)
    for x, value in ((draw.x_pool, 0), (draw.x_validation, 1), (draw.x_test, 2)):
        assert {row.tobytes() for row in x} == {row.tobytes() for row in X[SPLIT == value]}


def test_one_feature_may_come_without_an_axis(tmp_path):
    settings = mine(write(tmp_path, X=X[:, 0], y=X[:, 1]), task="regression")
    assert read_dataset(settings).x.shape == (N, 1)
    assert inspect_dataset(settings).input_shape == (1,)


def test_compressed_and_fortran_ordered_arrays(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, X=np.asfortranarray(X), y=LABELS)
    dataset = read_dataset(mine(str(path)))
    np.testing.assert_array_equal(dataset.x, X)
    assert dataset.x.flags.c_contiguous


def test_repeated_samples_are_reported(tmp_path, caplog):
    repeated = X.copy()
    repeated[[4, 9]] = repeated[2]
    with caplog.at_level(logging.WARNING):
        read_dataset(mine(write(tmp_path, X=repeated, y=LABELS)))
    assert "array 'X'" in caplog.text and "2 of 30 samples repeat another one" in caplog.text
    caplog.clear()
    read_dataset(mine(write(tmp_path, X=X, y=LABELS)))
    assert not caplog.records


def changed(values, index, value):
    values = np.array(values, dtype=float)
    values[index] = value
    return values


HEADER_PROBLEMS = {
    "missing array": (
        {"X": X, "target": LABELS},
        {},
        r"no array 'y' \(dataset.y\); it holds X \(30, 4\), target",
    ),
    "missing split": ({"X": X, "y": LABELS}, {"split": "s"}, r"no array 's' \(dataset.split\); it holds X"),
    "lengths": ({"X": X, "y": LABELS[:-1]}, {}, r"'X' of .* has 30 samples, but array 'y' of .* has 29"),
    "split length": (
        {"X": X, "y": LABELS, "s": SPLIT[1:]},
        {"split": "s"},
        r"'X' .* has 30 samples, but array 's' .*\(dataset.split\) has 29",
    ),
    "complex": ({"X": X + 1j, "y": LABELS}, {}, r"'X' of .* has dtype complex128, which is not numeric"),
    "text": ({"X": X, "y": LABELS.astype(str)}, {}, r"'y' of .* has dtype <U21, .*return_inverse=True"),
    "empty": ({"X": X[:0], "y": LABELS[:0]}, {}, r"'X' of .* is empty, shape \(0, 4\)"),
    "no features": ({"X": X[:, :0], "y": LABELS}, {}, r"'X' of .* is empty, shape \(30, 0\)"),
    "scalar": ({"X": X, "y": np.array(3)}, {}, r"'y' of .* is a single number"),
    "one-hot": ({"X": X, "y": np.eye(3)[LABELS]}, {}, r"'y' of .* has shape \(30, 3\), .*argmax\(axis=1\)"),
    "deep targets": (
        {"X": X, "y": X.reshape(N, 2, 2)},
        {"task": "regression"},
        r"'y' of .* has shape \(30, 2, 2\): targets are \(n_samples,\)",
    ),
    "split shape": (
        {"X": X, "y": LABELS, "s": SPLIT[:, None]},
        {"split": "s"},
        r"'s' of .* has shape \(30, 1\): it needs one number a sample",
    ),
    "split values": (
        {"X": X, "y": LABELS, "s": SPLIT + 1},
        {"split": "s"},
        r"'s' of .* holds the values \[1, 2, 3\]: use only 0",
    ),
    "no test part": (
        {"X": X, "y": LABELS, "s": SPLIT % 2},
        {"split": "s"},
        r"'s' of .* marks no sample as test \(value 2\)",
    ),
    "too few": (
        {"X": X, "y": LABELS},
        {"n_test": 25},
        r"mine.npz \(dataset.path\) has 30 samples, too few for 5 validation samples, 25 test .* lower",
    ),
}


@pytest.mark.parametrize("read", [inspect_dataset, read_dataset])
@pytest.mark.parametrize("problem", HEADER_PROBLEMS)
def test_problems_seen_without_reading_the_data(tmp_path, read, problem):
    arrays, keys, message = HEADER_PROBLEMS[problem]
    with pytest.raises(DataError, match=message):
        read(mine(write(tmp_path, **arrays), **keys))


VALUE_PROBLEMS = {
    "nan": (
        {"X": changed(changed(X, (7, 2), np.nan), (9, 1), np.inf), "y": LABELS},
        {},
        r"'X' of .*mine.npz \(dataset.x\) has 2 values that are not finite .* first at index \[7, 2\]",
    ),
    "nan in y": ({"X": X, "y": changed(LABELS, 4, np.nan)}, {}, r"'y' .* 1 values .* first at index \[4\]"),
    "one class": ({"X": X, "y": np.ones(N, int)}, {}, r"'y' of .* holds one class only \(\[1\]\)"),
    "fractions": (
        {"X": X, "y": changed(LABELS, slice(3, 5), 0.5)},
        {},
        r"'y' of .* has 2 class labels that are not integers, .* index \[3\]: 0.5; .*task: regression",
    ),
    "no positive": (
        {"X": X, "y": LABELS},
        {"task": "binary", "positive_classes": (5,)},
        r"positive_classes = \[5\] selects no class of array 'y' .* whose classes are \[0, 1, 2\]",
    ),
    "all positive": (
        {"X": X, "y": LABELS},
        {"task": "binary", "positive_classes": (0, 1, 2)},
        r"selects every class of array 'y'",
    ),
    "constant": (
        {"X": X, "y": np.column_stack([X[:, 0], np.full(N, 2.5)])},
        {"task": "regression"},
        r"'y' of .*: output 1 is constant \(2.5\)",
    ),
}


@pytest.mark.parametrize("problem", VALUE_PROBLEMS)
def test_problems_of_the_values(tmp_path, problem):
    arrays, keys, message = VALUE_PROBLEMS[problem]
    with pytest.raises(DataError, match=message):
        read_dataset(mine(write(tmp_path, **arrays), **keys))


class Bomb:
    """Records when it is unpickled."""

    exploded = False

    def __reduce__(self):
        return setattr, (Bomb, "exploded", True)


@pytest.mark.parametrize("read", [inspect_dataset, read_dataset])
def test_objects_are_refused_and_never_unpickled(tmp_path, read):
    path = write(tmp_path, X=np.array([Bomb()] * N, dtype=object), y=LABELS)
    with pytest.raises(DataError, match=r"'X' of .* has dtype object, which is never loaded"):
        read(mine(path))
    with pytest.raises(DataError, match="allow_pickle=False"):
        read_array(Path(path), "X", mine(path))
    assert not Bomb.exploded
    pickle.loads(pickle.dumps(Bomb()))
    assert Bomb.exploded  # it would have been seen
    Bomb.exploded = False


@pytest.mark.parametrize("read", [inspect_dataset, read_dataset])
def test_missing_and_unreadable_files(tmp_path, read):
    with pytest.raises(DataError, match=r"no file .*absent.npz \(dataset.path, relative .*correct the path"):
        read(mine(str(tmp_path / "absent.npz")))
    for suffix in (".npz", ".nc"):
        (tmp_path / f"broken{suffix}").write_bytes(b"not arrays")
        with pytest.raises(DataError, match=rf"broken{suffix} \(dataset.path\) cannot be read as an? .* write it"):
            read(mine(str(tmp_path / f"broken{suffix}")))
    (tmp_path / "table.txt").write_text("1,2\n")
    with pytest.raises(DataError, match=r"table.txt .* suffix '.txt': save the arrays with np.savez as .npz"):
        read(mine(str(tmp_path / "table.txt")))
    np.savez(tmp_path / "none.npz")
    with pytest.raises(DataError, match=r"no array 'X' .* it holds no arrays"):
        read(mine(str(tmp_path / "none.npz")))


def test_damage_inside_the_archive_is_named(tmp_path):
    path = write(tmp_path, X=X, y=LABELS)
    with pathlib.Path(path).open("r+b") as file:
        file.seek(300)
        file.write(b"\xff" * 64)
    with pytest.raises(DataError, match=r"mine.npz \(dataset.path\) cannot be read as an .npz .*CRC"):
        read_dataset(mine(path))


def test_masked_netcdf_values_count_as_missing(tmp_path):
    path = tmp_path / "mine.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("sample", N)
        file.createDimension("feature", 4)
        file.createVariable("X", "f8", ("sample", "feature"))[...] = np.ma.masked_greater(X, X.max() - 1e-9)
        file.createVariable("y", "i4", ("sample",))[...] = LABELS
    with pytest.raises(DataError, match=r"'X' .* has 1 values that are not finite"):
        read_dataset(mine(str(path)))


def test_netcdf_bytes_are_missing_only_by_the_users_own_fill_value(tmp_path):
    images = np.full((N, 4), 255, np.uint8)
    images[:, 0] = np.arange(N)
    for fill_value in (None, 255):
        path = tmp_path / f"fill_{fill_value}.nc"
        with netCDF4.Dataset(path, "w") as file:
            file.createDimension("sample", N)
            file.createDimension("feature", 4)
            file.createVariable("X", "u1", ("sample", "feature"), fill_value=fill_value)[...] = images
            file.createVariable("y", "i1", ("sample",))[...] = LABELS
    np.testing.assert_array_equal(read_dataset(mine(str(tmp_path / "fill_None.nc"))).x, images)
    with pytest.raises(DataError, match=r"'X' .* has 90 values that are not finite .* first at index \[0, 1\]"):
        read_dataset(mine(str(tmp_path / "fill_255.nc")))


def test_netcdf_text_labels_are_refused(tmp_path):
    path = tmp_path / "mine.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("sample", 2)
        file.createVariable("X", "f8", ("sample",))[...] = [1.0, 2.0]
        file.createVariable("y", str, ("sample",))[...] = np.array(["cat", "dog"], dtype=object)
    with pytest.raises(DataError, match=r"'y' .* has dtype object"):
        inspect_dataset(mine(str(path)))
