"""Image data from official files: fabricated small ones of the official formats, area averages, official splits."""

import gzip
import hashlib
import os
import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from ntk_atlas.config import NetworkSettings, section_of
from ntk_atlas.datasets import (
    SOURCES,
    DataError,
    ImageSource,
    OfficialFile,
    area_average,
    dataset_digest,
    inspect_dataset,
    load_dataset,
    make_draw,
    overlap_lengths,
    save_dataset,
    split_indices,
)
from ntk_atlas.datasets import normalization as normalization_module
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import infinite_kernels

CaliforniaSettings = section_of("california")
Cifar10Settings = section_of("cifar10")
FashionMnistSettings = section_of("fashion_mnist")
MnistSettings = section_of("mnist")

N_TRAIN, N_TEST = 40, 20
IDX_NAMES = [file.name for file in SOURCES.get("mnist").official.files]


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


def fabricated(shape):
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (N_TRAIN + N_TEST, *shape), dtype=np.uint8)
    return x, (np.arange(N_TRAIN + N_TEST) * 7 % 10).astype(np.uint8)


def an_image_set(name, title, shape, contents: dict[str, bytes]) -> ImageSource:
    """A source as the built-in one of that name, of small images."""
    files = tuple(OfficialFile(name, len(c), hashlib.sha256(c).hexdigest()) for name, c in contents.items())
    source = SOURCES.get(name)
    small = replace(source.official, title=title, files=files)
    sizes = {"n_train": N_TRAIN, "n_test": N_TEST, "class_names": tuple("abcdefghij")}
    return replace(source, title=title, input_shape=shape, official=small, **sizes)


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def small_mnist():
    x, labels = fabricated((1, 4, 4))
    parts = (x[:N_TRAIN, 0], labels[:N_TRAIN], x[N_TRAIN:, 0], labels[N_TRAIN:])
    contents = dict(zip(IDX_NAMES, map(idx_bytes, parts), strict=True))
    return x, labels, contents, an_image_set("mnist", "Small MNIST", (1, 4, 4), contents)


def small_cifar():
    x, labels = fabricated((3, 4, 4))
    rows = np.concatenate([labels[:, None], x.reshape(len(x), -1)], axis=1)
    parts = {"data_batch_1.bin": rows[:20], "data_batch_2.bin": rows[20:40], "test_batch.bin": rows[40:]}
    contents = {name: part.tobytes() for name, part in parts.items()}
    return x, labels, contents, an_image_set("cifar10", "Small CIFAR", (3, 4, 4), contents)


def settings(folder, kind=MnistSettings, **keys):
    return kind(path=str(folder), **{"n_validation": 6, "n_test": 8, **keys})


@pytest.mark.parametrize(
    ("folder", "rename", "pack"),
    [
        ("", lambda name: name, lambda c: c),
        ("", lambda name: f"{name}.gz", gzip.compress),
        ("MNIST/raw", lambda name: name.replace("-idx", ".idx"), lambda c: c),
    ],
    ids=["raw", "gzipped", "torchvision folder, dotted names"],
)
def test_idx_files_are_read_as_they_are(tmp_path, folder, rename, pack):
    x, labels, contents, image_set = small_mnist()
    write(tmp_path / folder, {rename(name): pack(content) for name, content in contents.items()})
    dataset = image_set.read(settings(tmp_path))
    assert dataset.x.dtype == np.uint8 and dataset.input_shape == (1, 4, 4)
    np.testing.assert_array_equal(dataset.x, x)
    np.testing.assert_array_equal(dataset.labels, labels)
    np.testing.assert_array_equal(dataset.split, [0] * N_TRAIN + [2] * N_TEST)
    assert dataset.class_names == tuple("abcdefghij")
    assert dataset.attributes == {"images": "Small MNIST", "official_side": 4, "side": 4, "pooling": "none"}


def pickled(rows: bytes) -> bytes:
    table = np.frombuffer(rows, np.uint8).reshape(20, -1)
    batch = {b"data": table[:, 1:].copy(), b"labels": table[:, 0].tolist(), b"batch_label": b"one"}
    return pickle.dumps(batch, protocol=2)


