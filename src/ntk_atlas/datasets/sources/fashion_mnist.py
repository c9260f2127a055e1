"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017), from a Debian package, only unpacked, or official files."""

import gzip
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ntk_atlas.datasets.dataset import DataError
from ntk_atlas.datasets.images import ImageClasses, ImageSettings, ImageSource, idx_arrays, idx_files, idx_names
from ntk_atlas.datasets.official_files import OfficialFile, OfficialFiles, Package


class FashionMnistSettings(ImageSettings):
    """Fashion-MNIST in full: 60,000 + 10,000 pieces of clothing, 1 × 28 × 28."""

    source: Literal["fashion_mnist"] = "fashion_mnist"
    """Fashion-MNIST."""
    positive_classes: ImageClasses = (0, 2, 3, 4, 6)
    """Binary task: the classes with target +1; t-shirt, pullover, dress, coat, shirt against trouser, sandal,
    sneaker, bag, ankle boot by default."""
    side: Annotated[int, Field(ge=1, le=28)] | None = None
    """Side to which images are average-pooled, each pixel over its own area; null leaves 28."""


def _unpacked(package: Path, files: tuple[OfficialFile, ...]) -> Iterator[bytes]:
    with tempfile.TemporaryDirectory(dir=package.parent, prefix=".unpack-") as temporary:
        if shutil.which("dpkg-deb") is None:
            raise DataError("there is no dpkg-deb on this machine")
        command = ["dpkg-deb", "-x", str(package.resolve()), temporary]
        subprocess.run(command, check=True, capture_output=True, timeout=1800)
        for file in files:
            path = Path(temporary) / "usr/share/datasets/fashion-mnist" / f"{file.name}.gz"
            yield gzip.decompress(path.read_bytes()) if path.is_file() else b""


fashion_mnist = ImageSource(
    settings=FashionMnistSettings,
    title="Fashion-MNIST",
    input_shape=(1, 28, 28),
    n_train=60_000,
    n_test=10_000,
    class_names=(
        "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot",
    ),
    official=OfficialFiles(
        "fashion_mnist",
        "Fashion-MNIST",
        idx_files(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        Package("apt-get", "dataset-fashion-mnist"),
        _unpacked,
        folders=("FashionMNIST/raw",),
        names=idx_names,
        forms="IDX, gzipped or not",
    ),
    arrays=idx_arrays,
)  # fmt: skip
