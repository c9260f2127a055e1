"""A table of a user's own: its columns, and what they have to be as inputs, targets and split.

A cell of a text table is a number, missing, or neither, whatever way its program writes numbers. Parquet tables are
read by fastparquet, and nothing in them is unpickled. Everything that is wrong with the columns in use is said in one
message, with column, line and cell.
"""

import difflib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from unicodedata import normalize

import numpy as np

from ntk_atlas.datasets.dataset import DataError, check_memory
from ntk_atlas.datasets.file_headers import PARQUET_SUFFIXES, table_suffix

if TYPE_CHECKING:
    from ntk_atlas.datasets.sources.file import FileSettings

Kind = Literal["number", "text", "date", "mixed"]
DecimalMark = Literal["point", "comma"]

MISSING = frozenset(
    "|?|-|--|.|na|n/a|#n/a|nan|+nan|-nan|<na>|null|none|nil|nat|#null!|#div/0!|#value!|#ref!|#num!|#name?".split("|")
)
"""What programs write where there is no value, in lower case."""
BOOLEANS = {"true": 1.0, "false": 0.0}
EXACT = 2**53
"""Float64 holds every integer up to here, and not every one beyond."""

_GROUPS = re.compile(r"([+-]?\d{1,3}(?:[ '’\u00a0\u2009\u202f]\d{3})+)([.,]\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d+|[1-9]\d{0,2}(?:\.\d{3})+)?,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS_COMMA = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?(?:[eE][+-]?\d+)?")
_FORTRAN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)[dD][+-]?\d+")
_DATE = re.compile(
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{2}|\d{4}))(?:[T ].*)?"
    r"|\d{1,2}:\d{2}(?::\d{2}.*)?"
)
ENCODE = (
    "write a column of two values as 0 and 1 (np.unique(column, return_inverse=True)[1] or pandas.factorize), one of "
    "several values as a column of 0 and 1 for each (pandas.get_dummies), or remove it"
)


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a table.

    Attributes:
        kind: `number` (also true and false, as 1 and 0), `text`, `date`, or `mixed` (some cells are numbers).
        values: of numbers, float64 with NaN where a value is missing, or Python integers if some lie beyond 2⁵³; else
            the cells.
        missing: which samples have no value.
        odd: of a mixed column, which cells are no numbers.
        words: the cells as they are written, where a message may have to show one; None if all are plain numbers.
    """

    kind: Kind
    values: np.ndarray
    missing: np.ndarray
    odd: np.ndarray | None = None
    words: Sequence[str] | None = None


def plain_numbers(cells: Sequence[str]) -> np.ndarray | None:
    """Returns the cells as float64 if all are finite numbers in Python's own spelling, None otherwise."""
    try:
        values = np.array(list(map(float, cells)))
    except ValueError:
        return None
    return values if np.isfinite(values).all() and "_" not in "".join(cells) else None


def column_of(cells: Sequence[str], decimal: DecimalMark) -> Column:
    """What the cells of one column are; blanks around cells are gone already.

    Args:
        cells: one a sample.
        decimal: what the table's numbers are written with.

    Returns:
        The column.
    """
    values = plain_numbers(cells)
    if values is not None:
        return number_column(values, cells)
    found = {cell: _meaning(cell, decimal) for cell in set(cells)}
    kinds = np.array([found[cell][0] for cell in cells])
    missing = kinds == "missing"
    present = set(kinds[~missing].tolist())
    if present <= {"number"} or present == {"boolean"}:
        numbers = np.array([found[cell][1] for cell in cells])
        return number_column(numbers, cells, missing)
    texts = np.array(cells, dtype=object)
    odd = ~missing & (kinds != "number")
    if odd.sum() < (~missing).sum():
        return Column("mixed", texts, missing, odd, cells)
    return Column("date" if present == {"date"} else "text", texts, missing, None, cells)


def number_column(values: np.ndarray, words: Sequence[str] | None = None, missing: np.ndarray | None = None) -> Column:
    """Returns a column of numbers; integers that float64 does not hold are kept as Python integers."""
    missing = np.zeros(len(values), bool) if missing is None else missing
    if words is not None and not missing.any() and np.abs(values).max(initial=0.0) >= EXACT:
        try:
            return Column("number", np.array([int(word) for word in words], dtype=object), missing, None, words)
        except ValueError:
            pass  # decimals or exponents among them
    return Column("number", values, missing, None, words)


def decimal_signs(cell: str) -> set[DecimalMark]:
    """Which decimal signs the commas of a cell allow: both for 1,234, none for what is no number with commas."""
    cell = cell.replace("−", "-")
    grouped = _GROUPS.fullmatch(cell)
    if grouped:
        return {"comma" if grouped[2][0] == "," else "point"} if grouped[2] else set()
    signs: set[DecimalMark] = set()
    if _DECIMAL_COMMA.fullmatch(cell):
        signs.add("comma")
    if _THOUSANDS_COMMA.fullmatch(cell):
        signs.add("point")
    return signs


