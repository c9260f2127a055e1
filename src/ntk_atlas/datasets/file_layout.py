"""What a user's file says it holds, checked before anything large is read."""

import difflib
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ntk_atlas.config.dataset import FileSettings, table_suffix
from ntk_atlas.datasets.checks import check_lengths, check_memory, check_numeric, check_shape
from ntk_atlas.datasets.errors import DataError
from ntk_atlas.datasets.file_headers import (
    ArrayHeader,
    array_bytes,
    check_file,
    file_headers,
    no_memory,
    unreadable,
)
from ntk_atlas.datasets.tables import Table, TableRoles, check_columns, read_table, table_roles


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
