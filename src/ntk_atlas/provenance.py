"""Where a result comes from: versions, revision and settings, as attributes that NetCDF can hold."""

import hashlib
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("ntk-atlas", "torch", "pytorch-lightning", "numpy", "scipy", "xarray", "netcdf4", "snakemake")


def file_digest(path: Path) -> str:
    """16 hexadecimal digits of a file's contents."""
    state = path.stat()
    return _file_digest(path.resolve(), state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=64)
def _file_digest(path: Path, _size: int, _mtime: int, _inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def git_revision(folder: Path) -> str:
    """The commit of the repository around `folder`, `-dirty` where tracked files differ; else `unknown`."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def provenance_attributes(folder: Path) -> dict[str, str]:
    """Versions and revision, one text attribute each; no time stamps, so equal runs give equal files."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "git_revision": git_revision(folder),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }
