"""Tables as the world writes them: each dialect is read to the same numbers, or refused in one message."""

import gzip
import unicodedata

import numpy as np
import pandas as pd
import pytest

from ntk_atlas.config import section_of
from ntk_atlas.datasets import DataError, inspect_dataset, notices, read_dataset, read_table, text_tables

FileSettings = section_of("file")

A = np.array([1.5, -2.0, 0.25, 1e-3, 4.0, 1234.5, 7.0, 8.0])
B = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
Y = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def table(path, **changes):
    sizes = {"n_validation": 2, "n_test": 2, "normalization": "none"}
    return FileSettings(path=str(path), **(sizes | changes))


def lines(separator=",", *, cell="{}".format, names=("a", "b", "y"), end="\n"):
    rows = [(repr(float(a)), repr(float(b)), str(y)) for a, b, y in zip(A, B, Y, strict=True)]
    return "".join(separator.join(map(cell, row)) + end for row in [names, *rows])


def quoted(text):
    return f'"{text}"'


def commas(text):
    return text.replace(".", ",")


def german(text):
    return {"1234.5": "1.234,5"}.get(text, commas(text))


def english(text):
    return {"1234.5": '"1,234.5"'}.get(text, text)


def swiss(text):
    return {"1234.5": "1'234.5"}.get(text, text)


def french(text):
    return {"1234.5": "1\u202f234,5"}.get(text, commas(text))


def after(n, more):
    """Puts lines after the first n of the plain table."""
    plain = lines().splitlines(keepends=True)
    return "".join([*plain[:n], more, *plain[n:]])


def numbered(name, numbers, separator=",", *, above=True):
    """The plain table with a first cell in each line, and a name above them or nothing at all."""
    names, *samples = lines(separator).splitlines()
    first = (name or separator) + names if above else names
    return "\n".join([first, *(f"{i}{separator}{line}" for i, line in zip(numbers, samples, strict=True))])


DIALECTS = {
    "plain": lines(),
    "semicolons": lines(";"),
    "tabs": lines("\t"),
    "pipes": lines("|"),
    "pipes with blanks": lines(" | "),
    "blanks": lines("   "),
    "blanks on either side": "".join(f"  {line}  \n" for line in lines(" ").splitlines()),
    "blanks after commas": lines(", "),
    "Excel names its separator": "sep=;\n" + lines(";"),
    "all quoted": lines(cell=quoted),
    "all quoted, blanks after commas": lines(", ", cell=quoted),
    "semicolons, all quoted": lines(";", cell=quoted),
    "decimal commas": lines(";", cell=commas),
    "decimal commas, tabs": lines("\t", cell=commas),
    "decimal commas, quoted, commas between": lines(cell=lambda text: quoted(commas(text))),
    "points between thousands": lines(";", cell=german),
    "commas between thousands": lines(cell=english),
    "apostrophes between thousands": lines(cell=swiss),
    "thin blanks between thousands": lines(";", cell=french),
    "exponents": lines(cell=lambda text: f"{float(text):.17E}" if text[-1].isdigit() else text),
    "Fortran's exponents": lines(cell=lambda text: f"{float(text):.17e}".replace("e", "D") if "." in text else text),
    "signs": lines(cell=lambda text: f"+{text}" if text[0].isdigit() else text),
    "minus signs of typesetters": lines().replace("-2.0", "−2.0"),
    "CRLF": lines(end="\r\n"),
    "CR": lines(end="\r"),
    "no end of the last line": lines().rstrip("\n"),
    "blank lines": after(0, "\n\n") + "\n  \n\n",
    "blank lines between": after(4, "\n \n"),
    "comments": "# made by hand\n" + after(5, '  # it\'s the "sixth\n') + "# the end\n",
    "separators at the end of lines": lines(end=",\n"),
    "separators at the end of samples": lines().replace("\n", ",\n").replace("y,\n", "y\n", 1),
    "empty lines of Excel": lines() + ",,\n,,\n",
    "names quoted": lines().replace("a,b,y", '"a","b","y"'),
    "single quotes": lines(cell="'{}'".format).replace("'1.5'", "1.5"),
    "savetxt": "# " + lines(),
    "index of pandas": numbered("", range(8)),
    "index of pandas, read and written again": numbered("Unnamed: 0,", range(8)),
    "names of lines of R": numbered("", [f'"car {i}"' for i in range(8)], ",", above=False),
    "numbers of lines of R": numbered("", [f'"{i}"' for i in range(1, 9)], above=False),
}  # fmt: skip


@pytest.mark.parametrize("large", [0, 2**21], ids=["as a large file", "as a small one"])
@pytest.mark.parametrize("name", DIALECTS)
def test_dialects_are_read_to_the_same_numbers(tmp_path, name, large, monkeypatch):
    monkeypatch.setattr(text_tables, "LARGE", large)
    path = tmp_path / "t.csv"
    path.write_bytes(DIALECTS[name].encode())
    settings = table(path)
    data, size = read_dataset(settings), inspect_dataset(settings)
    np.testing.assert_array_equal(data.x, np.stack([A, B], axis=1))
    np.testing.assert_array_equal(data.labels, Y)
    assert data.class_names == (0, 1, 2) and data.feature_names == ("a", "b")
    assert (size.n_samples, size.input_shape) == (8, (2,))


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_encodings_and_gzip(tmp_path, encoding, pack):
    path = tmp_path / ("t.csv" if pack is bytes else "t.csv.gz")
    path.write_bytes(pack(lines(names=("größe", "b", "y")).encode(encoding)))
    data = read_dataset(table(path))
    np.testing.assert_array_equal(data.x[:, 0], A)
    assert data.feature_names[0] == "größe" and data.name == "t"
    said = " ".join(notices(data, table(path)))
    assert ("is not UTF-8 and was read as Windows-1252" in said) == (encoding in ("latin-1", "cp1252"))


def test_names_with_accents_are_found_however_they_are_written(tmp_path):
    path = tmp_path / "t.csv"
    for written, asked in (("NFC", "NFD"), ("NFD", "NFC")):
        path.write_text(lines(names=("a", "b", unicodedata.normalize(written, "größe"))))
        assert read_dataset(table(path, y=unicodedata.normalize(asked, "größe"))).n_samples == 8


def test_tsv_and_capital_suffixes(tmp_path):
    for name, text in (("t.tsv", lines("\t")), ("T.CSV", lines())):
        (tmp_path / name).write_text(text)
        np.testing.assert_array_equal(read_dataset(table(tmp_path / name)).x[:, 1], B)


def test_line_breaks_and_separators_in_quotes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('"a,\nin cm","b ""wide""",y\n' + lines().partition("\n")[2])
    data = read_dataset(table(path))
    assert data.feature_names == ("a, in cm", 'b "wide"')
    path.write_text('"the\ntarget",a\n' + "".join(f"{y},{a}\n" for y, a in zip(Y, A, strict=True)))
    np.testing.assert_array_equal(read_dataset(table(path, y="the target")).labels, Y)
    np.testing.assert_array_equal(read_dataset(table(path, y="the\ntarget")).labels, Y)


def test_true_and_false_are_one_and_zero(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "".join(f"{a},{('False', 'TRUE')[i % 2]},{i % 2}\n" for i, a in enumerate(A)))
    np.testing.assert_array_equal(read_dataset(table(path)).x[:, 1], np.arange(8) % 2)


def test_classes_that_are_words_keep_their_names(tmp_path):
    path = tmp_path / "iris.csv"
    words = ("virginica", "setosa", "versicolor")
    path.write_text("a,b,species\n" + "".join(f"{a},{b},{words[y]}\n" for a, b, y in zip(A, B, Y, strict=True)))
    data = read_dataset(table(path, y="species"))
    assert data.class_names == ("setosa", "versicolor", "virginica")
    assert [data.class_names[label] for label in data.labels] == [words[y] for y in Y]
    binary = read_dataset(table(path, y="species", task="binary", positive_classes=("setosa",)))
    assert binary.class_names == ("versicolor virginica", "setosa")
    np.testing.assert_array_equal(binary.y[:, 0], np.where(Y == 1, 1.0, -1.0))
    with pytest.raises(DataError, match=r"\[1\] selects no class of column 'species' .* \['setosa', 'versicolor'"):
        read_dataset(table(path, y="species", task="binary"))
    with pytest.raises(DataError, match=r"positive_classes names \['setsoa'\], no class of column 'species'"):
        read_dataset(table(path, y="species", task="binary", positive_classes=("setosa", "setsoa")))


