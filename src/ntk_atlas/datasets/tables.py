"""A table of a user's own: its columns, and what they have to be as inputs, targets and split.

Everything that is wrong with the columns in use is said in one message, with column, line and cell.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

import numpy as np

from ntk_atlas.datasets.cells import EXACT, Column
from ntk_atlas.datasets.dataset import DataError
from ntk_atlas.datasets.file_headers import PARQUET_SUFFIXES, table_suffix

if TYPE_CHECKING:
    from ntk_atlas.datasets.sources.file import FileSettings

ENCODE = (
    "write a column of two values as 0 and 1 (np.unique(column, return_inverse=True)[1] or pandas.factorize), one of "
    "several values as a column of 0 and 1 for each (pandas.get_dummies), or remove it"
)


@dataclass(frozen=True, eq=False)
class Table:
    """A table as it is in its file.

    Attributes:
        path: the file.
        columns: by name.
        lines: of each sample, the number of its line, counted from 1, or of its row, counted from 0.
        unit: `line` or `row`.
        remarks: what was left out, as sentences.
        separator: of the cells; None if the file has none.
    """

    path: Path
    columns: Mapping[str, Column]
    lines: Sequence[int]
    unit: str
    remarks: tuple[str, ...] = ()
    separator: str | None = None

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.lines)

    def place(self, row: int) -> str:
        """Where a sample is, in words."""
        return f"{self.unit} {self.lines[row]}"


def read_table(path: Path) -> Table:
    """Reads a table, once as long as its file stays what it is: checks of the config ask several times.

    Args:
        path: a file that is there.

    Returns:
        The table.

    Raises:
        DataError: when it cannot be read.
    """
    found = path.stat()
    return _read_table(path, found.st_size, found.st_mtime_ns, found.st_ino)


@lru_cache(maxsize=2)
def _read_table(path: Path, *_signature: int) -> Table:
    # Imported here: a study without tables must not pay for their readers.
    if table_suffix(path) in PARQUET_SUFFIXES:
        from ntk_atlas.datasets.parquet import read_parquet_table

        return read_parquet_table(path)
    from ntk_atlas.datasets.text_tables import read_text_table

    return read_text_table(path)


@dataclass(frozen=True, eq=False)
class TableRoles:
    """Which columns of a table are inputs, target and split."""

    inputs: tuple[str, ...]
    y: str
    split: str | None


def table_roles(table: Table, settings: "FileSettings") -> TableRoles:
    """Finds the columns that the settings name.

    Args:
        table: the table.
        settings: names of target and split.

    Returns:
        Their names as the table has them, and the inputs, which are all others.

    Raises:
        DataError: when one is missing, or nothing is left for the inputs.
    """
    if settings.x != "X":
        raise DataError(
            f"{table.path} (dataset.path) is a table, whose inputs are all columns but dataset.y and dataset.split: "
            f"remove dataset.x (it is {settings.x!r}), and columns that are no inputs from the file"
        )
    y = _named(table, settings.y, "y")
    split = None if settings.split is None else _named(table, settings.split, "split")
    if split == y:
        raise DataError(f"{table.path}: dataset.y and dataset.split both name the column {y!r}: name two")
    inputs = tuple(name for name in table.columns if name not in (y, split))
    if not inputs:
        raise DataError(f"{table.path} (dataset.path) has no columns beside {y!r}: it needs inputs")
    return TableRoles(inputs, y, split)


def check_columns(table: Table, roles: TableRoles, *, task: str) -> None:
    """Refuses columns in use that hold anything but what they are used for.

    Args:
        table: the table.
        roles: what each column is used for.
        task: `classes`, `binary` or `regression`; class labels may be text.

    Raises:
        DataError: with everything that is wrong, by column and line.
    """
    problems = [*_input_problems(table, roles.inputs), *_target_problems(table, roles.y, task)]
    if roles.split is not None:
        problems += _split_problems(table, roles.split)
    if problems:
        raise DataError(f"{table.path} (dataset.path) cannot be used as it is: {'; '.join(problems)}")


def input_values(table: Table, roles: TableRoles) -> np.ndarray:
    """Returns the inputs `(n_samples, n_inputs)`, float64, of columns that `check_columns` let pass."""
    return np.stack([table.columns[name].values.astype(np.float64) for name in roles.inputs], axis=1)


def _named(table: Table, name: str, key: str) -> str:
    wanted = " ".join(name.split())
    names = list(table.columns)
    found = wanted if wanted in table.columns else _same_letters(wanted, names)
    if found is not None:
        return found
    there = ", ".join(map(_shown, names[:40])) + (f", … ({len(names)} in all)" if len(names) > 40 else "")
    close = difflib.get_close_matches(wanted.lower(), [other.lower() for other in names], n=1, cutoff=0.6)
    meant = next((f"did you mean {other!r}? " for other in names if close and other.lower() == close[0]), "")
    if len(names) == 1 and table.separator is not None:
        meant = f"it has one column ({there}): are its cells separated by something else than , ; | tabs or blanks? "
        raise DataError(f"{table.path} (dataset.path) has no column {name!r} (dataset.{key}); {meant}write commas")
    raise DataError(
        f"{table.path} (dataset.path) has no column {name!r} (dataset.{key}); {meant}its columns are {there}: set "
        f"dataset.{key} to one of these"
    )


def _same_letters(wanted: str, names: Sequence[str]) -> str | None:
    """The name that looks the same: letters with accents may be written as one sign or as two."""
    return next((name for name in names if normalize("NFC", name) == normalize("NFC", wanted)), None)


def _input_problems(table: Table, names: Sequence[str]) -> Iterator[str]:
    columns = {name: table.columns[name] for name in names}
    texts = [_first_cell(table, name, c) for name, c in columns.items() if c.kind == "text"]
    if texts:
        noun = "column" if len(texts) == 1 else "columns"
        units = ""
        if any(c.kind == "text" and any(map(str.isdigit, _first_word(c))) for c in columns.values()):
            units = "write numbers without units, signs of currency or % in the cell; "
        yield (
            f"{noun} {_listed(texts)} {'holds' if len(texts) == 1 else 'hold'} text: {units}inputs are numbers, so "
            f"{ENCODE}"
        )
    dates = [_first_cell(table, name, c) for name, c in columns.items() if c.kind == "date"]
    if dates:
        noun = "column" if len(dates) == 1 else "columns"
        yield (
            f"{noun} {_listed(dates)} {'holds' if len(dates) == 1 else 'hold'} dates: write numbers, e.g. days since "
            "the first one, or remove it"
        )
    for name, column in columns.items():
        if column.kind == "mixed":
            yield _no_numbers(table, name, column)
    missing = [_missing(table, name, c) for name, c in columns.items() if c.missing.any()]
    if missing:
        yield (
            f"values are missing in {_listed(missing)}: drop those lines or columns, or fill in e.g. the column's "
            "median"
        )
    for name, column in columns.items():
        if column.kind == "number":
            yield from _number_problems(table, name, column)


def _target_problems(table: Table, name: str, task: str) -> Iterator[str]:
    column, label = table.columns[name], f"target column {name!r} (dataset.y)"
    if column.kind == "mixed" and task != "regression":
        (first,) = np.flatnonzero(column.odd)[:1]
        yield (
            f"{label} mixes numbers and words ({_shown(column.values[first])} in {table.place(first)}): write all "
            "classes as numbers, or all as words"
        )
    elif column.kind == "mixed":
        yield _no_numbers(table, name, column)
    elif column.kind != "number" and task == "regression":
        holds = "dates" if column.kind == "date" else "text"
        yield f"{label} holds {holds} ({_first_cell(table, name, column)}): write numbers, or set dataset.task: classes"
    if column.missing.any():
        yield (
            f"{label} has missing values ({_missing(table, name, column)}): drop those lines, or, if that word is the "
            "name of a class, give the class another one"
        )
    if column.kind == "number":
        yield from _infinite(table, name, column)


def _split_problems(table: Table, name: str) -> Iterator[str]:
    column = table.columns[name]
    if column.kind != "number":
        yield (
            f"split column {name!r} (dataset.split) holds {_first_cell(table, name, column)}: use only 0 (training "
            "pool), 1 (validation) and 2 (test)"
        )
    elif column.missing.any():
        yield (
            f"split column {name!r} (dataset.split) has missing values ({_missing(table, name, column)}): fill them in"
        )


def _number_problems(table: Table, name: str, column: Column) -> Iterator[str]:
    yield from _infinite(table, name, column)
    if column.values.dtype != object:
        return
    lost = [row for row, value in enumerate(column.values) if abs(value) > EXACT and int(float(value)) != value]
    if lost:
        yield (
            f"column {name!r} has integers with more digits than float64 holds ({column.values[lost[0]]} in "
            f"{table.place(lost[0])}, beyond 2⁵³): subtract an offset, or, if it numbers the samples, remove it"
        )


def _infinite(table: Table, name: str, column: Column) -> Iterator[str]:
    if column.values.dtype == object:
        if any(abs(value) > np.finfo(np.float64).max for value in column.values):
            yield f"column {name!r} has integers beyond the largest float64 (1.8e308): write smaller numbers"
        return
    bad = np.flatnonzero(np.isinf(column.values))
    if bad.size:
        word = str(column.values[bad[0]]) if column.words is None else column.words[bad[0]]
        yield (
            f"column {name!r} has values that are not finite ({bad.size}, the first in {table.place(bad[0])}: "
            f"{_shown(word)}): drop those lines or write numbers below 1.8e308"
        )


def _no_numbers(table: Table, name: str, column: Column) -> str:
    odd = np.flatnonzero(column.odd)
    more = f" and {odd.size - 1} more" if odd.size > 1 else ""
    return (
        f"{table.place(odd[0])}, column {name!r}: {_shown(column.values[odd[0]])} is no number{more}: correct these "
        "cells, or drop their lines"
    )


def _first_cell(table: Table, name: str, column: Column) -> str:
    return f"{name!r} ({_shown(_first_word(column))} in {table.place(int(np.argmax(~column.missing)))})"


def _shown(word: str) -> str:
    """A cell in quotes, not all of a long one."""
    return repr(word if len(word) <= 60 else f"{word[:50]} …")


def _first_word(column: Column) -> str:
    return str(column.values[int(np.argmax(~column.missing))])


def _missing(table: Table, name: str, column: Column) -> str:
    rows = np.flatnonzero(column.missing)
    word = column.words[rows[0]] if column.words is not None else ""
    shown = _shown(word) if word else "an empty cell"
    return f"{name!r} ({rows.size} of {table.n_samples}, the first in {table.place(rows[0])}: {shown})"


def _listed(items: Sequence[str]) -> str:
    """All of them: who encodes columns needs every name."""
    return ", ".join(items)
