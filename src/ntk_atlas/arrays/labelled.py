"""Named arrays with named dimensions, the one join that makes larger ones of them, and their NetCDF files.

Heavy jobs write and read their files with `write_labelled` and `read_labelled`, without the second it takes a job to
import xarray; `xarray.open_dataset` opens the same files. A file is there whole or not at all.
"""

import errno
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    import netCDF4

Attributes = Mapping[str, str | int | float | np.ndarray]
Grid = Mapping[str, Sequence[object] | np.ndarray | None]
"""Labels of each dimension, in the order in which joined arrays have their dimensions; None for whatever labels the
pieces have, ascending."""

_Places = Mapping[str, Mapping[object, int]]
"""Position of each label, by dimension."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to write, which takes the name `path` when the block ends without an error.

    It is new: whatever has its name, such as a link that somebody put there, is removed and not written through.

    Args:
        path: the file; its folder is made.

    Yields:
        Path of an empty file beside it, `.<name>.<process>.tmp`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_passing(error: BaseException) -> bool:
    """Whether an error in reading comes from what lies around the file, so that its contents may well be right.

    Examples: missing rights, no free descriptors or memory, a disk or a file server that does not answer. Readers of
    damaged files raise OSError without a number, with the number of an invalid argument (a position before the start),
    or with a negative number (NetCDF).

    Args:
        error: what was raised.

    Returns:
        True for errors of the system.
    """
    if isinstance(error, OSError):
        return error.errno is not None and error.errno > 0 and error.errno != errno.EINVAL
    return isinstance(error, MemoryError)


@dataclass(frozen=True, eq=False)
class LabelledArray:
    """An array, the names of its dimensions, and what is said of it.

    Attributes:
        dims: one name an axis.
        values: numbers, or text as an object array.
        attributes: e.g. `long_name`, `units`.
    """

    dims: tuple[str, ...]
    values: np.ndarray
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LabelledArrays:
    """Arrays that belong together; one that is named like its only dimension is a coordinate, the labels along it."""

    arrays: Mapping[str, LabelledArray]
    attributes: Attributes = field(default_factory=dict)

    @classmethod
    def of(cls, variables: Mapping[str, tuple[Sequence[str], object]], **labels: Sequence[object] | np.ndarray) -> Self:
        """Arrays from their values.

        Args:
            variables: dimensions and values by name.
            **labels: the coordinates, by dimension.
        """
        arrays = {dim: ((dim,), list(values)) for dim, values in labels.items()} | dict(variables)
        return cls({name: LabelledArray(tuple(dims), _array(values)) for name, (dims, values) in arrays.items()})

    def __getitem__(self, name: str) -> np.ndarray:
        """The values of an array."""
        return self.arrays[name].values

    @cached_property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates."""
        return tuple(name for name, array in self.arrays.items() if array.dims == (name,))

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Names of all other arrays."""
        return tuple(name for name in self.arrays if name not in self.coordinates)

    def at(self, **labels: object) -> Self:
        """The same arrays with a place: each of `labels` is a new first dimension, of size one, of every variable."""
        new = LabelledArrays.of({}, **{dim: [label] for dim, label in labels.items()}).arrays
        axes = (np.newaxis,) * len(labels)
        placed = {
            name: array
            if name in self.coordinates
            else replace(array, dims=(*labels, *array.dims), values=array.values[axes])
            for name, array in self.arrays.items()
        }
        return replace(self, arrays={**new, **placed})

    def only(self, names: Collection[str]) -> Self:
        """The variables that are named, with the coordinates that they have."""
        dims = {dim for name in self.variables if name in names for dim in self.arrays[name].dims}
        kept = [name for name in self.arrays if name in (dims if name in self.coordinates else names)]
        return replace(self, arrays={name: self.arrays[name] for name in kept})

    def described(self, attributes: Mapping[str, Attributes]) -> Self:
        """The same arrays, those that are named with these attributes instead of their own."""
        arrays = self.arrays.items()
        return replace(
            self, arrays={name: replace(a, attributes=attributes.get(name, a.attributes)) for name, a in arrays}
        )

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same arrays, those that are in `names` under the name there."""
        return replace(self, arrays={names.get(name, name): array for name, array in self.arrays.items()})

    def with_attributes(self, **attributes: str) -> Self:
        """The same arrays with more attributes."""
        return replace(self, attributes={**self.attributes, **attributes})


def _array(values: object) -> np.ndarray:
    array = np.asarray(values)
    return array.astype(object) if array.dtype.kind == "U" else array


def write_labelled(contents: LabelledArrays, path: str | Path) -> None:
    """Writes compressed NetCDF-4 with checksums, whole or not at all: under a temporary name first, then renamed.

    Args:
        contents: what to write.
        path: the file; its folder is made.
    """
    import netCDF4

    with whole_file(Path(path)) as temporary, netCDF4.Dataset(temporary, "w") as file:
        file.setncatts(dict(contents.attributes))
        for name, array in contents.arrays.items():
            _write(file, name, array)


def read_labelled(path: str | Path, names: Sequence[str] | None = None, *, drop: Sequence[str] = ()) -> LabelledArrays:
    """Reads a file into memory and closes it.

    Args:
        path: the file.
        names: arrays to read; None for all.
        drop: arrays that are left out.

    Returns:
        Its contents, values as they were written.
    """
    import netCDF4

    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        arrays = {
            name: LabelledArray(variable.dimensions, variable[...], variable.__dict__)
            for name, variable in file.variables.items()
            if (names is None or name in names) and name not in drop
        }
        return LabelledArrays(arrays, file.__dict__)


