"""Arrays with named dimensions, from a finished unit to the cube: one type, one join, units on disk, whole files.

Nothing here imports xarray: heavy jobs write and read NetCDF with `write_labelled` and `read_labelled`, without the
second that its import takes; `xarray.open_dataset` opens the same files. A file is there whole or not at all. What
became of a network or a solve is a value in an array (`Status`), never an exception.

A finished unit of work lies at `<folder>/<unit>/<digest>/seeds-<first>-<last>.npz`, so that nothing finished is ever
computed again. The digest names everything its numbers depend on; the file is written under a temporary name and
renamed, so a unit found is whole; it holds the dimensions of its arrays; and it says inside which unit it is (name,
digest, seeds), so that a file copied to the place of another unit is noticed by whoever reads it. The store lies beside
the outputs that Snakemake declares, and deletes, around it. Beside a unit that is not finished may lie
`progress-seeds-….ckpt`, from which its work goes on, and `timed_out-seeds-…`, which says that it was stopped. Both go
when all of their seeds are finished, whatever blocks they were finished in.
"""

import errno
import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self
from zipfile import ZipFile, ZipInfo

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


log = logging.getLogger(__name__)

_SEEDS = r"seeds-(\d+(?:-\d+)*)"
_NAMES = re.compile(rf"{_SEEDS}\.npz|progress-{_SEEDS}\.ckpt|timed_out-{_SEEDS}")
"""Of a block, a state and a mark."""
_OWNER = "_unit"
"""Array of a block that holds `UnitStore.owner`."""
_DIMS = "_dims"
"""Array of a block that holds the dimensions of all others, as JSON text."""


def unit_digest(*parts: object) -> str:
    """16 hexadecimal digits that change when any of the parts (JSON values) does."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class LostUnitError(FileNotFoundError):
    """A unit that was finished is gone, or its file is damaged or another unit's: its row has to be run again."""


@contextmanager
def made_again_if_lost(row_file: Path) -> Iterator[None]:
    """Removes the file of a row if a unit that it was joined from is lost, so that the next run makes both again.

    Raises:
        LostUnitError: what the block raised.
    """
    try:
        yield
    except LostUnitError:
        row_file.unlink(missing_ok=True)
        raise


