"""Tables as programs write them: separators, quotes, comments, encodings and line ends are found out from the text.

One splitter into cells, the standard library's `csv`, serves names, samples and messages; where nothing but plain
numbers follows the names, pandas reads the same cells a dozen times faster.
"""

import codecs
import csv
import gzip
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import psutil

from ntk_atlas.datasets.dataset import DataError
from ntk_atlas.datasets.tables import (
    EXACT,
    DecimalMark,
    Table,
    column_of,
    decimal_signs,
    is_missing,
    number,
    number_column,
    plain_numbers,
)

SEPARATORS = (",", ";", "\t", "|")
LARGE = 2**21
"""Bytes from which on pandas is worth its import."""

_SAMPLE = 100
_HEAD = 2**18
"""Characters in which the separator is looked for."""
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")
_DECIMALS = re.compile(rb",(?:\d{1,2}|\d{4,})(?!\d)")
"""After a comma between thousands there are three digits."""
_OTHER_FORMATS = (
    (b"PK\x03\x04", "is a zip archive or an Excel workbook: unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "is an Excel workbook: save the sheet as CSV"),
    (b"PAR1", "is a Parquet file: let its name end in .parquet"),
    (b"\x89HDF", "is a NetCDF-4 or HDF5 file: let its name end in .nc"),
    (b"CDF", "is a NetCDF file: let its name end in .nc"),
    (b"BZh", "is packed by bzip2: unpack it (.gz is read as it is)"),
    (b"\xfd7zXZ", "is packed by xz: unpack it (.gz is read as it is)"),
    (b"\x28\xb5\x2f\xfd", "is packed by zstd: unpack it (.gz is read as it is)"),
)
_OTHER_TEXTS = (
    ((b"<!doctype", b"<html", b"<?xml"), "is a web page, not a table: download the table itself"),
    (b"{", "is JSON, not a table: write it as one (pandas.read_json, DataFrame.to_csv)"),
    (b"@relation", "is an ARFF file: write it as a CSV, with a line of names"),
    (b"version https://git-lfs", "stands for a file that Git LFS has not fetched: git lfs pull"),
)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class _Record:
    """One line of cells, or several lines if a quoted cell goes on."""

    cells: list[str]
    line: int
    last_line: int


def read_text_table(path: Path) -> Table:
    """Reads a table of any of the usual dialects.

    Args:
        path: the file, which is there.

    Returns:
        Its columns, with the line of each sample and remarks on what was left out.

    Raises:
        DataError: for what cannot be read with certainty; the message names file, line and what to do.
    """
    content = _content(path)
    text, remarks = _decoded(content, path)
    text, separator, first_line = _separator_line(text)
    if separator is None:
        separator = _separator(text[:_HEAD])
    where = f"{path} (dataset.path)"
    names_record, from_comment = _names(text, separator, where, first_line)
    fast = None
    if len(content) > LARGE and text.isascii() and not from_comment and first_line == 1:
        fast = _plain_table(content, names_record, separator)
    if fast is None:
        samples = list(_records(text, separator, first_line))
        if len(samples) == 1 and not from_comment and _comment_remarks(text, names_record, where):
            raise DataError(
                f"{where}: all lines below the names begin with #, as comments do: put those cells in quotes"
            )
        _refuse_open_quote(text, samples, where)
        if not from_comment:
            samples = samples[1:]
        while samples and not any(samples[-1].cells):
            samples.pop()
        names, rows, index_remark = _rows(names_record, samples, separator, where)
        lines: Sequence[int] = [sample.line for sample in samples]
        remarks += _comment_remarks(text, names_record, where) + index_remark
    else:
        names, rows, lines = names_record.cells, [], fast[1]
    _check_names(names, names_record.line, where)
    if fast is None:
        decimal = _decimal(names, rows, lines, where)
        columns = {name: column_of(cells, decimal) for name, cells in zip(names, rows, strict=True)}
    else:
        columns = {name: number_column(values) for name, values in zip(names, fast[0].T, strict=True)}
    return _without_index(Table(path, columns, lines, "line", tuple(remarks), separator), where)


def _content(path: Path) -> bytes:
    with path.open("rb") as stream:
        head = stream.read(512)
    if head[:2] == b"\x1f\x8b":
        content = _unpacked(path)
        head = content[:512]
    else:
        content = path.read_bytes()
    for magic, what in _OTHER_FORMATS:
        if head.startswith(magic):
            raise DataError(f"{path} (dataset.path) {what}")
    for beginning, what in _OTHER_TEXTS:
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(beginning):
            raise DataError(f"{path} (dataset.path) {what}")
    return content


def _unpacked(path: Path) -> bytes:
    """The bytes of a gzipped file, which may be a thousand times its size.

    Raises:
        DataError: when they do not fit into memory.
    """
    limit, parts, size = psutil.virtual_memory().available // 4, [], 0
    with gzip.open(path) as stream:
        while part := stream.read(2**24):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise DataError(
                    f"{path} (dataset.path) unpacks to more than {size / 2**30:.1f} GiB, a quarter of the memory that "
                    "is free: take fewer samples, or save numbers as .npz"
                )
    return b"".join(parts)


def _decoded(content: bytes, path: Path) -> tuple[str, list[str]]:
    """The text, and what has to be said of its encoding.

    Raises:
        DataError: when it is no text.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    if encoding is None:
        # Latin letters in UTF-16 have a byte of zeros each.
        even, odd = (content[start:2000:2].count(0) for start in (0, 1))
        in_pairs = max(even, odd) > len(content[:2000]) // 4
        encoding = "utf-8" if not in_pairs else "utf-16-be" if even > odd else "utf-16-le"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding not in ("utf-8", "utf-8-sig"):
            raise DataError(
                f"{path} (dataset.path) cannot be read as {encoding} text ({error.reason} at byte {error.start}): it "
                "is damaged or no table; write it again, as UTF-8"
            ) from None
        text = content.decode("cp1252" if not set(content) & {0x81, 0x8D, 0x8F, 0x90, 0x9D} else "latin-1")
        return _without_nulls(text, path), [
            f"{path} (dataset.path): it is not UTF-8 and was read as Windows-1252, look at its names"
        ]
    return _without_nulls(text, path), []


def _without_nulls(text: str, path: Path) -> str:
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            f"{path} (dataset.path), line {line} holds a NUL byte: it is damaged or no table of text; write it again"
        )
    return text


def _lines(text: str) -> Iterator[str]:
    """Lines with their ends, one at a time; other signs that Unicode calls line breaks belong to cells."""
    return (found.group() for found in _LINE.finditer(text))


def _separator_line(text: str) -> tuple[str, str | None, int]:
    """Takes away Excel's first line `sep=;`; returns the rest, the separator, and the number of its first line."""
    found = re.match(r'"?sep=(.)"?(?:\r\n|\r|\n)', text)
    return (text, None, 1) if found is None else (text[found.end() :], found[1], 2)


def _separator(text: str) -> str:
    """The separator whose cells agree best with the names; a comma for one column, blanks if nothing else is there."""
    best, separator = (0.0, 1), ","
    for candidate in (*SEPARATORS, " "):
        if candidate == " " and best[1] > 1:
            break
        head = [record.cells for record in islice(_records(text, candidate, 1), _SAMPLE)]
        if not head:
            break
        n_names = len([cell for cell in head[0] if cell] if candidate == " " else head[0])
        agree = [len(cells) in (n_names, n_names + 1) for cells in head[1:]]
        score = (sum(agree) / max(len(agree), 1) if agree else 1.0, n_names)
        if n_names > 1 and (candidate != " " or score[0] > 0.5) and score > best:
            best, separator = score, candidate
    return separator


def _records(text: str, separator: str, first_line: int) -> Iterator[_Record]:
    """Lines as cells, without blank lines and comments, blanks around cells gone."""
    current, quote = first_line - 1, _quote(text)

    def lines() -> Iterator[str]:
        nonlocal current
        has_comments = "#" in text
        quoted = False
        for line in _lines(text):
            current += 1
            if has_comments:
                if not quoted and line.lstrip().startswith("#"):
                    continue
                quoted ^= line.count(quote) % 2 == 1
            yield line

    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(lines(), delimiter=separator, skipinitialspace=True, quotechar=quote)
    read = 0
    for cells in reader:
        n_lines, read = reader.line_num - read, reader.line_num
        if len(cells) > 1 or (cells and cells[0].strip()):
            stripped = [cell.strip() for cell in cells]
            if separator == " " and not stripped[-1]:
                stripped.pop()  # blanks at the end of the line
            yield _Record(stripped, current - n_lines + 1, current)


def _quote(text: str) -> str:
    """The sign that quotes the first name; `"` if it is not quoted."""
    return "'" if re.match(r"\s*'[^'\n]*'\s*[,;\t|]", text) else '"'


def _refuse_open_quote(text: str, records: list[_Record], where: str) -> None:
    """A quote that is never closed takes the rest of the file into one cell.

    Raises:
        DataError: with the line of the quote.
    """
    if not records or records[-1].line == records[-1].last_line:
        return
    rest = list(islice(_lines(text), records[-1].line - 1, None))
    if "".join(rest).count(_quote(text)) % 2 == 1:
        raise DataError(f"{where}, line {records[-1].line}: a quote is opened and never closed; close it")


def _names(text: str, separator: str, where: str, first_line: int) -> tuple[_Record, bool]:
    """The line of names; and whether it is a comment above the samples, as NumPy's savetxt writes it.

    Raises:
        DataError: when there are no lines.
    """
    first = next(_records(text, separator, first_line), None)
    if first is None:
        said = "every line of it begins with #" if text.strip() else "it is empty"
        raise DataError(f"{where} has no line of names ({said}): its first line must name every column, once")
    if not _has_numbers(first.cells):
        return first, False
    comments = [(i, line) for i, line in enumerate(_lines(text), first_line) if line.lstrip().startswith("#")]
    above = [(i, line) for i, line in comments if i < first.line]
    for i, line in above[-1:]:
        names = next(_records(line.lstrip().lstrip("#"), separator, i), None)
        if names is not None and len(names.cells) == len(first.cells) and not _has_numbers(names.cells):
            return names, True
    return first, False


def _has_numbers(cells: list[str]) -> bool:
    """Whether a line is of samples, not of names; whole numbers beside words may be names (0, 1, 2, y; 2019, 2020)."""
    digits = [cell for cell in cells if any(map(str.isdigit, cell))]  # nan and inf are words here
    numbers = [cell for cell in digits if number(cell, "point") is not None or decimal_signs(cell)]
    whole = all(cell.isdigit() for cell in numbers) and len(set(numbers)) == len(numbers)
    words = [cell for cell in cells if cell and cell not in numbers]
    return bool(numbers) and not (whole and words)


def _check_names(names: list[str], line: int, where: str) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1 and name)
    what = None
    if _has_numbers(names):
        what = f"no line of names (line {line} holds numbers)"
    elif repeated:
        places = [i + 1 for i, name in enumerate(names) if name == repeated[0]]
        what = f"a column twice ({', '.join(repeated)}; {repeated[0]!r} is the name of columns {places})"
    elif "" in names[1:]:
        what = f"a column without a name (the one after {names[names.index('', 1) - 1]!r})"
    elif names == [""]:
        what = "a column without a name"
    if what is not None:
        raise DataError(f"{where} has {what}: its first line must name every column, once")