def test_large_integers_are_classes_and_no_features(tmp_path):
    path = tmp_path / "t.csv"
    large = 2**60 + Y
    path.write_text("a,y\n" + "".join(f"{a},{i}\n" for a, i in zip(A, large, strict=True)))
    assert read_dataset(table(path)).class_names == (2**60, 2**60 + 1, 2**60 + 2)
    path.write_text("a,y\n" + "".join(f"{i},{y}\n" for i, y in zip(large, Y, strict=True)))
    with pytest.raises(
        DataError, match=r"'a' has integers with more digits .* \(1152921504606846977 in line 3, beyond"
    ):
        read_dataset(table(path))


def cell(row, column, word):
    """The plain table with another word in one cell; row 1 is line 2."""
    rows = [line.split(",") for line in lines().splitlines()]
    rows[row][column] = word
    return "\n".join(map(",".join, rows))


REFUSED = {
    "empty": ("", "has no line of names \\(it is empty\\)"),
    "blank": ("\n \n\n", "has no line of names"),
    "only comments": ("# a,y\n# 1,2\n", "no line of names \\(every line of it begins with #\\)"),
    "only names": ("a,b,y\n", r"t.csv \(dataset.path\) has a line of names \(a, b, y\) and no samples below it"),
    "no names": (lines().partition("\n")[2], r"has no line of names \(line 1 holds numbers\): its first line"),
    "no names, words among numbers": ("5.1,setosa\n4.9,setosa\n", r"no line of names \(line 1 holds numbers\)"),
    "names twice": (lines(names=("a", "a", "y")), r"a column twice \(a; 'a' is the name of columns \[1, 2\]\)"),
    "a name missing": (lines(names=("a", "", "y")), r"has a column without a name \(the one after 'a'\)"),
    "titles": ("Table of all\n" + lines(), r"line 2 has 3 cells, but line 1 names 1 columns \('Table of all'\)"),
    "too many cells": (after(3, "1,2,0,4\n"),
        r"line 4 has 4 cells, but line 1 names 3 columns: .*put those cells in quotes"),
    "too few cells": (after(3, "1,2\n"), r"line 4 has 2 cells, but line 1 names 3 columns"),
    "half a line": (lines()[:-6], r"line 9 has \d cells, but line 1 names 3 columns: .* half copied"),
    "unquoted decimal commas": (lines(cell=commas),
        r"line 2 has 5 cells, but line 1 names 3 columns: .*decimal commas"),
    "an open quote": (after(3, '"1,2,0\n'), r"line 4: a quote is opened and never closed"),
    "an open quote closed later": (after(3, '"1,2,0\n') + '3,4",1\n',
        r"line 4 has 2 cells.* it runs to line 11: is a quote"),
    "a word": (cell(5, 0, "hello"), r"line 6, column 'a': 'hello' is no number: correct"),
    "words": (cell(5, 0, "hello").replace("-2.0", "x"), r"line 3, column 'a': 'x' is no number and 1 more"),
    "a number and a comment": (cell(5, 0, "4.0 # sic"), r"line 6, column 'a': '4.0 # sic' is no number"),
    "underscores": (cell(5, 0, "1_000"), r"line 6, column 'a': '1_000' is no number"),
    "missing": (cell(5, 0, ""), r"missing in 'a' \(1 of 8, the first in line 6: an empty cell\): drop those"),
    "NA": (cell(5, 0, "NA").replace("5.0", "?"),
        r"missing in 'a' \(1 of 8, .* 6: 'NA'\), 'b' \(1 of 8, .* line 6: '\?'\)"),
    "nan": (cell(2, 1, "NaN"), r"missing in 'b' \(1 of 8, the first in line 3: 'NaN'\)"),
    "a missing line": (after(3, ",,\n"),
        r"missing in 'a' \(1 of 9, .* line 4: .* 'b' .*; target column 'y' .* missing values"),
    "infinite": (cell(5, 0, "-inf"), r"'a' has values that are not finite \(1, the first in line 6: '-inf'\)"),
    "beyond float64": (cell(5, 0, "1e400"), r"'a' has values that are not finite \(1, the first in line 6: '1e400'\)"),
    "dates": (
        "t,y\n" + "".join(f"2024-01-0{i + 1},{y}\n" for i, y in enumerate(Y)),
        r"column 't' \('2024-01-01' in line 2\) holds dates: write numbers, e.g. days since",
    ),
    "words in two features": (
        "sex,town,a,y\n" + "".join(f"male,{'NS'[y % 2]},{a},{y}\n" for a, y in zip(A, Y, strict=True)),
        r"columns 'sex' \('male' in line 2\), 'town' \('N' in line 2\) hold text: .*np.unique.*pandas.get_dummies",
    ),
    "everything at once": (
        "sex,a,when,y\n" + "".join(f"male,{'?' if a == 4 else a},12:30,{y}\n" for a, y in zip(A, Y, strict=True)),
        r"'sex' .* text.*; column 'when' .* dates.*; values are missing in 'a' \(1 of 8, the first in line 6: '\?'\)",
    ),
    "numbers and words as classes": (cell(5, 2, "none of these"),
        r"'y' \(dataset.y\) mixes numbers and words \('none of"),
    "a class missing": (cell(5, 2, ""),
        r"target column 'y' \(dataset.y\) has missing values \('y' \(1 of 8, .* line 6"),
    "may be thousands": (lines(";").replace("1234.5", "1,234"),
        r"line 7, column 'a': '1,234' may be 1.234 or 1234, and no"),
    "both commas": (lines(";").replace("1234.5", "1,234,567").replace("0.25", "0,25"),
        r"mixes decimal commas \(line 4, .*commas between thousands \(line 7"),
    "commas and points": (lines(";").replace("1234.5", "1234,5"),
        r"mixes decimal commas \(line 7, .* and points \(line 2, column 'a': '1.5'\)"),
    "a NUL byte": (after(3, "1,\0,2\n"), r"line 4 holds a NUL byte: it is damaged or no table"),
    "a web page": ("<!DOCTYPE html>\n<html>", "is a web page, not a table"),
    "JSON": ('{"a": [1, 2]}', "is JSON, not a table"),
    "ARFF": ("@RELATION iris\n", "is an ARFF file: write it as a CSV"),
    "Git LFS": ("version https://git-lfs.github.com/spec/v1\n", "has not fetched: git lfs pull"),
    "all lines are comments": ("c,y\n" + "".join(f"#0{y},{y}\n" for y in Y), "all lines below the names begin with #"),
    "units": (lines(cell=lambda text: f"{text}%" if "." in text else text),
        r"'a' \('1.5%' in line 2\), .* text: write numbers without units"),
    "other separators": (lines(":"),
        r"no column 'y' \(dataset.y\); it has one column \('a:b:y'\): are its cells separated by"),
}  # fmt: skip