def test_binary_and_python_batches_are_the_same_data(tmp_path):
    x, labels, contents, image_set = small_cifar()
    write(tmp_path / "bin", contents)
    python = {name.removesuffix(".bin"): pickled(content) for name, content in contents.items()}
    write(tmp_path / "py" / "cifar-10-batches-py", python)
    first, second = (image_set.read(settings(tmp_path / kind, Cifar10Settings)) for kind in ("bin", "py"))
    np.testing.assert_array_equal(first.x, x)
    np.testing.assert_array_equal(first.labels, labels)
    assert dataset_digest(first) == dataset_digest(second)


class Harmful:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(tmp_path):
    _, _, contents, image_set = small_cifar()
    python = {name.removesuffix(".bin"): pickled(content) for name, content in contents.items()}
    python["test_batch"] = pickle.dumps({b"data": Harmful(tmp_path / "ran")}, protocol=2)
    write(tmp_path / "py", python)
    with pytest.raises(DataError, match=r"test_batch cannot be read as a batch .* asks for posix.mkdir"):
        image_set.read(settings(tmp_path / "py", Cifar10Settings))
    assert not (tmp_path / "ran").exists()


def spoil_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("pack", "message"),
    [
        (lambda c: c[:-5], r"train-images-idx3-ubyte has 651 bytes where the official .* has 656: it is truncated"),
        (lambda c: c + b"x", r"train-images-idx3-ubyte has 657 bytes .*: it is another file"),
        (spoil_bit, r"does not hold the official train-images-idx3-ubyte of Small MNIST \(its SHA-256 differs\)"),
        (lambda c: None, r"lacks train-images-idx3-ubyte of Small MNIST, set by dataset.path .* remove dataset.path"),
    ],
    ids=["truncated", "longer", "damaged", "missing"],
)
def test_wrong_files_are_named(tmp_path, pack, message):
    _, _, contents, image_set = small_mnist()
    first = pack(contents.pop(IDX_NAMES[0]))
    write(tmp_path, contents | ({} if first is None else {IDX_NAMES[0]: first}))
    with pytest.raises(DataError, match=message):
        image_set.read(settings(tmp_path))


def test_half_a_gzipped_file_is_named(tmp_path):
    _, _, contents, image_set = small_mnist()
    contents[f"{IDX_NAMES[0]}.gz"] = gzip.compress(contents.pop(IDX_NAMES[0]))[:-12]
    write(tmp_path, contents)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz cannot be read .* half copied"):
        image_set.read(settings(tmp_path))


def test_a_missing_folder_is_found_by_inspection_alone(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*nowhere, set by dataset.path .* to have them fetched"):
        inspect_dataset(settings(tmp_path / "nowhere"))


def test_a_file_in_place_of_the_folder_is_said(tmp_path):
    (tmp_path / "mnist.gz").touch()
    with pytest.raises(DataError, match=r"mnist.gz, set by dataset.path, is a file: name the folder that holds"):
        inspect_dataset(settings(tmp_path / "mnist.gz"))


def test_what_is_to_be_put_in_the_folder_is_said_for_each_source(tmp_path):
    for kind, said in (
        (MnistSettings, "MNIST there \\(IDX, gzipped or not\\), correct"),
        (Cifar10Settings, "binary or python"),
        (CaliforniaSettings, "of California housing there, correct"),
    ):
        with pytest.raises(DataError, match=said):
            inspect_dataset(kind(path=str(tmp_path)))


def test_a_truncated_file_is_found_by_inspection_alone(tmp_path):
    write(tmp_path, dict.fromkeys(IDX_NAMES, b"short"))
    with pytest.raises(DataError, match="has 5 bytes where the official train-images-idx3-ubyte of MNIST has 47040016"):
        inspect_dataset(settings(tmp_path))


@pytest.mark.parametrize(
    ("kind", "n_train", "shape"),
    [
        (MnistSettings, 60_000, (1, 28, 28)),
        (FashionMnistSettings, 60_000, (1, 28, 28)),
        (Cifar10Settings, 50_000, (3, 32, 32)),
    ],
)
def test_sizes_are_known_before_anything_is_fetched(kind, n_train, shape, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    size = inspect_dataset(kind(n_validation=1000, n_test=5000))
    assert (size.n_samples, size.n_pool, size.n_test) == (n_train + 10_000, n_train - 1000, 5000)
    assert (size.input_shape, size.n_outputs, size.task) == (shape, 10, "classes")
    pooled = inspect_dataset(kind(side=7, task="binary"))
    assert (pooled.input_shape, pooled.n_outputs) == ((shape[0], 7, 7), 1)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"n_test": 10_001}, r"CIFAR-10 \(dataset.source: cifar10\) has 10000 test samples, fewer than 10001"),
        ({"n_validation": 50_000}, "has 50000 training samples, too few for 50000 validation samples"),
        ({"task": "binary", "positive_classes": tuple(range(10))}, "selects every class of CIFAR-10"),
    ],
)
def test_what_the_official_sets_cannot_give_is_refused(keys, message):
    with pytest.raises(DataError, match=message):
        inspect_dataset(Cifar10Settings(**keys))


