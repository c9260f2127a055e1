"""User files: what they give, and the message for everything that can be wrong with them."""

import os
import pathlib
import pickle
import types
import zipfile
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from ntk_atlas.config import section_of
from ntk_atlas.datasets import DataError, inspect_dataset, load_dataset, make_draw, notices, read_dataset, save_dataset
from ntk_atlas.datasets.sources.file import read_array
from ntk_atlas.jobs import JOBS, Slice
from ntk_atlas.jobs.parts import load_prepared, run_job

CaliforniaSettings = section_of("california")
FileSettings = section_of("file")
MnistSettings = section_of("mnist")

REPOSITORY = Path(__file__).parents[2]
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
    assert (dataset.name, dataset.class_names) == ("mine", (0, 10, 20))
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


def test_repeated_samples_are_said(tmp_path):
    repeated = X.copy()
    repeated[[4, 9]] = repeated[2]
    settings = mine(write(tmp_path, X=repeated, y=LABELS))
    (said,) = notices(read_dataset(settings), settings)
    assert said.startswith(settings.path) and "2 of 30 samples repeat another one" in said
    assert "and 1 repeated samples have different targets" in said  # 2 and 4 have classes 2 and 1
    settings = mine(write(tmp_path, X=X, y=LABELS))
    assert notices(read_dataset(settings), settings) == []