@pytest.mark.parametrize("read", [read_dataset, inspect_dataset])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_with_certainty_is_refused_by_line_and_column(tmp_path, name, read):
    text, message = REFUSED[name]
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    with pytest.raises(DataError, match=message) as raised:
        read(table(path))
    assert str(path) in str(raised.value) and "dataset.path" in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "is a zip archive or an Excel workbook: unpack it, or save the sheet as CSV"),
        (b"PAR1rest", "is a Parquet file: let its name end in .parquet"),
        (gzip.compress(lines().encode())[:-9], r"cannot be read as a .csv file \(.*damaged or half copied"),
        (b"\xff\xfea\x00,", "cannot be read as utf-16 text .* write it again, as UTF-8"),
    ],
    ids=["zip", "Parquet", "half of a gzip", "utf-16"],  # not the bytes: a gzip has the second it was made in
)
def test_other_files_under_the_name_of_a_table(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        inspect_dataset(table(tmp_path / "t.csv"))


def test_columns_that_are_not_there_are_listed(tmp_path):
    path = tmp_path / "wine.csv"
    path.write_text(lines(";", names=("fixed acidity", "Alcohol", "quality")))
    with pytest.raises(
        DataError, match=r"no column 'qualty' \(dataset.y\); did you mean 'quality'\? its columns are 'fixed"
    ):
        read_dataset(table(path, y="qualty"))
    with pytest.raises(DataError, match=r"no column 'alcohol' \(dataset.split\); did you mean 'Alcohol'\?"):
        read_dataset(table(path, y="quality", split="alcohol"))
    with pytest.raises(DataError, match=r"remove dataset.x \(it is 'Alcohol'\)"):
        read_dataset(table(path, y="quality", x="Alcohol"))


def test_regression_on_words_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{a},{'uv'[i % 2]}\n" for i, a in enumerate(A)))
    with pytest.raises(
        DataError, match=r"'y' \(dataset.y\) holds text \('y' \('u' in line 2\)\): .*dataset.task: classes"
    ):
        read_dataset(table(tmp_path / "t.csv", task="regression"))


def test_pandas_and_the_careful_reader_agree_bit_by_bit(tmp_path, monkeypatch):
    g = np.random.default_rng(0)
    numbers = g.standard_normal((300, 3)) * 10.0 ** g.integers(-300, 14, (300, 3))
    frame = pd.DataFrame(numbers, columns=["a", "b", "y"])
    path, same = tmp_path / "fast.csv", tmp_path / "slow.csv"
    for file in (path, same):
        file.write_text(frame.to_csv(index=False).replace("\n", "\n\n", 3))
    monkeypatch.setattr(text_tables, "LARGE", 0)
    fast = read_table(path)
    monkeypatch.setattr(text_tables, "LARGE", 10**9)
    slow = read_table(same)
    assert fast.columns["a"].words is None and slow.columns["a"].words is not None, "one of them took the other's way"
    assert list(fast.lines) == list(slow.lines) and list(fast.columns) == list(slow.columns)
    for name in "aby":
        np.testing.assert_array_equal(fast.columns[name].values, numbers[:, "aby".index(name)])
        np.testing.assert_array_equal(slow.columns[name].values, numbers[:, "aby".index(name)])


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in ("empty", "blank")])
def test_large_tables_are_refused_as_small_ones_are(tmp_path, monkeypatch, name):
    text, message = REFUSED[name]
    monkeypatch.setattr(text_tables, "LARGE", 0)
    (tmp_path / "t.csv").write_bytes(text.encode())
    with pytest.raises(DataError, match=message):
        inspect_dataset(table(tmp_path / "t.csv"))