def _rows(
    names_record: _Record, samples: list[_Record], separator: str, where: str
) -> tuple[list[str], list[tuple[str, ...]], list[str]]:
    """Names, the cells of each column, and a remark if columns without a name are left out.

    Raises:
        DataError: when there are no samples, or a line has more or fewer cells than there are names.
    """
    names = [" ".join(name.split()) for name in names_record.cells]
    if not samples:
        shown = ", ".join(names[:8])
        raise DataError(f"{where} has a line of names ({shown}) and no samples below it: write one line per sample")
    while (
        len(names) > 1
        and not names[-1]
        and not any(len(s.cells) >= len(names) and s.cells[len(names) - 1] for s in samples)
    ):
        names.pop()
    rows = [_cut(sample.cells, len(names)) for sample in samples]
    remarks = []
    if all(len(row) == len(names) + 1 for row in rows) and _are_row_names([row[0] for row in rows]):
        rows = [row[1:] for row in rows]
        remarks = [f"{where}: the first cell of each line has no name and is left out (names or numbers of the lines)"]
    for row, sample in zip(rows, samples, strict=True):
        if len(row) != len(names):
            raise DataError(_ragged(sample, names, names_record.line, separator, where))
    return names, list(zip(*rows, strict=True)), remarks


def _cut(cells: list[str], length: int) -> list[str]:
    """Without empty cells beyond the names: a separator at the end of each line."""
    return cells[:length] if len(cells) > length and not any(cells[length:]) else cells


