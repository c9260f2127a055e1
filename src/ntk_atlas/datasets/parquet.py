"""Parquet tables, read by fastparquet; nothing in them is unpickled."""

import warnings
from decimal import Decimal
from pathlib import Path

import numpy as np

from ntk_atlas.datasets.cells import EXACT, Column, number_column
from ntk_atlas.datasets.checks import check_memory
from ntk_atlas.datasets.dataset import DataError
from ntk_atlas.datasets.tables import Table


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