@pytest.mark.parametrize("keys", [{"side": 29}, {"side": 0}, {"positive_classes": (1, 10)}])
def test_settings_no_image_has_are_refused(keys):
    with pytest.raises(ValueError, match=r"less than or equal to|greater than or equal to"):
        MnistSettings(**keys)


def test_binary_task_names_the_groups(tmp_path):
    _, labels, contents, image_set = small_cifar()
    write(tmp_path, contents)
    dataset = image_set.read(settings(tmp_path, Cifar10Settings, task="binary"))
    animal = np.isin(labels, (2, 3, 4, 5, 6, 7))
    np.testing.assert_array_equal(dataset.y[:, 0], np.where(animal, 1.0, -1.0))
    assert dataset.class_names == ("a b i j", "c d e f g h")


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 6])
def test_area_average_equals_block_means_of_the_enlarged_image(side):
    n = 6
    x = np.random.default_rng(side).integers(0, 256, (3, 2, n, n), dtype=np.uint8)
    large = x.repeat(side, axis=2).repeat(side, axis=3).astype(np.int64)
    sums = large.reshape(3, 2, side, n, side, n).sum(axis=(3, 5))
    expected = np.vectorize(lambda s: np.float32(Fraction(int(s), n * n)))(sums)
    np.testing.assert_array_equal(area_average(x, side), expected)  # to the last bit


def test_area_average_at_a_divisor_is_average_pooling():
    x = np.random.default_rng(0).integers(0, 256, (5000, 3, 32, 32), dtype=np.uint8)  # more than a block of images
    expected = torch.nn.functional.avg_pool2d(torch.as_tensor(x, dtype=torch.float64), 2).numpy()
    np.testing.assert_array_equal(area_average(x, 16), expected)


@pytest.mark.parametrize("sides", [(28, 16), (32, 16), (32, 5), (28, 28), (256, 255)])
def test_area_average_keeps_the_mean_and_constant_images(sides):
    n, side = sides
    overlaps = overlap_lengths(n, side)
    np.testing.assert_array_equal(overlaps.sum(axis=1), n)
    np.testing.assert_array_equal(overlaps.sum(axis=0), side)
    x = np.random.default_rng(0).integers(0, 256, (2, 1, n, n), dtype=np.uint8)
    np.testing.assert_allclose(area_average(x, side).mean(axis=(1, 2, 3)), x.mean(axis=(1, 2, 3)), rtol=1e-6)
    np.testing.assert_array_equal(area_average(np.full_like(x, 255), side), 255.0)


@pytest.mark.parametrize(
    ("x", "side", "message"),
    [
        (np.zeros((1, 1, 4, 4), np.uint8), 5, r"side 5 is not in 1..4"),
        (np.zeros((1, 1, 4, 5), np.uint8), 2, "square uint8 images"),
        (np.zeros((1, 1, 4, 4)), 2, "square uint8 images"),
    ],
)
def test_area_average_refuses_what_it_is_not_for(x, side, message):
    with pytest.raises(ValueError, match=message):
        area_average(x, side)


@pytest.fixture
def cifar(tmp_path):
    _, _, contents, image_set = small_cifar()
    return image_set.read(settings(write(tmp_path, contents), Cifar10Settings))


def indices(dataset, draw=0, **sizes):
    return split_indices(dataset, Cifar10Settings(**{"n_validation": 6, "n_test": 8, **sizes}), draw)


def test_training_and_validation_never_hold_a_test_image(cifar):
    for draw in range(20):
        parts = indices(cifar, draw)
        both = np.concatenate([parts.pool, parts.validation])
        np.testing.assert_array_equal(np.sort(both), np.arange(N_TRAIN))
        assert len(parts.validation) == 6 and len(set(parts.test)) == 8
        assert parts.test.min() >= N_TRAIN


