"""Names, shapes and dtypes of the arrays in a user's file, without reading the arrays."""

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ntk_atlas.datasets.errors import DataError

NPZ_SUFFIXES = (".npz",)
NETCDF_SUFFIXES = (".nc", ".nc4", ".cdf")
CSV_SUFFIXES = (".csv",)


@dataclass(frozen=True)
class ArrayHeader:
    """Shape and dtype of one array."""

    shape: tuple[int, ...]
    dtype: np.dtype


def file_headers(path: Path) -> dict[str, ArrayHeader]:
    """The arrays of an `.npz` or NetCDF file, or the columns of a CSV.

    Args:
        path: the file, absolute or relative to the working directory.

    Returns:
        A header for each array name.

    Raises:
        DataError: when there is no such file, its format is unknown, or it cannot be read.
    """
    if not path.is_file():
        raise DataError(
            f"there is no file {path} (dataset.path, relative to the working directory): correct the path or "
            "put the file there"
        )
    if path.suffix not in NPZ_SUFFIXES + NETCDF_SUFFIXES + CSV_SUFFIXES:
        raise DataError(
            f"{path} (dataset.path) has the suffix {path.suffix or '(none)'!r}: save the arrays with "
            "np.savez as .npz, as NetCDF with suffix .nc, or a table of numbers as .csv"
        )
    try:
        if path.suffix in CSV_SUFFIXES:
            return csv_headers(path)
        return _npz_headers(path) if path.suffix in NPZ_SUFFIXES else _netcdf_headers(path)
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(unreadable(path, error)) from error


def unreadable(path: Path, error: Exception) -> str:
    """Returns the message for a file that exists but does not hold what its suffix says."""
    kind = {NPZ_SUFFIXES[0]: "an .npz", CSV_SUFFIXES[0]: "a CSV"}.get(path.suffix, "a NetCDF")
    return (
        f"{path} (dataset.path) cannot be read as {kind} file ({error}): it may be damaged or half copied; "
        "write it again"
    )


def csv_headers(path: Path) -> dict[str, ArrayHeader]:
    """The columns of a CSV, by the names in its first line; how many samples there are takes reading the lines.

    Raises:
        DataError: for names that are missing, numbers, or there twice.
    """
    with path.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.reader(lines)
        names = [name.strip() for name in next(rows, [])]
        n_samples = sum(1 for row in rows if row)
    numbers = [name for name in names if _is_number(name)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names or "" in names or numbers or repeated:
        what = "no line of names"
        if names and not numbers:
            what = f"a column twice ({', '.join(repeated)})" if repeated else "a column without a name"
        raise DataError(f"{path} (dataset.path) has {what}: its first line must name every column, once")
    return {name: ArrayHeader((n_samples,), np.dtype(np.float64)) for name in names}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _npz_headers(path: Path) -> dict[str, ArrayHeader]:
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as stream:
                    headers[member.removesuffix(".npy")] = _npy_header(stream)
    return headers


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
        return {name: ArrayHeader(tuple(v.shape), _netcdf_dtype(v)) for name, v in file.variables.items()}


def _netcdf_dtype(variable) -> np.dtype:
    # Text and other variable-length types have a Python type here.
    return variable.dtype if isinstance(variable.dtype, np.dtype) else np.dtype(object)
