"""Galleries in Parquet files: a column of lists of numbers, and any other columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from unspan.errors import DataError
from unspan.galleries.columns import Columns
from unspan.galleries.row_change import RowChange, rows_at_a_time
from unspan.galleries.table_change import TableChange, TableRows

_BUFFER = 1 << 20  # bytes of a column that are read at a time
_WIDEST = 8  # bytes of a number


def rewrite(source: BinaryIO, target: BinaryIO, change: RowChange, columns: Columns) -> None:
    """Write the file anew with mapped vectors; other columns, metadata and compression stay.

    Raises:
        DataError: the file is no Parquet file, or its vectors do not fit.
        UsageError: a column is not there, or several can be meant.
    """
    file = _opened(source)
    table = TableChange(file.schema_arrow, change, columns)
    with pq.ParquetWriter(
        target,
        table.schema,
        compression=_compression(file),
        # numbers of vectors hardly repeat: a dictionary of them costs time and saves nothing
        use_dictionary=[one for one in table.schema.names if one != table.column],
    ) as writer:
        for batch in _batches(file, table.rows):
            writer.write_batch(table(batch))


def read(
    source: BinaryIO, dim: int, columns: Columns
) -> Iterator[tuple[Sequence[Any] | range, Tensor]]:
    """Ids and vectors `[n, d]` of some rows at a time (errors as in `rewrite`)."""
    file = _opened(source)
    table = TableRows(file.schema_arrow, dim, columns)
    named = [table.column] if table.ids is None else [table.column, table.ids]
    for batch in _batches(file, rows_at_a_time(dim, _WIDEST), named):
        yield table(batch)


def _opened(source: BinaryIO) -> pq.ParquetFile:
    try:
        # pre_buffer would hold all row groups, and without a buffer a column of one is held whole
        return pq.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"The file cannot be read as Parquet: {_line(error)}") from error


def _batches(
    file: pq.ParquetFile, rows: int, named: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows in parts, one row group after the other."""
    try:
        for group in range(file.num_row_groups):
            yield from file.iter_batches(rows, row_groups=[group], columns=named)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"The Parquet file is damaged: {_line(error)}") from error


def _compression(file: pq.ParquetFile) -> str:
    """That of the first column; none where there are no rows."""
    about = file.metadata
    if not about.num_row_groups or not about.num_columns:
        return "none"
    found: str = about.row_group(0).column(0).compression
    return "none" if found == "UNCOMPRESSED" else found


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