def is_missing(cell: str) -> bool:
    """Whether a cell is one of the words that stand for no value."""
    return cell.lower() in MISSING


def number(cell: str, decimal: DecimalMark) -> float | None:
    """The number that a cell is, None if it is no number.

    Args:
        cell: without blanks around it.
        decimal: the decimal sign; with a point, commas separate thousands, with a comma, points do.

    Returns:
        The nearest float64, infinite for what lies beyond.
    """
    cell = cell.replace("−", "-")
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        pass
    if _FORTRAN.fullmatch(cell):
        return float(cell.lower().replace("d", "e"))
    if grouped := _GROUPS.fullmatch(cell):
        return float(re.sub(r"[ '’\u00a0\u2009\u202f]", "", grouped[1]) + (grouped[2] or "").replace(",", "."))
    if decimal == "comma" and _DECIMAL_COMMA.fullmatch(cell):
        return float(cell.replace(".", "").replace(",", "."))
    if decimal == "point" and _THOUSANDS_COMMA.fullmatch(cell):
        return float(cell.replace(",", ""))
    return None


def _meaning(cell: str, decimal: DecimalMark) -> tuple[str, float]:
    low = cell.lower()
    if low in MISSING:
        return "missing", np.nan
    if low in BOOLEANS:
        return "boolean", BOOLEANS[low]
    value = number(cell, decimal)
    if value is not None:
        return "number", value
    return ("date" if _DATE.fullmatch(cell) else "text"), np.nan


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


def read_parquet_table(path: Path) -> Table:
    """Reads a Parquet file; columns that pandas keeps as the index are left out.

    Args:
        path: the file, which is there.

    Returns:
        Its columns, with rows counted from 0.

    Raises:
        DataError: when it is damaged, or has no columns or rows.
        MemoryError: when memory does not hold it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks pandas for an option that newer ones are about to drop
        import fastparquet

    where = f"{path} (dataset.path)"
    try:
        file = fastparquet.ParquetFile(str(path))
        index = [entry for entry in file.pandas_metadata.get("index_columns", []) if isinstance(entry, str)]
        names = [name for name in file.columns if name not in index]
        n_bytes = sum(chunk.meta_data.total_uncompressed_size for group in file.row_groups for chunk in group.columns)
        check_memory(max(n_bytes, 8 * file.count() * len(names)), where=where)
        frame = file.to_pandas(columns=names, index=False)
    except (DataError, MemoryError):
        raise
    # fastparquet meets damage with whatever error its parsers hit: struct, thrift, index and assertion errors.
    except Exception as error:
        raise DataError(
            f"{where} cannot be read as a Parquet file ({type(error).__name__}: {error}): it may be damaged or half "
            "copied; write it again"
        ) from error
    if not names or not len(frame):
        raise DataError(f"{where} has {len(names)} columns and {len(frame)} rows: write at least one sample")
    remarks = (f"{where}: the index ({', '.join(index)}) is left out",) if index else ()
    return Table(path, {name: _column(frame[name]) for name in names}, range(len(frame)), "row", remarks)


def _column(series) -> Column:
    missing = series.isna().to_numpy(bool)
    kind = getattr(series.dtype, "kind", "O")
    if hasattr(series, "cat"):
        series = series.astype(series.cat.categories.dtype)
        kind = getattr(series.dtype, "kind", "O")
    if kind in "mM":
        return Column("date", series.astype(str).to_numpy(object), missing)
    if kind in "biuf":
        return _numbers(series, missing, kind)
    values = [v.decode(errors="replace") if isinstance(v, bytes) else v for v in series.to_numpy(object)]
    present = [value for value, gone in zip(values, missing, strict=True) if not gone]
    if all(isinstance(value, (bool, int, float, Decimal, np.number)) for value in present):
        floats = [np.nan if gone else float(value) for value, gone in zip(values, missing, strict=True)]
        return number_column(np.array(floats), None, missing)
    words = ["" if gone else str(value).strip() for value, gone in zip(values, missing, strict=True)]
    empty = np.array([not word for word in words])
    return Column("text", np.array(words, dtype=object), missing | empty, None, words)


def _numbers(series, missing: np.ndarray, kind: str) -> Column:
    if kind in "iu" and not missing.any():
        values = series.to_numpy(np.uint64 if kind == "u" else np.int64)
        if values.size and max(int(values.max()), -int(values.min())) >= EXACT:
            return Column("number", values.astype(object), missing)
    return number_column(series.to_numpy(np.float64, na_value=np.nan), None, missing)
