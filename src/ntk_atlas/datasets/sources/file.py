"""A user's own data: tables, `.npz` (never unpickled) and NetCDF files, checked before anything large is read."""

import difflib
import logging
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, StrictInt, StrictStr, model_validator

from ntk_atlas.config.base import UserPath
from ntk_atlas.datasets.dataset import (
    POOL,
    TEST,
    DataError,
    Dataset,
    DatasetBase,
    DatasetSize,
    DatasetSource,
    Normalization,
    check_finite,
    check_label_shape,
    check_lengths,
    check_memory,
    check_numeric,
    check_shape,
    check_split_values,
)
from ntk_atlas.datasets.file_headers import (
    ArrayHeader,
    array_bytes,
    check_file,
    file_headers,
    is_char_array,
    is_npz,
    no_memory,
    table_suffix,
    unreadable,
)
from ntk_atlas.datasets.normalization import encode_targets
from ntk_atlas.datasets.tables import Table, TableRoles, check_columns, input_values, read_table, table_roles

logger = logging.getLogger(__name__)

MISSING_ATTRIBUTES = ("_FillValue", "missing_value", "valid_min", "valid_max", "valid_range")


def _in_order(classes: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return tuple(sorted(set(classes), key=lambda name: (isinstance(name, str), name)))


class FileSettings(DatasetBase):
    """A user's own data: a table (`.csv`, `.parquet`), or arrays in an `.npz` or NetCDF file."""

    source: Literal["file"] = "file"
    """Your own file."""
    path: UserPath
    """The file, relative to the working directory or beside the config: a table, `.csv` or `.tsv` (gzipped too:
    `.csv.gz`) or `.parquet`, with a line of names, then a line per sample; or arrays, `.npz` or NetCDF (`.nc`).
    Separators, quotes, comments (#), decimal commas and encoding of a text table are found out; what could be read in
    two ways is refused."""
    normalization: Normalization = "center_unit_norm"
    """See the other sources; tables are standardized by default. Tokens for an `nn.Embedding` need `none`."""
    x: str = "X"
    """Name of the input array, (n_samples, ...); more than two dimensions are kept for a network of yours. Of a table
    the inputs are all columns but `y` and `split`, and they are numbers."""
    y: str = "y"
    """Name of the target array or column: (n_samples,) class labels (integers or words) or real values, or real values
    of (n_samples, n_outputs). Classes are numbered in ascending or alphabetical order."""
    split: str | None = None
    """Name of an optional array or column of 0 (training pool), 1 (validation), 2 (test) that fixes the split; draws
    then divide or permute the training pool only, and `n_validation` and `n_test` do not apply."""
    task: Literal["classes", "binary", "regression"] = "classes"
    """What y means: class labels, class labels of which some are +1, or real values (standardized with the
    training pool's mean and standard deviation)."""
    positive_classes: Annotated[tuple[StrictInt | StrictStr, ...], AfterValidator(_in_order)] = (1,)
    """Binary task: the classes with target +1, as they are in the file: numbers or words."""

    @model_validator(mode="before")
    @classmethod
    def _tables_are_standardized(cls, values: Any) -> Any:
        if isinstance(values, dict) and "normalization" not in values and isinstance(values.get("path"), str):
            return values | ({"normalization": "standardize"} if table_suffix(values["path"]) else {})
        return values


class File(DatasetSource):
    """Arrays or columns of a user's file; inputs of more than two axes keep their shape."""

    settings, title = FileSettings, "a file"

    def place(self, settings: FileSettings) -> str:
        """See `DatasetSource`."""
        return f"{settings.path} (dataset.path)"

    def own_files(self, settings: FileSettings) -> tuple[Path, ...]:
        """See `DatasetSource`."""
        return (Path(settings.path),)

    def sample_place(self, settings: FileSettings, index: int) -> str:
        """See `DatasetSource`; a line or row of a table."""
        if table_suffix(settings.path) is None:
            return super().sample_place(settings, index)
        return read_table(Path(settings.path)).place(index)

    def remarks(self, settings: FileSettings) -> tuple[str, ...]:
        """See `DatasetSource`; what was left out of a table."""
        return () if table_suffix(settings.path) is None else read_table(Path(settings.path)).remarks

    def size(self, settings: FileSettings) -> DatasetSize:
        """See `DatasetSource`; of arrays that are read, a split alone, one number per sample."""
        layout = file_layout(settings)
        if settings.task != "regression":
            check_label_shape(layout.y.shape, where=array_place(settings, "y"))
        n_outputs = {"classes": None, "binary": 1, "regression": layout.n_targets}[settings.task]
        split = _split(layout, settings)
        if split is None:
            return self.drawn(settings, layout.n_samples, layout.input_shape, n_outputs, settings.task)
        return DatasetSize(
            n_samples=layout.n_samples,
            n_pool=int(np.count_nonzero(split == POOL)),
            input_shape=layout.input_shape,
            n_outputs=n_outputs,
            task=settings.task,
            n_test=int(np.count_nonzero(split == TEST)),
            split="fixed",
        )

    def read(self, settings: FileSettings) -> Dataset:
        """See `DatasetSource`; an error names file, array or column, key and fix."""
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
            split=_split(layout, settings),
            target_encoding=targets.encoding,
            class_names=targets.class_names,
            feature_names=() if layout.roles is None else layout.roles.inputs,
        )