class UnitStore:
    """The finished units below one folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, unit: str, digest: str, seeds: Sequence[int]) -> Path:
        """Where a block of seeds of a unit lies."""
        return self.folder / unit / digest / f"seeds-{'-'.join(map(str, seeds))}.npz"

    def progress(self, unit: str, digest: str, seeds: Sequence[int]) -> Path:
        """Where the state of a block under way lies; it is removed when the block is finished."""
        return self.path(unit, digest, seeds).with_name(f"progress-seeds-{'-'.join(map(str, seeds))}.ckpt")

    def finished(self, unit: str, digest: str) -> dict[tuple[int, ...], Path]:
        """The finished blocks of a unit: seeds → file."""
        return _blocks(self.folder / unit / digest)

    def done(self, unit: str, digest: str, seeds: Sequence[int]) -> tuple[int, ...]:
        """Those of `seeds` that a finished block has, by its name."""
        there = finished_seeds(self.folder / unit / digest)
        return tuple(seed for seed in seeds if seed in there)

    def owner(self, unit: str, digest: str, seeds: Sequence[int]) -> str:
        """What a block or a state says inside of whose it is, as JSON text; stage and row are for human readers."""
        *_, stage, row = ("", *self.folder.parts)
        named = {"stage": stage, "row": row, "unit": unit, "digest": digest, "seeds": [int(seed) for seed in seeds]}
        return json.dumps(named)

    def fault(self, unit: str, digest: str, seeds: Sequence[int], names: Sequence[str] = ()) -> str | None:
        """What is wrong with the file of a block, in a few words; None if nothing is.

        Args:
            unit: name of the unit.
            digest: digest of what it depends on.
            seeds: seeds of the block.
            names: arrays that it must hold.

        Raises:
            OSError: if it cannot be read for reasons that lie around it (rights, a file server).
        """
        try:
            with np.load(self.path(unit, digest, seeds), allow_pickle=False) as arrays:
                if broken := arrays.zip.testzip():
                    return f"{broken} was changed"
                if _DIMS not in arrays.files:
                    return "it does not say its dimensions: an older version wrote it"
                if lacking := [name for name in names if name not in arrays.files]:
                    return f"it has no {', '.join(lacking)}"
                for member in arrays.zip.infolist():
                    if wrong := _member_fault(arrays.zip, member):
                        return wrong
                return _owner_fault(arrays, self.owner(unit, digest, seeds))
        except Exception as error:  # whatever a flipped bit makes of an archive
            if is_passing(error):
                raise
            return f"it cannot be read: {type(error).__name__}"

    def missing(self, unit: str, digest: str, seeds: Sequence[int], names: Sequence[str] = ()) -> tuple[int, ...]:
        """Those of `seeds` that no finished block has; a file that is damaged or another unit's is named and removed.

        Args:
            unit: name of the unit.
            digest: digest of what it depends on.
            seeds: the seeds wanted.
            names: arrays that a block must hold; one without them is not of this store.

        Returns:
            The seeds.

        Raises:
            OSError: if a block cannot be read for reasons that lie around it (rights, a file server): it stays.
        """
        done: set[int] = set()
        for block, file in self.finished(unit, digest).items():
            fault = self.fault(unit, digest, block, names)
            if fault is None:
                done.update(block)
            else:
                log.warning("%s is damaged: it is removed and computed again (%s)", file, fault)
                file.unlink()
        return tuple(seed for seed in seeds if seed not in done)

    def mark_timed_out(self, unit: str, digest: str, seeds: Sequence[int]) -> None:
        """Says that a block reached its time limit; the mark goes when it is finished."""
        mark = self._mark(unit, digest, seeds)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()

    def timed_out(self, unit: str, digest: str) -> tuple[int, ...]:
        """Seeds of a unit that are not finished because they reached their time limit."""
        marks = (self.folder / unit / digest).glob("timed_out-seeds-*")
        stopped = {seed for mark in marks for seed in seeds_of(mark)}
        return tuple(sorted(stopped - set(self.done(unit, digest, sorted(stopped)))))

    def under_way(self, unit: str, digest: str) -> tuple[int, ...]:
        """Seeds of a unit whose training left a state from which it goes on."""
        states = (self.folder / unit / digest).glob("progress-seeds-*.ckpt")
        return tuple(sorted({seed for state in states for seed in seeds_of(state)}))

    def remove_overtaken(self, unit: str, digest: str) -> None:
        """Removes the states and marks of a unit of which every seed is finished.

        Their blocks need not be those that are finished now: another `seeds_per_unit` cuts the seeds into others.
        """
        folder = self.folder / unit / digest
        finished = finished_seeds(folder)
        for file in (*folder.glob("progress-seeds-*.ckpt"), *folder.glob("timed_out-seeds-*")):
            if seeds_of(file) and finished.issuperset(seeds_of(file)):
                file.unlink(missing_ok=True)

    def remove_temporaries(self) -> None:
        """Removes what processes left below the folder that were killed while they wrote.

        To be called by the one job that writes here, before it does: a row's units of a stage have no other, and the
        launcher ends what a killed run left at work. A process that is at work all the same (its Snakemake was killed
        and the folder unlocked by hand) at worst fails to rename its file.
        """
        for file in self.folder.rglob(".*.tmp"):
            file.unlink(missing_ok=True)

    def save(self, unit: str, digest: str, seeds: Sequence[int], contents: LabelledArrays) -> Path:
        """Writes a finished block.

        Args:
            unit: name of the unit.
            digest: digest of what it depends on.
            seeds: seeds of the block, in the order in which they are along the dimension `seed`.
            contents: its arrays, with a coordinate on every dimension along which units are joined but `seed`.

        Returns:
            The file.
        """
        path = self.path(unit, digest, seeds)
        arrays = {name: array.values for name, array in contents.arrays.items() if name != "seed"}
        arrays = {name: values.astype(str) if values.dtype.kind == "O" else values for name, values in arrays.items()}
        dims = {name: contents.arrays[name].dims for name in arrays}
        own = {_OWNER: np.array(self.owner(unit, digest, seeds)), _DIMS: np.array(json.dumps(dims))}
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays, **own)  # type: ignore[arg-type]  # no array is called `allow_pickle`
            file.flush()
            os.fsync(file.fileno())
        self.remove_overtaken(unit, digest)
        return path

    def load(
        self, unit: str, digest: str, seeds: Sequence[int], names: Sequence[str] = (), *, partial: bool = False
    ) -> LabelledArrays:
        """Arrays of the given seeds, in their order, joined from the blocks that hold them.

        Args:
            unit: name of the unit.
            digest: digest of what it depends on.
            seeds: the seeds wanted.
            names: arrays that are wanted, and must be there; all that are there if none is named.
            partial: whether seeds may be missing: they are left out.

        Returns:
            The arrays with their coordinates; none if all seeds are missing.

        Raises:
            LostUnitError: if a seed is in no block, and may not be, or in a block that is damaged or another unit's,
                which is removed; the message says how to get it back.
        """
        blocks = {block: set(block) & set(seeds) for block in self.finished(unit, digest)}
        there = set().union(*blocks.values())
        absent = [seed for seed in seeds if seed not in there]
        if absent and not partial:
            raise LostUnitError(
                f"{self.folder / unit / digest} has no seed {', '.join(map(str, absent))}: it was removed after "
                "it had been computed; run again, which computes it (if the row's file is still there, delete it first)"
            )
        pieces = [self._read(unit, digest, block, names, wanted) for block, wanted in blocks.items() if wanted]
        return join(pieces, {"seed": [seed for seed in seeds if seed in there]})

    def refile(self, unit: str, digest: str, new: str) -> None:
        """Files the finished blocks of a unit under another digest, and says so inside of them.

        For a unit whose numbers another version of the code gives too. States and marks of unfinished blocks stay: they
        go on with the code that left them, or begin anew.

        Args:
            unit: name of the unit.
            digest: under which it lies.
            new: under which it is to be found.
        """
        for block, file in self.finished(unit, digest).items():
            with np.load(file, allow_pickle=False) as arrays:
                contents = {name: arrays[name] for name in arrays.files}
            contents[_OWNER] = np.array(self.owner(unit, new, block))
            with whole_file(self.path(unit, new, block)) as temporary, temporary.open("wb") as written:
                np.savez(written, **contents)
                written.flush()
                os.fsync(written.fileno())
            file.unlink()

    def peek(self, unit: str, digest: str, block: Sequence[int], names: Sequence[str]) -> dict[str, np.ndarray]:
        """Some small arrays of a block, which is not read further nor removed if it is damaged.

        Raises:
            ValueError: if it is another unit's; or whatever reading a damaged file raises.
        """
        with np.load(self.path(unit, digest, block), allow_pickle=False) as arrays:
            if fault := _owner_fault(arrays, self.owner(unit, digest, block)):
                raise ValueError(f"{self.path(unit, digest, block)}: {fault}")
            return {name: arrays[name] for name in names}

    def _read(
        self, unit: str, digest: str, block: Sequence[int], names: Sequence[str], wanted: Collection[int]
    ) -> LabelledArrays:
        """The wanted seeds of a block.

        Raises:
            LostUnitError: if it is damaged or another unit's; it is removed.
        """
        if fault := self.fault(unit, digest, block, names):
            file = self.path(unit, digest, block)
            file.unlink()
            raise LostUnitError(
                f"{file} is damaged ({fault}), and was removed: run again, which computes it (if the row's file is "
                "still there, delete it first)"
            )
        chosen = [place for place, seed in enumerate(block) if seed in wanted]
        found = {"seed": LabelledArray(("seed",), np.array(block)[chosen])}
        with np.load(self.path(unit, digest, block), allow_pickle=False) as arrays:
            dims_of = json.loads(str(arrays[_DIMS]))
            used = {dim for name, dims in dims_of.items() if not names or name in names for dim in dims}
            for name, dims in dims_of.items():
                if name in used or not names or name in names:
                    values = arrays[name]
                    if "seed" in dims and len(chosen) < len(block):
                        values = values.take(chosen, axis=dims.index("seed"))
                    values = values.astype(object) if values.dtype.kind == "U" else values
                    found[name] = LabelledArray(tuple(dims), values)
        return LabelledArrays(found)

    def _mark(self, unit: str, digest: str, seeds: Sequence[int]) -> Path:
        return self.path(unit, digest, seeds).with_name(f"timed_out-seeds-{'-'.join(map(str, seeds))}")


def seeds_of(file: Path) -> tuple[int, ...]:
    """The seeds in the name of a block, a state or a mark; none in any other name."""
    match = _NAMES.fullmatch(file.name)
    return tuple(map(int, match[match.lastindex].split("-"))) if match and match.lastindex else ()


def finished_seeds(folder: Path) -> set[int]:
    """The seeds of all finished blocks in the folder of a unit, by their names."""
    return {seed for block in _blocks(folder) for seed in block}


def _member_fault(archive: ZipFile, member: ZipInfo) -> str | None:
    """Whether a member is an array of plain numbers or text, as long as its head says; nothing of it is loaded."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_head(file)
        if dtype.hasobject:
            return f"{member.filename} holds objects"
        if file.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
            return f"{member.filename} is not as long as it says"
    return None


