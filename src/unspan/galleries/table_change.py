"""Arrow tables with a column of vectors: what becomes of one batch of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from unspan.errors import DataError, UsageError
from unspan.galleries.columns import FLAG, Columns
from unspan.galleries.row_change import RowChange, Rows, check_dim


class TableChange:
    """The change of rows for batches of one table."""

    def __init__(self, schema: pa.Schema, change: RowChange, columns: Columns) -> None:
        self.change = change
        self.column = _vector_column(schema, columns.vector)
        self.ids = _id_column(schema, columns.ids)
        self.schema = schema
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        if twice:
            raise DataError(f"The table has several columns named {', '.join(twice)}; rename them.")
        others = [one.name for one in schema if _is_vectors(one.type) and one.name != self.column]
        change.others.update(others)
        if change.rows is Rows.FLAG:
            if FLAG in schema.names:
                raise UsageError(f"The table has a column {FLAG} already; drop the rows instead.")
            self.schema = schema.append(pa.field(FLAG, pa.bool_()))
        self._at = 0

    @property
    def rows(self) -> int:
        """Rows that are read at a time."""
        value = self.schema.field(self.column).type.value_type
        return self.change.rows_at_a_time(value.bit_width // 8)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The new content of some rows, all other columns as they were.

        Raises:
            DataError: a vector has another length, or a number that is missing.
        """
        ids = self._ids(batch)
        batch = batch.filter(pa.array(~self.change.dropped(ids).numpy()))
        held = dict(zip(batch.schema.names, batch.columns, strict=True))
        held[self.column] = self._mapped(held[self.column])
        if self.change.rows is Rows.FLAG:
            held[FLAG] = pa.array(self.change.of_request(ids).numpy())
        return pa.RecordBatch.from_arrays(list(held.values()), schema=self.schema)

    def _ids(self, batch: pa.RecordBatch) -> Sequence[Any] | range:
        """What the request names rows by."""
        rows = range(self._at, self._at + batch.num_rows)
        self._at = rows.stop
        if self.ids is None or not self.change.forget:
            return rows
        held: list[Any] = batch.column(self.ids).to_pylist()
        return held

    def _mapped(self, column: pa.Array) -> pa.Array:
        """The vectors of some rows, mapped; a row without a vector stays without."""
        there = column.is_valid().to_numpy(zero_copy_only=False)
        self.change.counts.empty += int((~there).sum())
        dim, where = self.change.dim, f"Column '{self.column}'"
        new = self.change.mapped(_vectors(column, dim, where), where).numpy()
        kind = column.type
        if pa.types.is_fixed_size_list(kind):
            numbers = pa.array(_spread(new, there).reshape(-1), type=kind.value_type)
            return pa.FixedSizeListArray.from_arrays(numbers, type=kind, mask=_mask(there))
        ends = np.concatenate([[0], np.cumsum(there * dim)])
        build = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
        offsets = pa.array(ends, type=pa.int64() if build is pa.LargeListArray else pa.int32())
        numbers = pa.array(new.reshape(-1), type=kind.value_type)
        return build.from_arrays(offsets, numbers, type=kind, mask=_mask(there))


class TableRows:
    """Ids and vectors of one table, batch by batch; rows without a vector are left out."""

    def __init__(self, schema: pa.Schema, dim: int, columns: Columns) -> None:
        self.column = _vector_column(schema, columns.vector)
        self.ids = _id_column(schema, columns.ids)
        self.dim = dim
        self._at = 0

    def __call__(self, batch: pa.RecordBatch) -> tuple[Sequence[Any] | range, Tensor]:
        """Ids, and vectors `[n, d]`.

        Raises:
            DataError: a vector has another length, or a number that is missing.
        """
        column = batch.column(self.column)
        there = column.is_valid().to_numpy(zero_copy_only=False)
        rows = range(self._at, self._at + batch.num_rows)
        self._at = rows.stop
        ids = rows if self.ids is None else batch.column(self.ids).to_pylist()
        if not there.all():
            ids = [one for one, found in zip(ids, there, strict=True) if found]
        return ids, _vectors(column, self.dim, f"Column '{self.column}'")


def _vectors(column: pa.Array, dim: int, where: str) -> Tensor:
    """Vectors `[n, d]` of the rows that have one."""
    if pa.types.is_fixed_size_list(column.type):
        lengths = [column.type.list_size]
    else:
        lengths = column.value_lengths().drop_null().unique().to_pylist()
    for one in lengths:
        check_dim(one, dim, where)
    values = column.flatten()
    if values.null_count:
        raise DataError(f"{where} has vectors with missing numbers.")
    return torch.from_dlpack(values).reshape(-1, dim)


def _id_column(schema: pa.Schema, named: str | None) -> str | None:
    """The column of ids, None where rows are named by their positions."""
    if named is not None and named not in schema.names:
        raise UsageError(f"--id-column {named}: the table has {', '.join(map(str, schema.names))}.")
    return named


def _spread(vectors: np.ndarray, there: np.ndarray) -> np.ndarray:
    """One vector a row, zeros where there is none."""
    if there.all():
        return vectors
    whole = np.zeros((len(there), vectors.shape[1]), dtype=vectors.dtype)
    whole[there] = vectors
    return whole


def _mask(there: np.ndarray) -> pa.Array | None:
    """Which rows are missing; None where all are there."""
    return None if there.all() else pa.array(~there)


def _vector_column(schema: pa.Schema, named: str | None) -> str:
    """The column of vectors."""
    can_be = [one.name for one in schema if _is_vectors(one.type)]
    if named is not None:
        if named not in can_be:
            raise UsageError(
                f"--column {named}: give a column with lists of floating numbers; the table has"
                f" {', '.join(f'{one.name} ({one.type})' for one in schema)}."
            )
        return named
    if len(can_be) == 1:
        return can_be[0]
    if can_be:
        raise UsageError(
            f"Several columns can be the vectors: {', '.join(can_be)}. Name one with --column."
        )
    raise DataError(
        "The table has no column with lists of floating numbers:"
        f" {', '.join(f'{one.name} ({one.type})' for one in schema)}."
    )


def _is_vectors(kind: pa.DataType) -> bool:
    types = pa.types
    lists = types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)
    return lists and types.is_floating(kind.value_type)
