"""Whether old vectors are still in the files of a table, read through the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

_PART = 32 << 20  # bytes that are read at a time
_SEGMENT = 1 << 30  # a relation goes on in another file after so many bytes
_NUMBERS = 64  # of a vector that are looked for: longer ones are stored in pieces
_TELLING = 8  # different numbers that tell a vector from others


def marks_of(old: np.ndarray, new: np.ndarray) -> list[bytes]:
    """Bytes by which old vectors are known in files, of those that changed.

    Args:
        old: `[n, d]`, of the type they are stored in.
        new: `[n, d]`.
    """
    first, now = old[:, :_NUMBERS], new[:, :_NUMBERS]
    little = first.astype(first.dtype.newbyteorder("<"))
    return [
        row.tobytes()
        for row, before, after in zip(little, first, now, strict=True)
        if len(np.unique(before)) >= _TELLING and not np.array_equal(before, after)
    ]


def search_files(link: psycopg.Connection, table: int, marks: Sequence[bytes]) -> dict[str, Any]:
    """Look for old vectors in the files of a table, its indexes and its long values.

    Args:
        link: to the server; it must be allowed to read files.
        table: number of the relation.
        marks: of old vectors.

    Returns:
        `looked_for` and `found` vectors, and `bytes` that were read; or `not_looked_for`, why not.
    """
    if not marks:
        return {"not_looked_for": "this run knows no old vector that changed"}
    try:
        link.execute("CHECKPOINT")
        names = _files(link, table)
        wanted = set(marks)
        left, total = wanted, 0
        for name in names:
            for part in _parts(link, name):
                total += len(part)
                left = {one for one in left if one not in part}
    except psycopg.errors.InsufficientPrivilege:
        return {
            "not_looked_for": "the role may not read files (pg_read_server_files, pg_checkpoint)"
        }
    return {"looked_for": len(wanted), "found": len(wanted) - len(left), "bytes": total}


def _files(link: psycopg.Connection, table: int) -> list[str]:
    """Paths of the table, of its indexes, and of the table of long values with its index."""
    rows = link.execute(
        "WITH own AS (SELECT oid, reltoastrelid FROM pg_class WHERE oid = %s),"
        " tables AS (SELECT oid FROM own UNION SELECT reltoastrelid FROM own)"
        " SELECT pg_relation_filepath(oid) FROM tables WHERE oid <> 0"
        " UNION SELECT pg_relation_filepath(indexrelid) FROM pg_index"
        " WHERE indrelid IN (SELECT oid FROM tables)",
        (table,),
    ).fetchall()
    return [one for (one,) in rows]


def _parts(link: psycopg.Connection, name: str) -> Iterator[bytes]:
    """The content of a relation; parts share enough bytes that no vector falls between two."""
    shared = _NUMBERS * 8
    for segment in range(1 << 20):
        path = name if segment == 0 else f"{name}.{segment}"
        for start in range(0, _SEGMENT, _PART):
            query = sql.SQL("SELECT pg_read_binary_file(%s, %s, %s, true)")
            row = link.cursor(binary=True).execute(query, (path, start, _PART + shared)).fetchone()
            held = b"" if row is None or row[0] is None else bytes(row[0])
            if held:
                yield held
            if len(held) < _PART:
                break
        else:
            continue
        return
