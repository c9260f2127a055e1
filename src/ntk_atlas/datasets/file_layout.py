"""What a user's file says it holds, checked before anything large is read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ntk_atlas.config.dataset import FileSettings
from ntk_atlas.datasets.checks import check_lengths, check_numeric, check_shape
from ntk_atlas.datasets.errors import DataError
from ntk_atlas.datasets.file_headers import CSV_SUFFIXES, ArrayHeader, file_headers


@dataclass(frozen=True)
class FileLayout:
    """Headers of the arrays in use; they are numeric, not empty, and have one row a sample."""

    path: Path
    x: ArrayHeader
    y: ArrayHeader
    split: ArrayHeader | None

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
    path = Path(settings.path).expanduser()
    headers = file_headers(path)
    if path.suffix in CSV_SUFFIXES:
        headers = _with_inputs(headers, settings)
    found = {}
    for key in ("x", "y", "split"):
        name = getattr(settings, key)
        if name is not None:
            found[key] = _header(headers, name, key=key, path=path)
            check_numeric(found[key].dtype, where=array_place(settings, key))
            check_shape(found[key].shape, where=array_place(settings, key))
            check_lengths(
                found["x"].shape[0],
                found[key].shape[0],
                where_x=array_place(settings, "x"),
                where_other=array_place(settings, key),
            )
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


def input_columns(columns: Iterable[str], settings: FileSettings) -> list[str]:
    """Returns the columns of a CSV that are inputs: all but the target and the split."""
    return [name for name in columns if name not in (settings.y, settings.split)]


def _with_inputs(columns: dict[str, ArrayHeader], settings: FileSettings) -> dict[str, ArrayHeader]:
    inputs = input_columns(columns, settings)
    if not inputs:
        raise DataError(f"{settings.path} (dataset.path) has no columns beside {settings.y!r}: it needs inputs")
    n_samples = columns[inputs[0]].shape[0]
    return {settings.x: ArrayHeader((n_samples, len(inputs)), np.dtype(np.float64))} | {
        name: header for name, header in columns.items() if name not in inputs
    }


def array_place(settings: FileSettings, key: str) -> str:
    """Returns where an array is, for error messages: its name, file and config key."""
    return f"array {getattr(settings, key)!r} of {settings.path} (dataset.{key})"


def _header(headers: dict[str, ArrayHeader], name: str, *, key: str, path: Path) -> ArrayHeader:
    if name in headers:
        return headers[name]
    there = ", ".join(f"{other} {header.shape}" for other, header in sorted(headers.items())) or "no arrays"
    raise DataError(
        f"{path} has no array {name!r} (dataset.{key}); it holds {there}: set dataset.{key} to one of these"
    )
