"""MNIST, Fashion-MNIST and CIFAR-10 in full, from their official files."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ntk_atlas.config.dataset import CaliforniaSettings, ImageSettings
from ntk_atlas.datasets.area_average import area_average
from ntk_atlas.datasets.dataset import POOL, TEST, Dataset
from ntk_atlas.datasets.errors import DataError
from ntk_atlas.datasets.image_files import find_files, read_official
from ntk_atlas.datasets.image_sets import CACHE, IMAGE_SETS, ImageSet
from ntk_atlas.datasets.targets import Targets, encode_targets

IDX_IMAGES, IDX_LABELS = 0x0803, 0x0801
"""Magic numbers of IDX files: unsigned bytes, three dimensions and one."""


def image_folder(settings: ImageSettings | CaliforniaSettings) -> Path:
    """Returns the folder of the official files: the user's, or the cache that the fetch rules fill."""
    return Path(CACHE) / settings.source if settings.path is None else Path(settings.path)


def input_shape(settings: ImageSettings, image_set: ImageSet) -> tuple[int, int, int]:
    """Returns `(channels, height, width)` after pooling."""
    channels, height, width = image_set.input_shape
    return (channels, height, width) if settings.side is None else (channels, settings.side, settings.side)


def read_images(settings: ImageSettings, image_set: ImageSet | None = None) -> Dataset:
    """All images of the official training set, then all of the test set.

    Args:
        settings: source, folder, task, side.
        image_set: what the files have to be; by default the official set that `settings.source` names.

    Returns:
        Inputs `(n, channels, height, width)`: uint8 as they are, or float32 when pooled (float64 would fill 1.5 GB
        and says no more). `split` marks the official training set as pool and the official test set as test; draws
        take the validation samples from the former.

    Raises:
        DataError: when a file is missing, truncated, damaged or another one.
    """
    image_set = image_set or IMAGE_SETS[settings.source]
    paths = find_files(image_folder(settings), image_set)
    contents = [read_official(path, file, image_set) for path, file in zip(paths, image_set.files, strict=True)]
    x, labels = _cifar(contents, image_set) if settings.source == "cifar10" else _idx(contents, image_set)
    side = image_set.input_shape[-1] if settings.side is None else settings.side
    attributes = {
        "images": image_set.title,
        "official_side": image_set.input_shape[-1],
        "side": side,
        "pooling": "none" if x.shape[-1] == side else "average over the area of each pixel",
    }
    targets = _encode(settings, labels, image_set)
    return Dataset(
        name=settings.source,
        x=x if x.shape[-1] == side else area_average(x, side),
        y=targets.y,
        labels=targets.labels,
        split=np.repeat(np.array([POOL, TEST], np.int8), (image_set.n_train, image_set.n_test)),
        target_encoding=targets.encoding,
        class_names=targets.class_names,
        attributes=attributes,
    )


def _encode(settings: ImageSettings, labels: np.ndarray, image_set: ImageSet) -> Targets:
    where = f"{image_set.title} (dataset.source: {settings.source})"
    targets = encode_targets(labels, task=settings.task, positive_classes=settings.positive_classes, where=where)
    names = tuple(
        " ".join(image_set.class_names[int(number)] for number in str(group).split()) for group in targets.class_names
    )
    return replace(targets, class_names=names)


def _idx(contents: list[bytes], image_set: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    arrays = [
        _idx_array(content, IDX_LABELS if i % 2 else IDX_IMAGES, image_set.files[i].name)
        for i, content in enumerate(contents)
    ]
    images = np.concatenate([arrays[0], arrays[2]])
    return images.reshape(-1, *image_set.input_shape), np.concatenate([arrays[1], arrays[3]])


def _idx_array(content: bytes, magic: int, name: str) -> np.ndarray:
    """Returns the array of an IDX file: magic number, one big-endian length a dimension, then the values.

    Raises:
        DataError: when the header is not that of such a file.
    """
    header = np.frombuffer(content, ">u4", count=1 + magic % 256)
    lengths = tuple(int(length) for length in header[1:])
    n_bytes = 4 * len(header) + int(np.prod(lengths))
    if header[0] != magic or n_bytes != len(content):
        raise DataError(
            f"{name}: its header (magic number {header[0]:#06x}, lengths {lengths}) is not that of the file"
        )
    return np.frombuffer(content, np.uint8, offset=4 * len(header)).reshape(lengths)


def _cifar(contents: list[bytes], image_set: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    n_values = int(np.prod(image_set.input_shape))
    rows = np.concatenate([np.frombuffer(content, np.uint8).reshape(-1, 1 + n_values) for content in contents])
    return np.ascontiguousarray(rows[:, 1:]).reshape(-1, *image_set.input_shape), rows[:, 0].copy()
