"""A user's own data: `.npz` (never unpickled), NetCDF and CSV files."""

import hashlib
import logging
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ntk_atlas.config.dataset import FileSettings
from ntk_atlas.datasets.checks import check_finite, check_split_values
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.errors import DataError
from ntk_atlas.datasets.file_headers import CSV_SUFFIXES, NPZ_SUFFIXES, csv_headers, unreadable
from ntk_atlas.datasets.file_layout import FileLayout, array_place, file_layout, input_columns
from ntk_atlas.datasets.targets import encode_targets

logger = logging.getLogger(__name__)

MISSING_ATTRIBUTES = ("_FillValue", "missing_value", "valid_min", "valid_max", "valid_range")


def read_user_file(settings: FileSettings) -> Dataset:
    """Reads and checks a user's arrays, and encodes their targets.

    Inputs of more than two axes keep their shape. Duplicated inputs are reported in the log: they make kernel
    matrices singular, and a copy may lie in the test set.

    Args:
        settings: path, array names, task.

    Returns:
        All samples.

    Raises:
        DataError: for anything that cannot be used; the message names file, array, key and fix.
    """
    layout = file_layout(settings)
    x = read_array(layout.path, settings.x, settings)
    y = read_array(layout.path, settings.y, settings)
    check_finite(x, where=array_place(settings, "x"))
    check_finite(y, where=array_place(settings, "y"))
    targets = encode_targets(
        y, task=settings.task, positive_classes=settings.positive_classes, where=array_place(settings, "y")
    )
    x = np.ascontiguousarray(x, dtype=np.float64).reshape(layout.n_samples, *layout.input_shape)
    _report_duplicates(x, where=array_place(settings, "x"))
    return Dataset(
        name=layout.path.stem,
        x=x,
        y=targets.y,
        labels=targets.labels,
        split=read_split(layout, settings),
        target_encoding=targets.encoding,
        class_names=targets.class_names,
    )


def read_split(layout: FileLayout, settings: FileSettings) -> np.ndarray | None:
    """Returns the user's split `(n_samples,)`, int8, or None when there is none.

    Raises:
        DataError: when it holds other values than 0, 1 and 2, or lacks one of them.
    """
    if settings.split is None:
        return None
    split = read_array(layout.path, settings.split, settings)
    check_split_values(split, where=array_place(settings, "split"))
    return split.astype(np.int8)


def read_array(path: Path, name: str, settings: FileSettings) -> np.ndarray:
    """One array of a file whose headers are known to be good.

    Args:
        path: the `.npz`, NetCDF or CSV file.
        name: name of the array.
        settings: say which columns of a CSV are inputs.

    Returns:
        The array; masked NetCDF values are NaN.

    Raises:
        DataError: when the file is damaged.
    """
    try:
        if path.suffix in NPZ_SUFFIXES:
            with np.load(path, allow_pickle=False) as file:
                return file[name]
        if path.suffix in CSV_SUFFIXES:
            return _read_csv(path, name, settings)
        return _read_netcdf(path, name)
    except DataError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(unreadable(path, error)) from error


def _read_csv(path: Path, name: str, settings: FileSettings) -> np.ndarray:
    columns = list(csv_headers(path))
    table = np.genfromtxt(path, delimiter=",", skip_header=1, ndmin=2, dtype=np.float64, encoding="utf-8-sig")
    if table.shape[1] != len(columns):
        raise DataError(f"{path} (dataset.path) names {len(columns)} columns and has {table.shape[1]}: make them agree")
    if name == settings.x:
        return table[:, [columns.index(column) for column in input_columns(columns, settings)]]
    return table[:, columns.index(name)]


def _read_netcdf(path: Path, name: str) -> np.ndarray:
    import netCDF4

    with netCDF4.Dataset(path) as file:
        variable = file.variables[name]
        # 255 is white in a byte image; it is missing only if the file says so, not by netCDF's default.
        if variable.dtype.itemsize == 1 and not set(MISSING_ATTRIBUTES) & set(variable.ncattrs()):
            variable.set_auto_mask(False)
        values = variable[...]
    if np.ma.is_masked(values):
        return values.astype(np.float64).filled(np.nan)
    return np.asarray(values)


def _report_duplicates(x: np.ndarray, *, where: str) -> None:
    distinct = len({hashlib.blake2b(row, digest_size=16).digest() for row in x})
    if distinct < len(x):
        logger.warning(
            "%s: %d of %d samples repeat another one; repeated samples make kernel matrices singular, and "
            "copies may lie in both training and test set",
            where,
            len(x) - distinct,
            len(x),
        )