def _are_row_names(cells: list[str]) -> bool:
    values = plain_numbers(cells)
    if values is not None:
        return np.array_equal(values - values[0], np.arange(len(values)))
    return len(set(cells)) == len(cells) and not any(number(cell, "point") is not None for cell in cells)


def _ragged(sample: _Record, names: list[str], names_line: int, separator: str, where: str) -> str:
    said = (
        f"{where}, line {sample.line} has {len(sample.cells)} cells, but line {names_line} names {len(names)} columns"
    )
    if sample.last_line > sample.line:
        return f"{said}; it runs to line {sample.last_line}: is a quote not closed?"
    if len(names) == 1:
        return f"{said} ({names[0]!r}): the first line must name every column; remove titles above the names"
    if separator == "," and len(sample.cells) > len(names):
        return (
            f"{said}: are there decimal commas, separators of thousands or commas in words? put those cells in quotes"
        )
    return f"{said}: write as many cells as names; is the file half copied?"


def _decimal(names: list[str], columns: list[tuple[str, ...]], lines: Sequence[int], where: str) -> DecimalMark:
    """Whether numbers are written with decimal commas; refuses what may be either.

    Raises:
        DataError: for 1,234 without another cell that tells, or for commas and points mixed.
    """
    proofs: dict[str, str] = {}
    either = None
    for name, cells in zip(names, columns, strict=True):
        if not any("," in cell for cell in cells):
            continue
        if not all(is_missing(c) or decimal_signs(c) or number(c, "point") is not None for c in cells):
            continue
        for row, cell in enumerate(cells):
            signs = decimal_signs(cell)
            place = f"line {lines[row]}, column {name!r}: {cell!r}"
            if len(signs) == 1:
                proofs.setdefault(next(iter(signs)), place)
            elif signs and either is None:
                either = (place, cell)
    if len(proofs) == 2:
        raise DataError(
            f"{where} mixes decimal commas ({proofs['comma']}) and commas between thousands ({proofs['point']}): write "
            "all numbers alike"
        )
    if either is not None and not proofs:
        place, cell = either
        with_comma, without = float(cell.replace(",", ".")), float(cell.replace(",", ""))
        raise DataError(
            f"{where}, {place} may be {with_comma:g} or {without:g}, and no other cell tells: write numbers with a "
            "decimal point and without separators of thousands"
        )
    if "comma" not in proofs:
        return "point"
    for name, cells in zip(names, columns, strict=True):
        for row, cell in enumerate(cells):
            if "." in cell and "," not in cell and plain_numbers([cell]) is not None:
                raise DataError(
                    f"{where} mixes decimal commas ({proofs['comma']}) and points (line {lines[row]}, column {name!r}: "
                    f"{cell!r}): write all numbers alike"
                )
    return "comma"


