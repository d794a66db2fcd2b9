"""Galleries in `.safetensors` files: one tensor `[n, d]`, others are kept as they are.

Read and written in parts: the library itself would hold a whole tensor in memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor

from unspan.errors import DataError, UsageError
from unspan.galleries.columns import Columns
from unspan.galleries.row_change import RowChange, Rows, rows_at_a_time

_FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
_WHOLE = {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "U8": torch.uint8}
_WIDTHS = {"BOOL": 1, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2}
_WIDTHS |= {"F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8}
_MOST = 100 << 20  # bytes of a header, as in the library
_BLOCK = 8 << 20  # bytes copied at a time


@dataclass(frozen=True)
class _Entry:
    """One tensor of the file: its type, shape and bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def row(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * _WIDTHS[self.dtype]


def rewrite(source: BinaryIO, target: BinaryIO, change: RowChange, columns: Columns) -> None:
    """Write the file anew with mapped vectors; where rows are dropped, so are those of all tensors
    with as many rows.

    Raises:
        DataError: the file is damaged, or has no tensor of such vectors.
        UsageError: several tensors can be meant, or rows are to be flagged.
    """
    if change.rows is Rows.FLAG:
        raise UsageError("A safetensors file cannot flag rows: drop them, or use Parquet.")
    entries, about, base = _header(source)
    vectors = _vectors(entries, change.dim, columns)
    n = vectors.shape[0]
    dropped = change.dropped(_ids(source, entries, base, n, columns))
    left = n - int(dropped.sum())
    by_row = bool(dropped.any())
    _write_header(target, entries, about, {n: left} if by_row else {})
    for one in entries:
        source.seek(base + one.start)
        if one is vectors:
            for rows, raw in _parts(source, one, change.rows_at_a_time(_WIDTHS[one.dtype])):
                kept = _tensor(raw, _FLOATS[one.dtype]).view(-1, change.dim)[~dropped[rows]]
                _write(target, change.mapped(kept, f"Tensor '{one.name}'"))
        elif by_row and one.shape[:1] == (n,) and one.row:
            for rows, raw in _parts(source, one, max(1, _BLOCK // one.row)):
                _write(target, _tensor(raw, torch.uint8).view(-1, one.row)[~dropped[rows]])
        else:
            _copy(source, target, one.end - one.start)


def read(
    source: BinaryIO, dim: int, columns: Columns
) -> Iterator[tuple[Sequence[Any] | range, Tensor]]:
    """Ids and vectors `[n, d]` of some rows at a time (errors as in `rewrite`)."""
    entries, _, base = _header(source)
    vectors = _vectors(entries, dim, columns)
    ids = _ids(source, entries, base, vectors.shape[0], columns)
    source.seek(base + vectors.start)
    dtype = _FLOATS[vectors.dtype]
    for rows, raw in _parts(source, vectors, rows_at_a_time(dim, dtype.itemsize)):
        yield ids[rows], _tensor(raw, dtype).view(-1, dim)


def _header(source: BinaryIO) -> tuple[list[_Entry], dict[str, str], int]:
    """Tensors in the order of their bytes, metadata, and where the bytes begin."""
    size = int.from_bytes(source.read(8), "little")
    if not 2 <= size <= _MOST:
        raise DataError(f"The file is no safetensors file: its header would have {size} bytes.")
    try:
        held = json.loads(source.read(size))
        about = held.pop("__metadata__", {})
        found = [
            _Entry(name, one["dtype"], tuple(one["shape"]), *one["data_offsets"])
            for name, one in held.items()
        ]
        found.sort(key=lambda one: (one.start, one.end))
        at = 0
        for one in found:
            length = math.prod(one.shape) * _WIDTHS[one.dtype]
            if one.start != at or one.end - one.start != length:
                raise ValueError(f"tensor '{one.name}' does not lie where it says")
            at = one.end
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"The header of the safetensors file is damaged: {error}.") from error
    return found, about, 8 + size


def _vectors(entries: list[_Entry], dim: int, columns: Columns) -> _Entry:
    """The tensor that holds the vectors."""
    can_be = [one for one in entries if one.dtype in _FLOATS and len(one.shape) == 2]
    if columns.vector is not None:
        can_be = [one for one in can_be if one.name == columns.vector]
    fitting = [one for one in can_be if one.shape[1] == dim]
    if len(fitting) == 1:
        return fitting[0]
    named = ", ".join(f"{one.name} {list(one.shape)}" for one in entries) or "nothing"
    if fitting:
        raise UsageError(f"Several tensors can be the vectors: {named}. Name one with --column.")
    raise DataError(f"No tensor [n, {dim}] of floating numbers: the file holds {named}.")


def _ids(
    source: BinaryIO, entries: list[_Entry], base: int, n: int, columns: Columns
) -> range | list[Any]:
    """What the request names rows by."""
    if columns.ids is None:
        return range(n)
    for one in entries:
        if one.name == columns.ids and one.dtype in _WHOLE and one.shape == (n,):
            source.seek(base + one.start)
            held: list[Any] = _tensor(
                _read(source, one.end - one.start), _WHOLE[one.dtype]
            ).tolist()
            return held
    raise UsageError(f"--id-column {columns.ids}: give a tensor of {n} whole numbers.")


def _write_header(
    target: BinaryIO, entries: list[_Entry], about: dict[str, str], rows: dict[int, int]
) -> None:
    """The header, with the new number of rows of tensors that lose some."""
    held: dict[str, Any] = {"__metadata__": about} if about else {}
    at = 0
    for one in entries:
        shape = list(one.shape)
        if shape and one.row:
            shape[0] = rows.get(shape[0], shape[0])
        end = at + math.prod(shape) * _WIDTHS[one.dtype]
        held[one.name] = {"dtype": one.dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(held, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    target.write(len(text).to_bytes(8, "little") + text)


def _parts(source: BinaryIO, one: _Entry, step: int) -> Iterator[tuple[slice, bytearray]]:
    """Bytes of some rows at a time."""
    for start in range(0, one.shape[0], step):
        rows = slice(start, min(start + step, one.shape[0]))
        yield rows, _read(source, (rows.stop - rows.start) * one.row)


def _read(source: BinaryIO, size: int) -> bytearray:
    raw = bytearray(source.read(size))
    if len(raw) != size:
        raise DataError("The safetensors file is cut short.")
    return raw


def _tensor(raw: bytearray, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(raw, dtype=dtype) if raw else torch.zeros(0, dtype=dtype)


def _write(target: BinaryIO, part: Tensor) -> None:
    target.write(part.contiguous().view(torch.uint8).numpy().tobytes())


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size:
        part = _read(source, min(size, _BLOCK))
        target.write(part)
        size -= len(part)