def _write(file: "netCDF4.Dataset", name: str, array: LabelledArray) -> None:
    values = np.asarray(array.values)
    for dim, size in zip(array.dims, values.shape, strict=True):
        if dim not in file.dimensions:
            file.createDimension(dim, size)
    text = values.dtype.kind in "OU"
    # Readers are told of flipped bits; only what has chunks can have checksums.
    in_chunks = not text and values.ndim > 0
    variable = file.createVariable(
        name,
        str if text else values.dtype,
        array.dims,
        fletcher32=in_chunks,
        zlib=in_chunks and values.ndim > 1,
        complevel=4,
    )
    variable.setncatts(dict(array.attributes))
    variable[...] = values.astype(object) if text else values


def join(pieces: Iterable[LabelledArrays], grid: Grid) -> LabelledArrays:
    """Puts the arrays of pieces where their labels say.

    Args:
        pieces: each with coordinates on the dimensions along which pieces differ. Where two pieces have a place in
            common, the later one counts. A piece need not have every array.
        grid: the labels to join on; dimensions that no piece has do no harm. A dimension outside the grid must have
            the same labels, or size, in all pieces.

    Returns:
        Each array that any piece has, over its dimensions: those of the grid first, in the grid's order, then the
        others as the array has them. What no piece has is NaN, −1 in integers, empty in text.

    Raises:
        ValueError: if a label is not on the grid, or pieces differ in a dimension outside the grid.
    """
    pieces = list(pieces)
    labels = _labels(pieces, grid)
    by_name: dict[str, list[LabelledArrays]] = {}
    for piece in pieces:
        for name in piece.variables:
            by_name.setdefault(name, []).append(piece)
    places = {dim: {_key(label): i for i, label in enumerate(of_dim)} for dim, of_dim in labels.items()}
    coordinates = {dim: LabelledArray((dim,), of_dim) for dim, of_dim in labels.items()}
    return LabelledArrays(
        coordinates | {name: _joined(name, having, grid, labels, places) for name, having in by_name.items()}
    )


def filled(shape: Sequence[int], dtype: np.dtype | str) -> np.ndarray:
    """An array of what stands for "not there": NaN for floats, −1 for integers, nothing for text."""
    kind = np.dtype(dtype).kind
    return np.full(shape, np.nan if kind == "f" else "" if kind in "OU" else -1, dtype=dtype)


def _labels(pieces: Sequence[LabelledArrays], grid: Grid) -> dict[str, np.ndarray]:
    """The labels of each dimension of the joined arrays that has any.

    Raises:
        ValueError: if pieces differ in a dimension outside the grid.
    """
    found: dict[str, list[np.ndarray]] = {}
    for piece in pieces:
        for name in piece.coordinates:
            found.setdefault(name, []).append(piece[name])
    labels = {}
    for dim in (*(dim for dim in grid if dim in found), *(dim for dim in found if dim not in grid)):
        first, wanted = found[dim][0], grid.get(dim)
        if wanted is not None:
            labels[dim] = np.array(wanted, dtype=object if first.dtype.kind == "O" else None)
        elif dim in grid:
            labels[dim] = np.unique(np.concatenate(found[dim]))
        elif any(not np.array_equal(first, other) for other in found[dim]):
            raise ValueError(f"what is joined differs in {dim}: {first.tolist()} is not what all have")
        else:
            labels[dim] = first
    return labels


def _joined(
    name: str, pieces: Sequence[LabelledArrays], grid: Grid, labels: Mapping[str, np.ndarray], places: _Places
) -> LabelledArray:
    first = pieces[0].arrays[name]
    dims = (*(dim for dim in grid if dim in first.dims), *(dim for dim in first.dims if dim not in grid))
    sizes = dict(zip(first.dims, first.values.shape, strict=True))
    shape = tuple(len(labels[dim]) if dim in labels else sizes[dim] for dim in dims)
    placed = []
    for piece in pieces:
        array = piece.arrays[name]
        if set(array.dims) != set(dims):
            raise ValueError(f"{name} has the dimensions {array.dims} here and {first.dims} there")
        values = array.values.transpose([array.dims.index(dim) for dim in dims])
        where = [_where(dim, piece, labels, places) for dim in dims]
        if len(pieces) == 1 and values.shape == shape and all(at == slice(None) for at in where):
            return LabelledArray(dims, values, array.attributes)  # probe kernels may be large: no copy
        placed.append((values, where))
    whole = filled(shape, placed[0][0].dtype)
    for values, where in placed:
        place: tuple[slice | list[int] | np.ndarray, ...] = tuple(where)
        if sum(isinstance(at, list) for at in where) > 1:
            place = np.ix_(*[np.arange(n)[at] for n, at in zip(shape, where, strict=True)])
        if whole[place].shape != values.shape:
            raise ValueError(f"{name} is {values.shape} where {whole[place].shape} is its place")
        whole[place] = values
    return LabelledArray(dims, whole, first.attributes)


def _where(dim: str, piece: LabelledArrays, labels: Mapping[str, np.ndarray], places: _Places) -> slice | list[int]:
    """Where the labels of a piece lie: a slice where they follow each other.

    Raises:
        ValueError: if a label is not there.
    """
    if dim not in labels or dim not in piece.arrays or np.array_equal(piece[dim], labels[dim]):
        return slice(None)
    try:
        at = [places[dim][_key(label)] for label in piece[dim]]
    except KeyError as error:
        raise ValueError(f"{dim} {error.args[0]} is not on the grid: {list(places[dim])}") from None
    first = at[0] if at else 0
    return slice(first, first + len(at)) if at == list(range(first, first + len(at))) else at


def _key(label: object) -> object:
    """A label as it is looked up: NumPy's numbers are Python's."""
    return label.item() if isinstance(label, np.generic) else label
