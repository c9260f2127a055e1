"""A user's own data: tables, `.npz` (never unpickled) and NetCDF files."""

import logging
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ntk_atlas.config.dataset import FileSettings
from ntk_atlas.datasets.checks import check_finite, check_memory, check_split_values
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.errors import DataError
from ntk_atlas.datasets.file_headers import array_bytes, is_char_array, is_npz, no_memory, unreadable
from ntk_atlas.datasets.file_layout import FileLayout, array_place, file_layout
from ntk_atlas.datasets.tables import input_values
from ntk_atlas.datasets.targets import encode_targets

logger = logging.getLogger(__name__)

MISSING_ATTRIBUTES = ("_FillValue", "missing_value", "valid_min", "valid_max", "valid_range")


def read_user_file(settings: FileSettings) -> Dataset:
    """Reads and checks a user's arrays or columns, and encodes their targets.

    Inputs of more than two axes keep their shape.

    Args:
        settings: path, names of arrays or columns, task.

    Returns:
        All samples.

    Raises:
        DataError: for anything that cannot be used; the message names file, array or column, key and fix.
    """
    layout = file_layout(settings)
    x, y = _values(layout, "x", settings), _values(layout, "y", settings)
    check_finite(x, where=array_place(settings, "x"))
    check_finite(y, where=array_place(settings, "y"))
    if settings.task == "regression":
        y = _as_float64(y, where=array_place(settings, "y"))
    targets = encode_targets(
        y,
        task=settings.task,
        positive_classes=settings.positive_classes,
        where=array_place(settings, "y"),
        place="index [{}]".format if layout.table is None else layout.table.place,
    )
    if targets.class_names:
        shown = ", ".join(f"{i}: {name!r}" for i, name in enumerate(targets.class_names[:20]))
        logger.info("%s: classes in the order of labels, %s", array_place(settings, "y"), shown)
    return Dataset(
        name=_stem(layout.path),
        x=_as_float64(x, where=array_place(settings, "x")).reshape(layout.n_samples, *layout.input_shape),
        y=targets.y,
        labels=targets.labels,
        split=read_split(layout, settings),
        target_encoding=targets.encoding,
        class_names=targets.class_names,
        feature_names=() if layout.roles is None else layout.roles.inputs,
    )


def read_split(layout: FileLayout, settings: FileSettings) -> np.ndarray | None:
    """Returns the user's split `(n_samples,)`, int8, or None when there is none.

    Raises:
        DataError: when it holds other values than 0, 1 and 2, or lacks one of them.
    """
    if settings.split is None:
        return None
    split = _values(layout, "split", settings)
    check_split_values(split, where=array_place(settings, "split"))
    return split.astype(np.int8)


def read_array(path: Path, name: str) -> np.ndarray:
    """One array of a file whose headers are known to be good.

    Args:
        path: the `.npz` or NetCDF file.
        name: name of the array.

    Returns:
        The array; masked NetCDF values are NaN, and text is `str`.

    Raises:
        DataError: when the file is damaged, or larger than memory.
    """
    try:
        if is_npz(path):
            with np.load(path, allow_pickle=False) as file:
                values = file[name]
        else:
            values = _read_netcdf(path, name)
        return _decoded(values) if values.dtype.kind == "S" else values
    except MemoryError as error:
        raise DataError(no_memory(path, error)) from error
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(unreadable(path, error)) from error


def _values(layout: FileLayout, key: str, settings: FileSettings) -> np.ndarray:
    if layout.table is None:
        header = getattr(layout, key)
        # The array, and inputs once more in float64.
        n_bytes = array_bytes(header) + (8 * int(np.prod(header.shape)) if key == "x" else 0)
        check_memory(n_bytes, where=array_place(settings, key), free=True)
        return read_array(layout.path, getattr(settings, key))
    if key == "x":
        return input_values(layout.table, layout.roles)
    return layout.table.columns[getattr(layout.roles, key)].values


def _as_float64(values: np.ndarray, *, where: str) -> np.ndarray:
    """The values as float64, in one block of memory; longer floats and integers are refused where that changes them.

    Raises:
        DataError: when integers have more digits than float64, or when longer floats leave its range or fall together.
    """
    with np.errstate(over="ignore", under="ignore"):
        cast = np.ascontiguousarray(values, dtype=np.float64)
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind in "iu" and size == 8:
        # Compared as integers: a comparison of floats would round both sides.
        limit = 2**53
        beyond = (values > limit) | (values < -limit) if kind == "i" else values > limit
        lost = [index for index in np.argwhere(beyond) if int(cast[tuple(index)]) != int(values[tuple(index)])][:1]
        reason = "has integers beyond 2⁵³, more digits than float64 holds"
    elif kind == "f" and size > 8:
        unequal = np.zeros(values.shape, bool)
        unequal |= np.isinf(cast) | ((cast == 0) & (values != 0))
        lost = list(np.argwhere(unequal)[:1])
        flat, flat_cast = values.reshape(len(values), -1), cast.reshape(len(values), -1)
        if not lost and len(np.unique(flat, axis=0)) != len(np.unique(flat_cast, axis=0)):
            lost = [np.zeros(values.ndim, int)]
        reason = f"is {values.dtype}, whose values leave the range of float64 or fall together in it"
    else:
        return cast
    if lost:
        index = [int(i) for i in lost[0]]
        raise DataError(
            f"{where} {reason}, e.g. at index {index}: {values[tuple(index)]!s}; subtract an offset or rescale, or, if "
            "it numbers the samples, remove it"
        )
    return cast


def _read_netcdf(path: Path, name: str) -> np.ndarray:
    import netCDF4

    with netCDF4.Dataset(path) as file:
        variable = file.variables[name]
        if variable.dtype is str:
            return np.asarray(variable[...], dtype=str)
        if is_char_array(variable):
            variable.set_auto_chartostring(False)
            variable.set_auto_mask(False)
            return netCDF4.chartostring(variable[...], encoding="bytes")
        # 255 is white in a byte image; it is missing only if the file says so, not by netCDF's default.
        if variable.dtype.itemsize == 1 and not set(MISSING_ATTRIBUTES) & set(variable.ncattrs()):
            variable.set_auto_mask(False)
        values = variable[...]
    if np.ma.is_masked(values):
        return values.astype(np.float64).filled(np.nan)
    return np.asarray(values)


def _decoded(values: np.ndarray) -> np.ndarray:
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError:
        return np.char.decode(values, "latin-1")


def _stem(path: Path) -> str:
    """The name without suffixes of tables, in letters that a file may hold."""
    name = path.name.removesuffix(".gz")
    return Path(name).stem.encode("utf-8", "replace").decode("utf-8")