@dataclass(frozen=True)
class FileLayout:
    """Headers of the arrays in use; they are numeric (labels may be text), not empty, and have one row per sample.

    A table is read whole to be checked, and stays in memory.
    """

    path: Path
    x: ArrayHeader
    y: ArrayHeader
    split: ArrayHeader | None
    table: Table | None = None
    roles: TableRoles | None = None

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.x.shape[0]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample; an array of one axis has one feature a sample."""
        return self.x.shape[1:] or (1,)

    @property
    def n_targets(self) -> int:
        """Columns of y."""
        return self.y.shape[1] if len(self.y.shape) == 2 else 1


def file_layout(settings: FileSettings) -> FileLayout:
    """Reads and checks the headers of a user's file.

    Args:
        settings: the path and the names of the arrays.

    Returns:
        The layout.

    Raises:
        DataError: when the file or an array is missing, or an array's dtype or shape cannot be used.
    """
    path = Path(settings.path)
    if table_suffix(path) is not None:
        return _table_layout(path, settings)
    headers = file_headers(path)
    named = [name for name in (settings.x, settings.y, settings.split) if name is not None]
    if len(set(named)) < len(named):
        raise DataError(
            f"{path}: dataset.x, dataset.y and dataset.split name the same array ({', '.join(named)}): name "
            "different ones"
        )
    found = {}
    for key in ("x", "y", "split"):
        name = getattr(settings, key)
        if name is not None:
            found[key] = _header(headers, name, key=key, path=path)
            may_be_text = key == "y" and settings.task != "regression"
            check_numeric(found[key].dtype, where=array_place(settings, key), text=may_be_text)
            check_shape(found[key].shape, where=array_place(settings, key))
            check_lengths(
                found["x"].shape[0],
                found[key].shape[0],
                where_x=array_place(settings, "x"),
                where_other=array_place(settings, key),
            )
    for key, header in found.items():
        check_memory(array_bytes(header), where=array_place(settings, key))
    if len(found["y"].shape) > 2:
        raise DataError(
            f"{array_place(settings, 'y')} has shape {found['y'].shape}: targets are (n_samples,) or "
            "(n_samples, n_outputs); flatten each sample's targets"
        )
    if "split" in found and len(found["split"].shape) > 1:
        raise DataError(
            f"{array_place(settings, 'split')} has shape {found['split'].shape}: it needs one number a sample"
        )
    return FileLayout(path, found["x"], found["y"], found.get("split"))


def array_place(settings: FileSettings, key: str) -> str:
    """Returns where an array or column is, for error messages: its name, file and config key."""
    if table_suffix(settings.path) is None:
        return f"array {getattr(settings, key)!r} of {settings.path} (dataset.{key})"
    if key == "x":
        return f"table of inputs in {settings.path} (dataset.path)"
    return f"column {getattr(settings, key)!r} of {settings.path} (dataset.{key})"


def _table_layout(path: Path, settings: FileSettings) -> FileLayout:
    check_file(path)
    try:
        table = read_table(path)
    except MemoryError as error:
        raise DataError(no_memory(path, error)) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(unreadable(path, error)) from error
    roles = table_roles(table, settings)
    check_columns(table, roles, task=settings.task)
    column = ArrayHeader((table.n_samples,), np.dtype(np.float64))
    inputs = ArrayHeader((table.n_samples, len(roles.inputs)), np.dtype(np.float64))
    return FileLayout(path, inputs, column, None if roles.split is None else column, table, roles)


def _header(headers: dict[str, ArrayHeader], name: str, *, key: str, path: Path) -> ArrayHeader:
    if name in headers:
        return headers[name]
    there = ", ".join(f"{other} {header.shape}" for other, header in sorted(headers.items()))
    if not there:
        raise DataError(
            f"{path} has no array {name!r} (dataset.{key}); it holds no arrays: save some (of NetCDF only the root "
            "group is read)"
        )
    close = difflib.get_close_matches(name, headers, n=1, cutoff=0.6)
    meant = f"did you mean {close[0]!r}? " if close else ""
    raise DataError(
        f"{path} has no array {name!r} (dataset.{key}); {meant}it holds {there}: set dataset.{key} to one of these"
    )


def _split(layout: FileLayout, settings: FileSettings) -> np.ndarray | None:
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


file = File()
