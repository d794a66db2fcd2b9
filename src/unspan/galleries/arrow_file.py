"""Galleries in Arrow files (`.arrow`, `.feather`): the file format, and the stream format in which
the library `datasets` keeps its tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from unspan.errors import DataError
from unspan.galleries.columns import Columns
from unspan.galleries.row_change import RowChange
from unspan.galleries.table_change import TableChange

_MAGIC = b"ARROW1"


def rewrite(source: BinaryIO, target: BinaryIO, change: RowChange, columns: Columns) -> None:
    """Write the file anew with mapped vectors, in the same of the two formats.

    Raises:
        DataError: the file is no Arrow file, or its vectors do not fit.
        UsageError: a column is not there, or several can be meant.
    """
    is_file = source.read(len(_MAGIC)) == _MAGIC
    source.seek(0)
    try:
        reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
        table = TableChange(reader.schema, change, columns)
        build = pa.ipc.new_file if is_file else pa.ipc.new_stream
        with build(target, table.schema) as writer:
            for batch in _batches(reader, is_file):
                for start in range(0, batch.num_rows, table.rows):
                    writer.write_batch(table(batch.slice(start, table.rows)))
    except (pa.ArrowInvalid, OSError) as error:
        text = " ".join(str(error).split())[:200]
        raise DataError(f"The file cannot be read as Arrow: {text}") from error


def _batches(reader: pa.RecordBatchReader, is_file: bool) -> Iterator[pa.RecordBatch]:
    if not is_file:
        yield from reader
        return
    for place in range(reader.num_record_batches):
        yield reader.get_batch(place)