def test_a_table_is_read_again_only_when_its_file_changes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(lines())
    first = read_table(path)
    assert read_table(path) is first
    path.write_text(lines() + "1,2,0\n")
    assert read_table(path).n_samples == 9


def parquet(path, frame, **keys):
    import fastparquet

    fastparquet.write(str(path), frame, **keys)
    return path


def test_parquet_is_read_as_csv_is(tmp_path):
    frame = pd.DataFrame(
        {"a": A, "b": B.astype(np.int32), "y": ["xyz"[y] for y in Y]}, index=pd.Index(range(5, 13), name="i")
    )
    settings = table(parquet(tmp_path / "t.parquet", frame, write_index=True))
    data, size = read_dataset(settings), inspect_dataset(settings)
    np.testing.assert_array_equal(data.x, np.stack([A, B], axis=1))
    assert data.class_names == ("x", "y", "z") and data.feature_names == ("a", "b")
    assert (size.n_samples, size.input_shape) == (8, (2,))
    assert FileSettings(path="t.parquet").normalization == "standardize"
    assert any("the index (i) is left out" in said for said in notices(data, settings))


PARQUET = {
    "text": ({"town": ["N", "S"] * 4}, r"column 'town' \('N' in row 0\) holds text"),
    "dates": ({"t": pd.date_range("2024-01-01", periods=8)}, r"column 't' \('2024-01-01.* in row 0\) holds dates"),
    "missing": ({"m": [1.0, None, *range(6)]}, r"missing in 'm' \(1 of 8, the first in row 1"),
    "missing integers": ({"m": pd.array([1, 2, None, *range(5)], "Int64")}, r"missing in 'm' \(1 of 8, .* row 2"),
    "infinite": ({"m": [1.0, np.inf, *range(6)]}, r"'m' has values that are not finite \(1, the first in row 1"),
    "digits": ({"m": [2**60 + i for i in range(8)]}, r"'m' has integers with more digits .* in row 1, beyond"),
    "no target": ({"z": range(8)}, r"no column 'y' \(dataset.y\); its columns are 'a', 'z'"),
}


