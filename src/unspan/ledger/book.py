"""The file of a ledger: SQLite in WAL mode. Entries are added in one transaction, and never change.

A command that returned has its entry on disk. One that was killed, or met a full disk, leaves the
ledger as it was before.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unspan.errors import OutputError, UsageError
from unspan.ledger import chain
from unspan.ledger.chain import Entry, Kind
from unspan.ledger.database import broken, fill, opened, reported, strange
from unspan.ledger.files import publish_new
from unspan.ledger.rows import COLUMNS, entry_of, row_of
from unspan.system.output_paths import check_place

_ALL = f"SELECT {', '.join(COLUMNS)} FROM entry ORDER BY number"


@dataclass(frozen=True)
class Book:
    """What a ledger holds, as far as it can be read.

    Attributes:
        entries: in order.
        damage: what is wrong with the file or with rows that are left out here.
    """

    entries: tuple[Entry, ...]
    damage: tuple[str, ...] = ()

    def problems(self, head: str | None = None) -> list[str]:
        """What is wrong with the file or the chain; empty where all holds.

        Args:
            head: hash of an entry that was noted earlier.
        """
        return [*self.damage, *chain.problems(self.entries, head)]


class Writer:
    """A ledger inside a transaction."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    def entries(self) -> tuple[Entry, ...]:
        """All entries.

        Raises:
            ModelError: the ledger is damaged.
        """
        return whole(Book(*_rows(self._connection)), self._path)

    def add(self, kind: Kind, content: Mapping[str, Any], keep_until: str = "") -> Entry:
        """Add an entry at the end.

        Raises:
            ModelError: the last entry is damaged.
        """
        held, damage = _rows(self._connection, "SELECT * FROM entry ORDER BY number DESC LIMIT 1")
        last = held[0] if held else None
        if damage or (last is not None and last.hash != chain.hash_of(last)):
            raise broken(self._path, [*damage, "the last entry was changed"])
        entry = chain.following(last, kind, content, keep_until)
        places = ", ".join("?" * len(COLUMNS))
        self._connection.execute(f"INSERT INTO entry VALUES ({places})", row_of(entry))
        return entry

    def empty(self, numbers: Iterable[int]) -> None:
        """Purge the content of entries; add one that says so."""
        self._connection.executemany(
            "UPDATE entry SET content = NULL WHERE number = ?", [(one,) for one in numbers]
        )


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Add to a ledger in one transaction: all of it happens, or nothing. It is made if need be.

    Args:
        path: of the file.

    Raises:
        OutputError: it cannot be written, or another process holds it for a minute.
        ModelError: it is damaged.
        UsageError: the file is something else.
    """
    if not os.path.lexists(path):
        check_place(path)
        publish_new(path, fill)
    with reported(path), opened(path) as connection:
        if damage := strange(connection):
            raise broken(path, damage)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield Writer(connection, path)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def empty_log(path: Path) -> None:
    """Empty the write-ahead log of SQLite, so that it holds no content that was purged.

    Raises:
        OutputError: another process has the ledger open.
    """
    with reported(path), opened(path) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise OutputError(
            f"{path} is open in another process, so what was purged may still lie in"
            f" {path.name}-wal. End it, and purge again."
        )


def read(path: Path) -> Book:
    """What a ledger holds. A damaged one is read as far as possible, with `damage`.

    Raises:
        UsageError: there is no such file, or it is something else.
        UnsafeFileError: it is no regular file.
    """
    if not os.path.lexists(path):
        raise UsageError(f"{path} does not exist. unspan ledger add makes a ledger.")
    try:
        with opened(path) as connection:
            damage = strange(connection)
            damage += [
                f"the file is damaged: {line}"
                for (line,) in connection.execute("PRAGMA integrity_check")
                if line != "ok"
            ]
            entries, more = _rows(connection)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return Book((), (f"the file is damaged: {error}",))
    return Book(entries, (*damage, *more))


def whole(book: Book, path: Path) -> tuple[Entry, ...]:
    """The entries of a ledger that holds.

    Raises:
        ModelError: it does not.
    """
    if problems := book.problems():
        raise broken(path, problems)
    return book.entries


def _rows(
    connection: sqlite3.Connection, query: str = _ALL
) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Entries, and what is wrong with rows that are none."""
    entries, damage = [], []
    for row in connection.execute(query):
        try:
            entries.append(entry_of(row))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            damage.append(f"entry {row[0]} cannot be read ({error})")
    return tuple(entries), tuple(damage)
