"""Vectors in PostgreSQL with pgvector: mapped into a shadow column in batches, then one swap.

Readers see the old vectors until the swap, and the new ones after it; never a mixture. A killed
run goes on where it was: rows whose shadow is filled are not mapped again. Rows that are written
meanwhile lose their shadow by a trigger, and are mapped before the swap. The new column carries the
mark of the map as its comment, so that no vector is mapped twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import torch
from psycopg import sql

from unspan.errors import OutputError, UsageError
from unspan.galleries.columns import Columns
from unspan.galleries.postgres_files import marks_of, search_files
from unspan.galleries.row_change import RowChange, Rows
from unspan.run import Run

_OURS = "unspan "  # how marks of maps begin
SHADOW, STALE, TEMPORARY = "unspan_new", "unspan_stale", "unspan_part"
_BATCH = 1_000  # rows of one transaction: searches wait for none longer
_LOOKED_FOR, _OF_A_BATCH = 200, 20  # old vectors, in the files of the table
_KINDS: dict[str, np.dtype[Any]] = {"vector": np.dtype(">f4"), "halfvec": np.dtype(">f2")}
_KEYS = ("bigint", "integer", "smallint", "uuid", "text")
_DEFINED = re.compile(r" USING (?P<how>\w+) \((?P<rest>.*)$")


@dataclass(frozen=True)
class _Index:
    """An index on the column, and the same on the shadow."""

    name: str
    shadow: str
    definition: str


@dataclass(frozen=True)
class _Table:
    """What is known of the table.

    Attributes:
        number: of the relation.
        name: of the table, quoted, with its schema where it needs one.
        schema: where it and its indexes are.
        column: of the vectors.
        kind: `vector` or `halfvec`.
        declared: the type with its length, as a column is declared.
        key: column of the primary key.
        key_kind: its type.
        required: the column is NOT NULL.
        others: other columns of vectors.
        indexes: on the column.
    """

    number: int
    name: sql.Composable
    schema: str
    column: str
    kind: str
    declared: str
    key: str
    key_kind: str
    required: bool
    others: Sequence[str]
    indexes: Sequence[_Index]


def update(
    address: str,
    table: str,
    change: RowChange,
    columns: Columns,
    run: Run,
    *,
    mark: str,
    reclaim: bool,
) -> dict[str, Any]:
    """Map all vectors of a table in place.

    Args:
        address: `postgresql://user@host/database`.
        table: its name, with a schema where it needs one.
        change: the map and rows of the request.
        columns: of the vectors, and of the ids of the request (the primary key by default).
        run: progress.
        mark: of the map; a shadow of another map is not gone on with.
        reclaim: rewrite the table afterwards (`VACUUM FULL`), so that its files hold no old row;
            it is locked meanwhile. Some old vectors are then looked for in its files.

    Returns:
        What the receipt says of the table.

    Raises:
        UsageError: the table cannot be updated this way; nothing was changed.
        DataError: vectors have another length.
        OutputError: the server refused something.
    """
    if change.rows is Rows.FLAG:
        raise UsageError("Rows of a table are dropped, or kept; --rows flag is for files.")
    try:
        with psycopg.connect(address, autocommit=True) as link:
            held = _table(link, table, columns)
            if change.forget:
                _check_rows(link, held, columns)
            return _Update(link, held, change, columns, mark).run(run, reclaim)
    except psycopg.Error as error:
        text = " ".join(str(error).split())[:300].rstrip(".")
        raise OutputError(
            f"PostgreSQL: {text}. Searches find the old vectors, or all new ones; the same command"
            f" goes on. To give up: drop the column {SHADOW}, and the function {STALE}_... with"
            " CASCADE."
        ) from error


class _Update:
    """One table on its way from old vectors to new ones."""

    def __init__(
        self,
        link: psycopg.Connection,
        table: _Table,
        change: RowChange,
        columns: Columns,
        mark: str,
    ) -> None:
        self.link, self.table, self.change, self.mark = link, table, change, mark
        self.ids = columns.ids or table.key
        self.old: list[bytes] = []  # by which some old vectors are known in files
        self.names = {
            "table": table.name,
            "column": sql.Identifier(table.column),
            "shadow": sql.Identifier(SHADOW),
            "key": sql.Identifier(table.key),
            "stale": sql.Identifier(f"{STALE}_{table.number}"),
            "part": sql.Identifier(TEMPORARY),
            "ids": sql.Identifier(self.ids),
            "key_kind": sql.SQL(table.key_kind),  # of `_KEYS`
            "batch": sql.Literal(_BATCH),
            "mark": sql.Literal(mark),
            "declared": sql.SQL(table.declared),  # of the catalogue
        }

    def run(self, run: Run, reclaim: bool) -> dict[str, Any]:
        """Fill the shadow, build its indexes, swap; nothing of it where that was done before."""
        about: dict[str, Any] = {"reclaimed": reclaim}
        if self.table.others:
            about["other_vectors"] = list(self.table.others)
        mark = self._mark_of(self.table.column)
        if mark == self.mark:
            self._drop_rows()
        elif mark is not None and mark.startswith(_OURS):
            raise UsageError(
                f"The column {self.table.column} was mapped by another deletion already. A deletion"
                " holds all requests so far, and is of the vectors before any of them: bring these"
                " back, or embed the samples again."
            )
        else:
            about["rows_of_an_earlier_run"] = self._replace(run)
        if reclaim:
            run.report("rewriting the table", 0, None)
            self._do("VACUUM (FULL, ANALYZE) {table}")
            run.report("looking for old vectors in its files", 0, None)
            about["old_vectors"] = search_files(self.link, self.table.number, self.old)
        empty = self._count("SELECT count(*) FROM {table} WHERE {column} IS NULL")
        self.change.counts.empty += empty
        return {
            "rows": self._count("SELECT count(*) FROM {table}"),
            "indexes": [one.name for one in self.table.indexes],
            **about,
        }

    def _replace(self, run: Run) -> int:
        """Fill the shadow, build its indexes, swap; how many rows an earlier run had filled."""
        self._prepare()
        before = self._count("SELECT count(*) FROM {table} WHERE {shadow} IS NOT NULL")
        total = self._count("SELECT count(*) FROM {table}")
        self._fill(run, total)
        # searches come first: an index is built by one process of the server
        self._do("SET max_parallel_maintenance_workers = 0")
        for one in self.table.indexes:
            run.report(f"index {one.name}", 0, None)
            self.link.execute(one.definition)
        self._fill(run, total)  # what was written meanwhile
        run.report("the swap", 0, None)
        with self.link.transaction():
            self._do("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            self._fill(run, total)
            self._drop_rows()
            self._swap()
        return before

    def _mark_of(self, column: str) -> str | None:
        """The map that made a column, or some other comment; None where there is no such column."""
        row = self.link.execute(
            "SELECT coalesce(col_description(attrelid, attnum), '') FROM pg_attribute"
            " WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped",
            (self.table.name.as_string(self.link), column),
        ).fetchone()
        return None if row is None else str(row[0])

    def _fill(self, run: Run, total: int) -> None:
        """Map every row whose shadow is empty, in the order of the key."""
        last: list[Any] = []
        while rows := self._batch(last):
            last = [rows[-1][0]]
            run.report("rows of the table", self.change.counts.read, total)

    def _prepare(self) -> None:
        """The shadow, and the trigger that empties it where a vector is written meanwhile."""
        with self.link.transaction():
            if self._mark_of(SHADOW) not in (None, self.mark):
                self._do("ALTER TABLE {table} DROP COLUMN {shadow}")
            self._do("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {shadow} {declared}")
            self._do("COMMENT ON COLUMN {table}.{shadow} IS {mark}")
            self._do(
                "CREATE OR REPLACE FUNCTION {stale}() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN NEW.{shadow} := NULL; RETURN NEW; END $$"
            )
            self._do(
                "CREATE OR REPLACE TRIGGER {stale} BEFORE UPDATE OF {column} ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION {stale}()"
            )
            self._do(
                "CREATE TEMPORARY TABLE IF NOT EXISTS {part} (key {key_kind} PRIMARY KEY,"
                " new {declared}) ON COMMIT PRESERVE ROWS"
            )

    def _batch(self, last: list[Any]) -> list[tuple[Any, bytes]]:
        """Map the next rows after a key whose shadow is empty, and return what they held."""
        after = " AND {key} > %s" if last else ""
        query = (
            "SELECT {key}, {column} FROM {table} WHERE {shadow} IS NULL AND {column} IS NOT NULL"
            + after
            + " ORDER BY {key} LIMIT {batch} FOR UPDATE"
        )
        with self.link.transaction():
            rows = self.link.cursor(binary=True).execute(self._sql(query), last).fetchall()
            if not rows:
                return []
            vectors = self._vectors([one[1] for one in rows])
            new = self.change.mapped(vectors, f"Column '{self.table.column}'")
            self.change.counts.read += len(rows)
            self._note(vectors.numpy(), new.numpy())
            self._do("TRUNCATE {part}")
            copy = self._sql("COPY {part} (key, new) FROM STDIN (FORMAT BINARY)")
            with self.link.cursor().copy(copy) as out:
                out.set_types([self.table.key_kind, "bytea"])
                for row, content in zip(rows, self._stored(new), strict=True):
                    out.write_row((row[0], content))
            self._do(
                "UPDATE {table} AS old SET {shadow} = {part}.new FROM {part}"
                " WHERE old.{key} = {part}.key"
            )
        return rows

    def _note(self, old: np.ndarray, new: np.ndarray) -> None:
        """Keep what a few old vectors are known by."""
        if len(self.old) < _LOOKED_FOR:
            self.old += marks_of(old, new)[:_OF_A_BATCH]

    def _vectors(self, stored: Sequence[bytes]) -> torch.Tensor:
        """`[n, d]` from the binary form: two 16-bit numbers, then those of the vector."""
        kind = _KINDS[self.table.kind]
        lengths = {(len(one) - 4) // kind.itemsize for one in stored}
        for dim in lengths:
            self.change.check_dim(dim, f"Column '{self.table.column}'")
        rows = np.stack([np.frombuffer(one, kind, offset=4) for one in stored])
        return torch.from_numpy(rows.astype(kind.newbyteorder("=")))

    def _stored(self, vectors: torch.Tensor) -> list[bytes]:
        """The binary form of vectors."""
        head = len(vectors[0]).to_bytes(2, "big") + b"\0\0"
        kind = _KINDS[self.table.kind]
        return [head + row.astype(kind).tobytes() for row in vectors.numpy()]

    def _drop_rows(self) -> None:
        """Delete the rows of the request."""
        if not self.change.forget:
            return
        named = list(self.change.forget)
        gone = self._sql("DELETE FROM {table} WHERE {ids}::text = ANY(%s)")
        found = self.link.execute(gone, (named,)).rowcount
        self.change.counts.of_request += found
        self.change.counts.dropped += found

    def _swap(self) -> None:
        """Put the shadow and its indexes in the place of the old column."""
        if self.table.required:
            self._do("ALTER TABLE {table} ALTER COLUMN {shadow} SET NOT NULL")
        self._do("DROP TRIGGER {stale} ON {table}")
        self._do("DROP FUNCTION {stale}()")
        self._do("ALTER TABLE {table} DROP COLUMN {column}")
        self._do("ALTER TABLE {table} RENAME COLUMN {shadow} TO {column}")
        for one in self.table.indexes:
            old = sql.Identifier(self.table.schema, one.shadow)
            names = {"old": old, "new": sql.Identifier(one.name)}
            self._do("ALTER INDEX {old} RENAME TO {new}", **names)

    def _sql(self, text: str, **more: sql.Composable) -> sql.Composed:
        return sql.SQL(text).format(**self.names, **more)

    def _do(self, text: str, **more: sql.Composable) -> None:
        self.link.execute(self._sql(text, **more))

    def _count(self, text: str) -> int:
        row = self.link.execute(self._sql(text)).fetchone()
        assert row is not None
        return int(row[0])


def _table(link: psycopg.Connection, table: str, columns: Columns) -> _Table:
    """What the catalogue says of the table.

    Raises:
        UsageError: it has no such column, no single primary key, or something that a swap of the
            column would break.
    """
    row = link.execute(
        "SELECT pg_class.oid, pg_class.oid::regclass::text, nspname FROM pg_class JOIN pg_namespace"
        " ON pg_namespace.oid = relnamespace WHERE pg_class.oid = to_regclass(%s)",
        (table,),
    ).fetchone()
    if row is None:
        raise UsageError(f"--table {table}: there is no such table in the database.")
    number, quoted, schema = row
    kinds = _vector_columns(link, number)
    column = columns.vector or (next(iter(kinds)) if len(kinds) == 1 else "")
    if column not in kinds:
        raise UsageError(
            f"Name the column of vectors with --column: {table} has {', '.join(kinds) or 'none'} of"
            " the types vector and halfvec."
        )
    declared, required, place = kinds[column]
    key, key_kind = _key(link, number, table)
    _refuse_dependants(link, number, place, table, column)
    return _Table(
        number=number,
        name=sql.SQL(quoted),  # quoted by the server
        schema=schema,
        column=column,
        kind=declared.partition("(")[0],
        declared=declared,
        key=key,
        key_kind=key_kind,
        required=required,
        others=sorted(kinds.keys() - {column}),
        indexes=_indexes(link, number, place, quoted, column),
    )


def _check_rows(link: psycopg.Connection, table: _Table, columns: Columns) -> None:
    """Refuse rows that could not be deleted, before any work (UsageError)."""
    rows = link.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped",
        (table.number,),
    ).fetchall()
    names = [one for (one,) in rows]
    if columns.ids is not None and columns.ids not in names:
        raise UsageError(f"--id-column {columns.ids}: the table has {', '.join(names)}.")
    held_by = link.execute(
        "SELECT conrelid::regclass::text FROM pg_constraint WHERE confrelid = %s"
        " AND contype = 'f' AND confdeltype IN ('a', 'r')",
        (table.number,),
    ).fetchall()
    if held_by:
        raise UsageError(
            f"Rows of {', '.join(one for (one,) in held_by)} point to rows of the table, so these"
            " cannot be deleted. Delete those first, and leave out --rows drop here; or let the"
            " reference delete with them (ON DELETE CASCADE)."
        )


def _vector_columns(link: psycopg.Connection, number: int) -> dict[str, tuple[str, bool, int]]:
    """Type, NOT NULL and number of the columns of vectors by name, but for the shadow."""
    rows = link.execute(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attnum FROM pg_attribute"
        " JOIN pg_type ON pg_type.oid = atttypid WHERE attrelid = %s AND attnum > 0"
        " AND NOT attisdropped AND typname = ANY(%s) AND attname <> %s",
        (number, list(_KINDS), SHADOW),
    ).fetchall()
    return {name: (declared, required, place) for name, declared, required, place in rows}


def _key(link: psycopg.Connection, number: int, table: str) -> tuple[str, str]:
    """Name and type of the primary key."""
    rows = link.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_index JOIN pg_attribute"
        " ON attrelid = indrelid AND attnum = ANY(indkey) WHERE indrelid = %s AND indisprimary",
        (number,),
    ).fetchall()
    if len(rows) != 1 or rows[0][1] not in _KEYS:
        raise UsageError(
            f"{table} needs a primary key of one column ({', '.join(_KEYS)}), by which rows are"
            " updated in batches."
        )
    return rows[0]


def _refuse_dependants(
    link: psycopg.Connection, number: int, place: int, table: str, column: str
) -> None:
    """Views and the like would keep the old column, or fall with it."""
    rows = link.execute(
        "SELECT DISTINCT pg_describe_object(classid, objid, objsubid) FROM pg_depend"
        " WHERE refclassid = 'pg_class'::regclass AND refobjid = %s AND refobjsubid = %s"
        " AND classid <> 'pg_class'::regclass AND objid NOT IN"
        " (SELECT oid FROM pg_trigger WHERE tgname LIKE %s"
        "  UNION SELECT oid FROM pg_constraint WHERE contype = 'n')",
        (number, place, STALE + "%"),
    ).fetchall()
    if rows:
        raise UsageError(
            f"{', '.join(one[0] for one in rows)} depends on {table}.{column}, and would lose it."
            " Drop it first, and make it again afterwards."
        )


def _indexes(
    link: psycopg.Connection, number: int, place: int, table: str, column: str
) -> list[_Index]:
    """Indexes on the column, and what makes the same ones on the shadow."""
    rows = link.execute(
        "SELECT relname, pg_get_indexdef(indexrelid), indnatts FROM pg_index JOIN pg_class"
        " ON pg_class.oid = indexrelid WHERE indrelid = %s AND indexrelid IN (SELECT objid"
        " FROM pg_depend WHERE refclassid = 'pg_class'::regclass AND refobjid = indrelid"
        " AND refobjsubid = %s)",
        (number, place),
    ).fetchall()
    found = []
    for name, definition, width in rows:
        parts = _DEFINED.search(definition)
        own = (f"{column} ", f'"{column}" ')
        if parts is None or width != 1 or not parts["rest"].startswith(own):
            raise UsageError(
                f"Index {name} is more than an index on {column} alone. Drop it first, and make it"
                " again afterwards."
            )
        shadow = f"unspan_{name}"[:63]
        rest = next(parts["rest"].removeprefix(one) for one in own if parts["rest"].startswith(one))
        how = f"{parts['how']} ({SHADOW} {rest}"
        made = f'CREATE INDEX IF NOT EXISTS "{shadow}" ON {table} USING {how}'
        found.append(_Index(name, shadow, made))
    return found
