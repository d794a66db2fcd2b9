"""Galleries in Arrow files (`.arrow`, `.feather`): the file format, and the stream format in which
the library `datasets` keeps its tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
from torch import Tensor

from unspan.errors import DataError
from unspan.galleries.columns import Columns
from unspan.galleries.row_change import RowChange, rows_at_a_time
from unspan.galleries.table_change import TableChange, TableRows

_MAGIC = b"ARROW1"
_WIDEST = 8  # bytes of a number


def rewrite(source: BinaryIO, target: BinaryIO, change: RowChange, columns: Columns) -> None:
    """Write the file anew with mapped vectors, in the same of the two formats.

    Raises:
        DataError: the file is no Arrow file, or its vectors do not fit.
        UsageError: a column is not there, or several can be meant.
    """
    reader, is_file = _opened(source)
    table = TableChange(reader.schema, change, columns)
    build = pa.ipc.new_file if is_file else pa.ipc.new_stream
    with build(target, table.schema) as writer:
        for batch in _batches(reader, is_file, table.rows):
            writer.write_batch(table(batch))


def read(
    source: BinaryIO, dim: int, columns: Columns
) -> Iterator[tuple[Sequence[Any] | range, Tensor]]:
    """Ids and vectors `[n, d]` of some rows at a time (errors as in `rewrite`)."""
    reader, is_file = _opened(source)
    table = TableRows(reader.schema, dim, columns)
    for batch in _batches(reader, is_file, rows_at_a_time(dim, _WIDEST)):
        yield table(batch)


def _opened(source: BinaryIO) -> tuple[pa.RecordBatchReader, bool]:
    """What reads the file, and whether it is of the file format."""
    is_file = source.read(len(_MAGIC)) == _MAGIC
    source.seek(0)
    try:
        return (pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)), is_file
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(error) from error


def _batches(reader: pa.RecordBatchReader, is_file: bool, rows: int) -> Iterator[pa.RecordBatch]:
    """Rows in parts."""
    try:
        for batch in _stored_batches(reader, is_file):
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> DataError:
    text = " ".join(str(error).split())[:200]
    return DataError(f"The file cannot be read as Arrow: {text}")


def _stored_batches(reader: pa.RecordBatchReader, is_file: bool) -> Iterator[pa.RecordBatch]:
    if not is_file:
        yield from reader
        return
    for place in range(reader.num_record_batches):
        yield reader.get_batch(place)