def _comment_remarks(text: str, names: _Record, where: str) -> list[str]:
    if "#" not in text:
        return []
    quoted, left_out = False, []
    for i, line in enumerate(_lines(text), 1):
        if not quoted and line.lstrip().startswith("#"):
            left_out.append(i)
        else:
            quoted ^= line.count(_quote(text)) % 2 == 1
    below = [i for i in left_out if i > names.line]
    if not below:
        return []
    count = "1 line that begins" if len(below) == 1 else f"{len(below)} lines that begin"
    return [f"{where}: {count} with # (the first is line {below[0]}) left out, as comments"]


def _without_index(table: Table, where: str) -> Table:
    """Leaves out a first column that only numbers or names the lines, as pandas and R write it: it has no name."""
    first = next(iter(table.columns))
    if first not in ("", "Unnamed: 0") or len(table.columns) == 1:
        return table
    rest = {name: column for name, column in table.columns.items() if name != first}
    remark = f"{where}: the first column has no name and is left out (names or numbers of the lines)"
    return Table(table.path, rest, table.lines, table.unit, (*table.remarks, remark), table.separator)


def _plain_table(content: bytes, names: _Record, separator: str) -> tuple[np.ndarray, Sequence[int]] | None:
    """The numbers below the names by pandas, and the lines; None unless all cells are plain numbers."""
    if names.line != names.last_line:
        return None
    lines = content.splitlines(keepends=True)
    body = b"".join(lines[names.line :])
    others = body.translate(None, b"0123456789+-.eE \r\n" + separator.encode())
    if others.translate(None, b",") or (others and (b"." in body or _DECIMALS.search(body) is None)):
        return None
    if others:
        body = body.replace(b",", b".")
    import pandas

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer pandas always rounds correctly, and says that it need not be asked
            table = pandas.read_csv(
                io.BytesIO(body), sep=separator, header=None, dtype=np.float64, na_filter=False, skipinitialspace=True,
                float_precision="round_trip",
            ).to_numpy()  # fmt: skip
    except ValueError:
        return None
    numbers = [number for number, line in enumerate(lines[names.line :], names.line + 1) if line.strip()]
    whole = table.shape == (len(numbers), len(names.cells)) and np.isfinite(table).all() and np.abs(table).max() < EXACT
    return (table, numbers) if whole else None