@pytest.mark.parametrize("name", PARQUET)
def test_parquet_is_refused_by_row_and_column(tmp_path, name):
    columns, message = PARQUET[name]
    frame = pd.DataFrame({"a": A} | columns | ({} if "z" in columns else {"y": Y}))
    with pytest.raises(DataError, match=message):
        read_dataset(table(parquet(tmp_path / "t.parquet", frame)))


def test_parquet_types_that_are_numbers(tmp_path):
    frame = pd.DataFrame(
        {"flag": B > 3, "small": B.astype(np.uint8), "half": B.astype(np.float32), "kind": pd.Categorical(B), "y": Y}
    )
    data = read_dataset(table(parquet(tmp_path / "t.parquet", frame)))
    np.testing.assert_array_equal(data.x, np.stack([B > 3, B, B, B], axis=1))


def test_damaged_parquet_is_named(tmp_path):
    path = parquet(tmp_path / "t.parquet", pd.DataFrame({"a": A, "y": Y}))
    content = path.read_bytes()
    for damaged in (
        content[:-20],
        content[: len(content) // 2],
        b"",
        b"PAR1",
        content[:60] + b"\xff" * 40 + content[100:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"t.parquet \(dataset.path\) "):
            read_dataset(table(path))


def test_messages_show_the_beginning_of_long_cells(tmp_path):
    for text in (cell(5, 0, "long " * 10**5), cell(5, 2, "long " * 10**5), lines(names=("a", "x" * 10**5, "z"))):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(DataError, match=r"long long|xxx") as raised:
            read_dataset(table(tmp_path / "t.csv"))
        assert len(str(raised.value)) < 700


def test_names_may_be_words_that_stand_for_numbers(tmp_path):
    (tmp_path / "t.csv").write_text(lines(names=("nan", "inf", "y")))
    assert read_dataset(table(tmp_path / "t.csv")).feature_names == ("nan", "inf")
    (tmp_path / "t.csv").write_text(lines(names=("2019", "2020", "y")))
    assert read_dataset(table(tmp_path / "t.csv")).feature_names == ("2019", "2020")


def test_labels_that_are_no_integers_are_named_by_line(tmp_path):
    (tmp_path / "t.csv").write_text(cell(5, 2, "0.5"))
    with pytest.raises(
        DataError, match=r"column 'y' of .*t.csv \(dataset.y\) has 1 class labels .* first at line 6: 0.5"
    ):
        read_dataset(table(tmp_path / "t.csv"))


def test_one_column_or_array_has_one_role(tmp_path):
    (tmp_path / "t.csv").write_text(lines())
    with pytest.raises(DataError, match=r"dataset.y and dataset.split both name the column 'y': name two"):
        inspect_dataset(table(tmp_path / "t.csv", split="y"))
    np.savez(tmp_path / "t.npz", X=A, y=Y)
    for roles in ({"y": "X"}, {"split": "y"}, {"x": "y"}):
        with pytest.raises(DataError, match=r"t.npz: .* name the same array \(.*\): name different ones"):
            inspect_dataset(table(tmp_path / "t.npz", **roles))
