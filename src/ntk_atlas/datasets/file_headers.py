"""Names, shapes and dtypes of the arrays in a user's file, without reading the arrays."""

import os
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ntk_atlas.datasets.dataset import DataError

TEXT_TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")
NPZ_SUFFIXES = (".npz",)
NETCDF_SUFFIXES = (".nc", ".nc4", ".cdf")


def table_suffix(path: str | Path) -> str | None:
    """Returns the suffix of a file that is a table, in lower case; None for any other file."""
    name = Path(path).name.lower()
    return next((suffix for suffix in (*TEXT_TABLE_SUFFIXES, *PARQUET_SUFFIXES) if name.endswith(suffix)), None)


@dataclass(frozen=True)
class ArrayHeader:
    """Shape and dtype of one array."""

    shape: tuple[int, ...]
    dtype: np.dtype


def check_file(path: Path) -> None:
    """Refuses what is no file that can be read.

    Raises:
        DataError: saying what is at that path instead.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise DataError(
                f"{path} (dataset.path) is a link to {path.readlink()}, where there is no file: correct the link"
            ) from None
        raise DataError(
            f"there is no file {path} (dataset.path, relative to the working directory or beside the config): correct "
            "the path or put the file there"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} (dataset.path) cannot be looked at ({reason}): correct the path") from None
    if stat.S_ISDIR(mode):
        raise DataError(f"{path} (dataset.path) is a folder: name the file in it")
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} (dataset.path) is a pipe, socket or device: save the data in a file")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} (dataset.path) may not be read by this user: change its rights (chmod u+r)")


def file_headers(path: Path) -> dict[str, ArrayHeader]:
    """The arrays of an `.npz` or NetCDF file.

    Args:
        path: the file, absolute or relative to the working directory.

    Returns:
        A header for each array name.

    Raises:
        DataError: when there is no such file, its format is unknown, or it cannot be read.
    """
    check_file(path)
    if not path.name.lower().endswith(NPZ_SUFFIXES + NETCDF_SUFFIXES):
        raise DataError(
            f"{path} (dataset.path) has the suffix {path.suffix or '(none)'!r}: save the arrays with "
            "np.savez as .npz, as NetCDF with suffix .nc, or a table as .csv, .tsv (.gz too) or .parquet"
        )
    try:
        return _npz_headers(path) if is_npz(path) else _netcdf_headers(path)
    except MemoryError as error:
        raise DataError(no_memory(path, error)) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(unreadable(path, error)) from error


def is_npz(path: Path) -> bool:
    """Whether a file is read by NumPy."""
    return path.name.lower().endswith(NPZ_SUFFIXES)


def unreadable(path: Path, error: Exception) -> str:
    """Returns the message for a file that exists but does not hold what its suffix says."""
    table = table_suffix(path)
    kind = "an .npz" if is_npz(path) else "a NetCDF" if table is None else f"a {table}"
    return (
        f"{path} (dataset.path) cannot be read as {kind} file ({error}): it may be damaged or half copied; "
        "write it again"
    )


def no_memory(path: Path, error: Exception) -> str:
    """Returns the message for a file that memory does not hold."""
    return (
        f"{path} (dataset.path) does not fit into memory ({str(error) or 'none is left'}): save fewer samples or "
        "features, or is the file damaged?"
    )


def _npz_headers(path: Path) -> dict[str, ArrayHeader]:
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as stream:
                    header = _npy_header(stream)
                    claimed, there = array_bytes(header), archive.getinfo(member).file_size - stream.tell()
                if claimed > there and header.dtype.kind != "O":
                    raise ValueError(
                        f"array {member.removesuffix('.npy')!r} claims shape {header.shape}, {claimed:,} bytes, and "
                        f"there are {there:,}"
                    )
                headers[member.removesuffix(".npy")] = header
    return headers


def array_bytes(header: ArrayHeader) -> int:
    """Returns how much memory an array takes, by its header."""
    size = header.dtype.itemsize
    for length in header.shape:
        size *= length
    return size


def _npy_header(stream) -> ArrayHeader:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        # Version 3 has version 2's layout; only field names of records, which are refused anyway, may differ.
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    return ArrayHeader(tuple(shape), dtype)


def _netcdf_headers(path: Path) -> dict[str, ArrayHeader]:
    import netCDF4

    with netCDF4.Dataset(path) as file:
        return {name: _netcdf_header(variable) for name, variable in file.variables.items()}


def is_char_array(variable) -> bool:
    """Whether a NetCDF variable is text of a fixed length, kept as characters along its last axis."""
    return variable.dtype == np.dtype("S1") and len(variable.shape) > 1


def _netcdf_header(variable) -> ArrayHeader:
    shape = tuple(variable.shape)
    if variable.dtype is str:
        return ArrayHeader(shape, np.dtype(str))
    if is_char_array(variable):
        return ArrayHeader(shape[:-1], np.dtype(("S", shape[-1])))
    # Rows of variable length have the type of their elements, and a NumPy array as every element.
    ragged = type(variable.datatype).__name__ == "VLType" or not isinstance(variable.dtype, np.dtype)
    return ArrayHeader(shape, np.dtype(object) if ragged else variable.dtype)