def _owner_fault(arrays: Mapping[str, np.ndarray], expected: str) -> str | None:
    """Whether a block says that it is another one than `expected`."""
    if _OWNER not in arrays:
        return "it does not say which unit it is"
    found, wanted = json.loads(str(arrays[_OWNER])), json.loads(expected)
    if any(found[name] != wanted[name] for name in ("unit", "digest", "seeds")):
        seeds = "-".join(map(str, found["seeds"]))
        return f"it is another unit: {found['stage']}, {found['row']}, {found['unit']}, seeds {seeds}"
    return None


def _blocks(folder: Path) -> dict[tuple[int, ...], Path]:
    return {seeds: file for file in sorted(folder.glob("seeds-*.npz")) if (seeds := seeds_of(file))}


class Status(IntEnum):
    """Status flags; `meanings` documents them in the cube."""

    MISSING = -1
    CONVERGED = 0
    BUDGET_SPENT = 1
    DIVERGED = 2
    JITTERED = 3
    SINGULAR = 4
    TIMED_OUT = 5

    @property
    def meaning(self) -> str:
        """One word-group a flag, as CF's `flag_meanings` wants it."""
        return self.name.lower()


NOT_TRAINED = (int(Status.MISSING), int(Status.TIMED_OUT))
"""Flags of networks that have no result, or not yet."""
