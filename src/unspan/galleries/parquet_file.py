"""Galleries in Parquet files: a column of lists of numbers, and any other columns."""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from unspan.errors import DataError
from unspan.galleries.columns import Columns
from unspan.galleries.row_change import RowChange
from unspan.galleries.table_change import TableChange

_BUFFER = 1 << 20  # bytes of a column that are read at a time


def rewrite(source: BinaryIO, target: BinaryIO, change: RowChange, columns: Columns) -> None:
    """Write the file anew with mapped vectors; other columns, metadata and compression stay.

    Raises:
        DataError: the file is no Parquet file, or its vectors do not fit.
        UsageError: a column is not there, or several can be meant.
    """
    try:
        # pre_buffer would hold all row groups, and without a buffer a column of one is held whole
        file = pq.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"The file cannot be read as Parquet: {_line(error)}") from error
    table = TableChange(file.schema_arrow, change, columns)
    with pq.ParquetWriter(
        target,
        table.schema,
        compression=_compression(file),
        # numbers of vectors hardly repeat: a dictionary of them costs time and saves nothing
        use_dictionary=[one for one in table.schema.names if one != table.column],
    ) as writer:
        try:
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(table.rows, row_groups=[group]):
                    writer.write_batch(table(batch))
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
