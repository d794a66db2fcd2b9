"""Galleries in `.npy` files: vectors `[n, d]`, rows named by their position."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from unspan.errors import DataError, UsageError
from unspan.galleries.columns import Columns
from unspan.galleries.row_change import RowChange, Rows, check_dim, rows_at_a_time

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def rewrite(source: BinaryIO, target: BinaryIO, change: RowChange, columns: Columns) -> None:
    """Write the file anew with mapped vectors.

    Raises:
        DataError: not an array of vectors, or cut short.
        UsageError: columns were named, or rows are to be flagged: the format has neither.
    """
    _refuse_columns(columns)
    if change.rows is Rows.FLAG:
        raise UsageError("An .npy file cannot flag rows: drop them, or use Parquet.")
    (n, dim), dtype = _header(source)
    change.check_dim(dim, "The file")
    # the rows that are left must be known before the first is written
    kept = n if change.rows is Rows.KEEP else n - _named(change, n)
    shape = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
    np.lib.format.write_array_header_1_0(target, {**shape, "shape": (kept, dim)})
    step = change.rows_at_a_time(dtype.itemsize)
    for start in range(0, n, step):
        rows = range(start, min(start + step, n))
        target.write(_part(source, change, rows, dtype).tobytes())


def read(source: BinaryIO, dim: int, columns: Columns) -> Iterator[tuple[range, Tensor]]:
    """Positions and vectors `[n, d]` of some rows at a time (errors as in `rewrite`)."""
    _refuse_columns(columns)
    (n, found), dtype = _header(source)
    check_dim(found, dim, "The file")
    step = rows_at_a_time(dim, dtype.itemsize)
    for start in range(0, n, step):
        rows = range(start, min(start + step, n))
        yield rows, _vectors(source, len(rows), dim, dtype)


def _refuse_columns(columns: Columns) -> None:
    if columns.vector is not None or columns.ids is not None:
        raise UsageError("An .npy file has no columns: leave out --column and --id-column.")


def _named(change: RowChange, n: int) -> int:
    """How many rows of the file the request names."""
    return sum(one.isdecimal() and int(one) < n and str(int(one)) == one for one in change.forget)


def _part(source: BinaryIO, change: RowChange, rows: range, dtype: np.dtype) -> np.ndarray:
    """The new content of some rows."""
    kept = _vectors(source, len(rows), change.dim, dtype)[~change.dropped(rows)]
    new: np.ndarray = change.mapped(kept, "The file").numpy().astype(dtype)
    return new


def _vectors(source: BinaryIO, rows: int, dim: int, dtype: np.dtype) -> Tensor:
    """The next rows, in the order of bytes of this machine."""
    size = rows * dim * dtype.itemsize
    raw = source.read(size)
    if len(raw) != size:
        raise DataError("The .npy file is cut short: it holds fewer rows than it says.")
    vectors = np.frombuffer(raw, dtype).reshape(-1, dim)
    return torch.from_numpy(vectors.astype(dtype.newbyteorder("=")))


def _header(source: BinaryIO) -> tuple[tuple[int, int], np.dtype]:
    """Rows, length of a vector, and type of the numbers."""
    try:
        version = np.lib.format.read_magic(source)
        shape, fortran, dtype = _HEADERS[version](source)
    except (ValueError, KeyError) as error:
        raise DataError(f"The file is no .npy array that can be read: {error}.") from error
    if len(shape) != 2 or dtype.kind != "f" or dtype.itemsize > 8:
        raise DataError(
            f"The array has the shape {shape} and the type {dtype}; a gallery is [n, d] of float16,"
            " float32 or float64."
        )
    if fortran and min(shape) > 1:
        raise DataError(
            "The array lies in Fortran order, so that rows are not together. Save"
            " numpy.ascontiguousarray(array) first."
        )
    return (shape[0], shape[1]), dtype