def test_sizes_change_neither_the_first_training_nor_the_first_test_samples(cifar):
    few, many = indices(cifar), indices(cifar, n_validation=20, n_test=20)
    np.testing.assert_array_equal(many.pool, few.pool[:20])
    np.testing.assert_array_equal(many.test[:8], few.test)


def test_draws_differ_in_every_part(cifar):
    first, second = indices(cifar, 0), indices(cifar, 1)
    for part in ("pool", "validation", "test"):
        assert not np.array_equal(getattr(first, part), getattr(second, part))


def test_more_test_samples_than_official_ones_are_refused(cifar):
    with pytest.raises(DataError, match="cifar10 has 20 test samples, fewer than 21"):
        indices(cifar, n_test=21)


@pytest.mark.parametrize("normalization", ["none", "standardize", "unit_norm", "center_unit_norm"])
def test_draws_are_those_of_the_same_images_in_float64(cifar, normalization, monkeypatch):
    chosen = Cifar10Settings(n_validation=6, n_test=8, normalization=normalization)
    reference = make_draw(replace(cifar, x=cifar.x.astype(np.float64)), chosen, 1)
    x = cifar.x[split_indices(cifar, chosen, 1).pool].astype(np.float64)
    if normalization == "standardize":
        np.testing.assert_allclose(reference.x_pool, (x - x.mean(axis=0)) / x.std(axis=0), atol=1e-12)
    monkeypatch.setattr(normalization_module, "BLOCK", 7)
    draw = make_draw(cifar, chosen, 1)
    for part in ("x_pool", "x_validation", "x_test"):
        assert getattr(draw, part).dtype == np.float64
        np.testing.assert_allclose(getattr(draw, part), getattr(reference, part), rtol=1e-13, atol=1e-13)
    if normalization.endswith("unit_norm"):
        np.testing.assert_allclose((draw.x_test**2).sum(axis=(1, 2, 3)), 48.0, rtol=1e-12)


def test_training_sets_leave_the_rest_of_the_pool_alone(cifar):
    draw = make_draw(cifar, Cifar10Settings(n_validation=6, n_test=8), 0)
    x, _ = draw.training_set(5)
    assert not {"x_pool", "x_test"} & set(vars(draw)), "normalized before anybody asked"
    np.testing.assert_array_equal(x, draw.x_pool[:5])


@pytest.mark.parametrize("side", [None, 3])
def test_prepared_images_keep_type_shape_and_what_was_done(tmp_path, side):
    x, _, contents, image_set = small_cifar()
    dataset = image_set.read(settings(write(tmp_path, contents), Cifar10Settings, side=side))
    save_dataset(dataset, tmp_path / "dataset.nc")
    loaded = load_dataset(tmp_path / "dataset.nc")
    assert loaded.x.dtype == (np.uint8 if side is None else np.float32)
    np.testing.assert_array_equal(loaded.x, x if side is None else area_average(x, side))
    assert loaded.attributes == dataset.attributes
    assert (loaded.attributes["side"], loaded.attributes["official_side"]) == (side or 4, 4)
    assert (loaded.attributes["pooling"] == "none") == (side is None)


def test_digest_tells_types_apart(cifar):
    digests = {dataset_digest(replace(cifar, x=cifar.x.astype(kind))) for kind in (np.uint8, np.float32, np.float64)}
    assert len(digests) == 3
    assert dataset_digest(replace(cifar, x=cifar.x.astype(">f4"))) in digests
    changed = cifar.x.copy()
    changed[0, 0, 0, 0] ^= 1
    assert dataset_digest(replace(cifar, x=changed)) not in digests


def test_fully_connected_networks_and_kernels_flatten_images(cifar):
    x, _ = make_draw(cifar, Cifar10Settings(n_validation=6, n_test=8), 0).training_set(7)
    x = torch.as_tensor(x)
    network = build_networks(
        NetworkSettings(), depth=1, width=5, init_scale=2.0, input_shape=(3, 4, 4), n_outputs=2,
        generators=[torch.Generator().manual_seed(0)], dtype=torch.float64,
    )  # fmt: skip
    torch.testing.assert_close(network(x), network(x.flatten(1)), rtol=0, atol=0)
    choice = {"depths": (1,), "settings": NetworkSettings(), "init_scale": 2.0, "width": 64}
    torch.testing.assert_close(
        infinite_kernels(x, **choice).ntk, infinite_kernels(x.flatten(1), **choice).ntk, rtol=0, atol=0
    )