def test_prepared_data_carry_what_is_said_of_them(tmp_path):
    repeated = X.copy()
    repeated[4] = repeated[2]
    settings = mine(write(tmp_path, X=repeated, y=LABELS))
    part = Slice("prepare_dataset", {"dataset": settings}, found={"shares": 0})
    run_job(JOBS.head("prepare_dataset"), part, {}, tmp_path / "dataset.nc")
    prepared, _ = load_prepared(tmp_path / "dataset.nc", settings)
    assert prepared.attributes["notices"] == "\n".join(notices(read_dataset(settings), settings)) != ""


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
    "text": ({"X": X.astype(str), "y": LABELS}, {}, r"'X' of .* has dtype <U32, which is text: .*return_inverse=True"),
    "text targets": (
        {"X": X, "y": LABELS.astype(str)},
        {"task": "regression"},
        r"'y' of .* has dtype <U21, which is text: .*return_inverse=True",
    ),
    "dates": (
        {"X": np.datetime64("2024-01-01") + np.arange(N), "y": LABELS},
        {},
        r"'X' of .* has dtype datetime64\[D\], which holds dates: save numbers, e.g. \(array - array.min",
    ),
    "spans": ({"X": np.arange(N).astype("m8[s]"), "y": LABELS}, {}, r"'X' of .* which holds time spans: save numbers"),
    "records": ({"X": np.zeros(N, [("a", "f8")]), "y": LABELS}, {}, r"'X' of .* holds records: save their fields"),
    "misspelt": (
        {"X": X, "target": LABELS},
        {"y": "tarqet"},
        r"no array 'tarqet' .*; did you mean 'target'\? it holds",
    ),
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
    "constant to rounding": (
        {"X": X, "y": 1e9 + 1e-7 * (LABELS > 0)},
        {"task": "regression"},
        r"'y' of .*: output 0 is constant to rounding \(1e\+09\), there is nothing to learn",
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
        read_array(Path(path), "X")
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


WORDS = np.array(["dog", "cat", "größe"])[LABELS]


def netcdf_words(path, kind):
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("sample", N)
        file.createDimension("length", 8)
        file.createVariable("X", "f8", ("sample",))[...] = X[:, 0]
        if kind == "strings":
            file.createVariable("y", str, ("sample",))[...] = WORDS.astype(object)
            return
        characters = file.createVariable("y", "S1", ("sample", "length"))
        if kind == "characters with an encoding":
            characters._Encoding = "utf-8"
        characters.set_auto_chartostring(False)
        characters[...] = np.array([list(w.encode().ljust(8, b"\0")) for w in WORDS], np.uint8).view("S1")


@pytest.mark.parametrize("kind", ["strings", "characters", "characters with an encoding", "str", "bytes"])
def test_classes_may_be_words_in_every_format(tmp_path, kind):
    if kind in ("str", "bytes"):
        path = write(tmp_path, X=X[:, 0], y=np.char.encode(WORDS, "utf-8") if kind == "bytes" else WORDS)
    else:
        path = str(tmp_path / "mine.nc")
        netcdf_words(path, kind)
    dataset = read_dataset(mine(path))
    assert dataset.class_names == ("cat", "dog", "größe")
    np.testing.assert_array_equal([dataset.class_names[label] for label in dataset.labels], WORDS)
    save_dataset(dataset, tmp_path / "dataset.nc")
    assert load_dataset(tmp_path / "dataset.nc").class_names == dataset.class_names
    size = inspect_dataset(mine(path))
    assert (size.n_samples, size.input_shape) == (N, (1,))
    for read in (inspect_dataset, read_dataset):
        with pytest.raises(DataError, match=r"'y' of .* \(dataset.y\) has dtype .*, which is text: save numbers"):
            read(mine(path, task="regression"))


NAMES = {
    "whole floats": (LABELS.astype(float), (0, 1, 2)),
    "half floats": (LABELS.astype(np.float16) + 1, (1, 2, 3)),
    "digits as text": (LABELS.astype(str), ("0", "1", "2")),
    "bool": (LABELS > 0, (0, 1)),
    "negative": (LABELS.astype(np.int8) - 1, (-1, 0, 1)),
    "big-endian": (LABELS.astype(">i4"), (0, 1, 2)),
    "beyond 2⁵³": (2**60 + LABELS, (2**60, 2**60 + 1, 2**60 + 2)),
    "beyond 2⁶³": (np.uint64(2**63) + LABELS.astype(np.uint64), (2**63, 2**63 + 1, 2**63 + 2)),
    "minus zero": (np.where(LABELS == 0, -0.0, LABELS.astype(float)), (0, 1, 2)),
}


@pytest.mark.parametrize("kind", NAMES)
def test_class_names_keep_value_and_type(tmp_path, kind):
    labels, names = NAMES[kind]
    dataset = read_dataset(mine(write(tmp_path, X=X, y=labels)))
    assert dataset.class_names == names and [type(n) for n in dataset.class_names] == [type(n) for n in names]
    np.testing.assert_array_equal(np.array([dataset.class_names[label] for label in dataset.labels], object), labels)
    save_dataset(dataset, tmp_path / "dataset.nc")
    loaded = load_dataset(tmp_path / "dataset.nc")
    assert loaded.class_names == names and [type(n) for n in loaded.class_names] == [type(n) for n in names]


NUMBERS = {
    "float16": X.astype(np.float16),
    "big-endian": X.astype(">f8"),
    "longdouble": X.astype(np.longdouble),
    "bool": X > 0,
    "int8": (10 * X).astype(np.int8),
    "large but exact": np.rint(X * 2.0**61).astype(np.int64) & ~0xFFFF,
    "minus zero": np.where(X > 0, X, -0.0),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_of_every_type_are_the_same_in_float64(tmp_path, kind):
    dataset = read_dataset(mine(write(tmp_path, X=NUMBERS[kind], y=LABELS)))
    assert dataset.x.dtype == np.float64 and dataset.x.dtype.isnative
    for found, given in zip(dataset.x.ravel().tolist(), NUMBERS[kind].ravel(), strict=True):
        assert found == given and np.signbit(found) == np.signbit(np.float64(given))


ONE = np.longdouble(1)
LOST = {
    "integers": (2**60 + np.arange(2 * N).reshape(N, 2), {},
        r"'X' .* integers beyond 2⁵³.* index \[0, 1\]: 1152921504606846977"),
    "negative integers": (-(2**60) - np.arange(N), {},
        r"'X' .* integers beyond 2⁵³, .* at index \[1\]: -1152921504606846977"),
    "unsigned": (np.uint64(2**64 - 1) - np.arange(N, dtype=np.uint64), {}, r"'X' .* integers beyond 2⁵³.* index \[0\]"),
    "targets": (X, {"y": 2**60 + np.arange(N), "task": "regression"}, r"'y' of .* has integers beyond 2⁵³"),
    "float labels": (X, {"y": 2.0**63 + 4096.0 * LABELS},
        r"'y' .* class labels beyond 2\^53 as float64, .* \[0\]: 9.2233720368547758e\+18"),
    "float labels, 32 bits": (X, {"y": np.float32(2**24) + 2 * LABELS.astype(np.float32)},
        r"'y' .* class labels beyond 2\^24 as float32"),
    "empty labels": (X, {"y": np.where(LABELS > 0, WORDS, "")},
        r"'y' .* has 10 empty names \(''\), the first at index \[0\]"),
    "nan among words": (X, {"y": np.array([*WORDS[:-1], np.nan])},
        r"'y' .* has 1 empty names \('nan'\), .* index \[29\]"),
    "a class a sample": (X, {"y": np.arange(N)},
        r"'y' .* holds 30 classes, one for each sample .* is the task a regression"),
    "a class a sample, words": (X, {"y": np.arange(N).astype(str)}, r"'y' .* holds 30 classes, one for each sample"),
}  # fmt: skip


if np.finfo(np.longdouble).nmant > 52:  # elsewhere it is float64
    LOST |= {
        "overflow": (
            X * ONE * 10.0**300 * 10.0**300,
            {},
            r"'X' .* is float128, whose values leave the range of float64",
        ),
        "underflow": (X * ONE * 10.0**-300 * 10.0**-300, {}, r"'X' .* is float128, whose values leave the range"),
        "fall together": (1 + np.arange(N) * ONE * 2.0**-63, {}, r"'X' .* is float128, whose values .* fall together"),
    }


@pytest.mark.parametrize("kind", LOST)
def test_values_that_would_be_lost_are_refused(tmp_path, kind):
    x, others, message = LOST[kind]
    others = {"y": LABELS} | others
    with pytest.raises(DataError, match=message):
        read_dataset(mine(write(tmp_path, X=x, y=others.pop("y")), **others))


def test_packed_netcdf_is_unpacked(tmp_path):
    path = tmp_path / "packed.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("sample", N)
        file.createDimension("feature", 4)
        packed = file.createVariable("X", "i2", ("sample", "feature"))
        packed.scale_factor, packed.add_offset = 0.5, 7.0
        packed.set_auto_maskandscale(False)
        packed[...] = (100 * X).astype(np.int16)
        file.createVariable("y", "i4", ("sample",))[...] = LABELS
    np.testing.assert_array_equal(read_dataset(mine(str(path))).x, 0.5 * (100 * X).astype(np.int16) + 7.0)


def test_netcdf_of_ragged_rows_is_refused(tmp_path):
    path = tmp_path / "ragged.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("sample", 2)
        kind = file.createVLType(np.float64, "rows")
        file.createVariable("X", kind, ("sample",))[0] = np.ones(3)
        file.createVariable("y", "i4", ("sample",))[...] = [0, 1]
    with pytest.raises(DataError, match=r"'X' .* dtype object, .*ragged rows must first get one length"):
        inspect_dataset(mine(str(path)))


def claiming(path, shape, content=b""):
    """An .npz whose `X` says it has that shape."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content)
        with archive.open("y.npy", "w") as stream:
            np.save(stream, LABELS)


@pytest.mark.parametrize("read", [inspect_dataset, read_dataset])
def test_headers_that_claim_more_than_there_is_are_refused(tmp_path, read):
    claiming(tmp_path / "mine.npz", (10**12,))
    with pytest.raises(
        DataError, match=r"mine.npz \(dataset.path\) .*array 'X' claims shape .* 8,000,000,000,000 bytes"
    ):
        read(mine(str(tmp_path / "mine.npz")))


def test_arrays_larger_than_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    path = write(tmp_path, X=X, y=LABELS)
    small = types.SimpleNamespace(total=900, available=800)
    monkeypatch.setattr("ntk_atlas.datasets.dataset.psutil.virtual_memory", lambda: small)
    with pytest.raises(DataError, match=r"'X' of .*mine.npz \(dataset.x\) would take 0.0 GiB, and this machine has"):
        inspect_dataset(mine(path))
    small.total = 1000
    assert inspect_dataset(mine(path)).n_samples == N
    with pytest.raises(DataError, match=r"'X' of .*mine.npz \(dataset.x\) would take .* GiB free: save fewer samples"):
        read_dataset(mine(path))


@pytest.mark.parametrize("read", [inspect_dataset, read_dataset])
@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_memory_that_runs_out_names_the_file(tmp_path, monkeypatch, read, suffix):
    path = write(tmp_path, X=X, y=LABELS)
    (tmp_path / "mine.csv").write_text("a,y\n1,0\n")

    def full(*args, **keys):
        raise MemoryError("Unable to allocate 7.28 TiB")

    monkeypatch.setattr("ntk_atlas.datasets.file_headers._npz_headers", full)
    monkeypatch.setattr("ntk_atlas.datasets.text_tables._content", full)
    with pytest.raises(
        DataError, match=rf"mine{suffix} \(dataset.path\) does not fit into memory \(Unable to allocate"
    ):
        read(mine(path.replace(".npz", suffix)))


PLACES = {
    "a folder": (lambda place: place.mkdir(), r"is a folder: name the file in it"),
    "a broken link": (lambda place: place.symlink_to("gone"),
        r"is a link to gone, where there is no file: correct the link"),
    "a link to itself": (lambda place: place.symlink_to(place.name),
        r"cannot be looked at \(Too many levels of symbolic links\)"),
    "a pipe": (lambda place: os.mkfifo(place), r"is a pipe, socket or device: save the data in a file"),
    "nothing": (lambda place: None, r"there is no file .*\(dataset.path, relative to .* or beside the config\)"),
    "empty": (lambda place: place.touch(), r"cannot be read as|has no line of names|is empty"),
}  # fmt: skip


@pytest.mark.parametrize("read", [inspect_dataset, read_dataset])
@pytest.mark.parametrize("suffix", [".npz", ".nc", ".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize("kind", PLACES)
def test_what_is_no_file_is_said(tmp_path, read, suffix, kind):
    make, message = PLACES[kind]
    place = tmp_path / f"with blanks größe{suffix}"
    make(place)
    with pytest.raises(DataError, match=message) as raised:
        read(mine(str(place)))
    assert str(place) in str(raised.value)


@pytest.mark.parametrize("name", ["x" * 300 + ".npz", "a\0b.npz"])
def test_impossible_names_are_said(tmp_path, name):
    with pytest.raises(DataError, match=r"\(dataset.path\) cannot be looked at .*: correct the path"):
        inspect_dataset(mine(str(tmp_path / name)))


def test_files_without_rights_are_said(tmp_path, monkeypatch):
    path = write(tmp_path, X=X, y=LABELS)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root
    with pytest.raises(DataError, match=r"mine.npz \(dataset.path\) may not be read by this user: change its rights"):
        inspect_dataset(mine(path))


def test_home_is_expanded_once_and_unknown_users_are_no_crash(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = write(tmp_path, X=X, y=LABELS)
    settings = mine("~/mine.npz")
    assert settings.path == path and FileSettings.model_validate_json(settings.canonical_json()) == settings
    assert read_dataset(settings).n_samples == N
    for kind in (CaliforniaSettings, MnistSettings):
        assert kind(path="~/images").path == str(tmp_path / "images")
        with pytest.raises(DataError, match="there is no folder ~nobody-here/x"):
            inspect_dataset(kind(path="~nobody-here/x"))
    with pytest.raises(DataError, match=r"there is no file ~nobody-here/x\.npz"):
        inspect_dataset(mine("~nobody-here/x.npz"))


def test_names_of_files_with_blanks_and_letters(tmp_path):
    path = write(tmp_path, X=X, y=LABELS)
    for name in ("my data (1).npz", "größe.NPZ", "a'b.npz"):
        copy = tmp_path / name
        copy.write_bytes(Path(path).read_bytes())
        save_dataset(read_dataset(mine(str(copy))), tmp_path / "dataset.nc")
        assert load_dataset(tmp_path / "dataset.nc").name == copy.stem


def test_braces_in_paths_are_refused():
    for kind in (FileSettings, MnistSettings, CaliforniaSettings):
        with pytest.raises(
            ValueError, match=r"'data_\{1\}/a' has braces, which name wildcards in a workflow: rename the"
        ):
            kind(path="data_{1}/a")


def test_positive_classes_are_not_booleans():
    with pytest.raises(ValueError, match="positive_classes"):
        mine("a.npz", task="binary", positive_classes=[True])
    assert mine("a.npz", positive_classes=["b", 2, 1, "a", 1]).positive_classes == (1, 2, "a", "b")


@pytest.mark.parametrize(
    ("path", "normalization"),
    [
        ("a.csv", "standardize"), ("a.CSV", "standardize"), ("a.tsv.gz", "standardize"), ("a.parquet", "standardize"),
        ("a.npz", "center_unit_norm"), ("a.nc", "center_unit_norm"),
    ],
)  # fmt: skip
def test_tables_are_standardized_by_default(path, normalization):
    assert FileSettings(path=path).normalization == normalization
    assert FileSettings(path=path, normalization="unit_norm").normalization == "unit_norm"
