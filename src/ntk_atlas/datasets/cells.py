"""Cells of a text table as numbers: which of them are numbers, which are missing, and how numbers are written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["number", "text", "date", "mixed"]
Decimal = Literal["point", "comma"]

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


def column_of(cells: Sequence[str], decimal: Decimal) -> Column:
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


def decimal_signs(cell: str) -> set[Decimal]:
    """Which decimal signs the commas of a cell allow: both for 1,234, none for what is no number with commas."""
    cell = cell.replace("−", "-")
    grouped = _GROUPS.fullmatch(cell)
    if grouped:
        return {"comma" if grouped[2][0] == "," else "point"} if grouped[2] else set()
    signs: set[Decimal] = set()
    if _DECIMAL_COMMA.fullmatch(cell):
        signs.add("comma")
    if _THOUSANDS_COMMA.fullmatch(cell):
        signs.add("point")
    return signs


def is_missing(cell: str) -> bool:
    """Whether a cell is one of the words that stand for no value."""
    return cell.lower() in MISSING


def number(cell: str, decimal: Decimal) -> float | None:
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


def _meaning(cell: str, decimal: Decimal) -> tuple[str, float]:
    low = cell.lower()
    if low in MISSING:
        return "missing", np.nan
    if low in BOOLEANS:
        return "boolean", BOOLEANS[low]
    value = number(cell, decimal)
    if value is not None:
        return "number", value
    return ("date" if _DATE.fullmatch(cell) else "text"), np.nan
