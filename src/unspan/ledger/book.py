"""The file of a ledger: SQLite in WAL mode. Entries are added in one transaction, and never change.

A command that returned has its entry on disk. One that was killed, or met a full disk, leaves the
ledger as it was before.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from unspan.errors import ModelError, OutputError, UsageError
from unspan.ledger import chain
from unspan.ledger.chain import Entry, Kind
from unspan.ledger.files import publish_new
from unspan.sealing.canonical import canonical
from unspan.sealing.files import check_regular
from unspan.system.output_paths import check_place

_APPLICATION, _VERSION = 0x756E6C67, 1  # in the header of the file
_WAIT = 60.0  # seconds for another writer
_BESIDE = ("-wal", "-shm")  # files of SQLite, while the ledger is open or after a kill
_TABLE = """
CREATE TABLE entry (
  number INTEGER PRIMARY KEY,
  time TEXT NOT NULL,
  kind TEXT NOT NULL,
  keep_until TEXT NOT NULL,
  digest TEXT NOT NULL,
  before TEXT NOT NULL,
  hash TEXT NOT NULL,
  content TEXT
);
CREATE TRIGGER entries_stay BEFORE DELETE ON entry
BEGIN SELECT RAISE(ABORT, 'entries are never removed'); END;
CREATE TRIGGER entries_follow BEFORE INSERT ON entry
WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM entry)
BEGIN SELECT RAISE(ABORT, 'entries are added at the end'); END;
CREATE TRIGGER entries_are_final BEFORE UPDATE ON entry
WHEN NEW.content IS NOT NULL OR NEW.number IS NOT OLD.number OR NEW.time IS NOT OLD.time
  OR NEW.kind IS NOT OLD.kind OR NEW.keep_until IS NOT OLD.keep_until
  OR NEW.digest IS NOT OLD.digest OR NEW.before IS NOT OLD.before OR NEW.hash IS NOT OLD.hash
BEGIN SELECT RAISE(ABORT, 'of an entry only the content can be purged'); END;
"""
_COLUMNS = ("number", "time", "kind", "keep_until", "digest", "before", "hash", "content")
_TYPES = {  # of what an entry says; all else is text
    **dict.fromkeys(("entries", "private", "classes"), list),
    **dict.fromkeys(("samples", "attacks", "references", "earlier"), int),
}
_NEEDED = {
    Kind.DELETION: {"salt", "seal", "request", "classes", "samples", "method", "created"},
    Kind.AUDIT: {"salt", "seal", "verdict", "attacks", "references", "created"},
    Kind.PURGE: {"entries", "private"},
    Kind.NOTE: {"salt"},
}
_ALL = f"SELECT {', '.join(_COLUMNS)} FROM entry ORDER BY number"


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
            raise _broken(self._path, [*damage, "the last entry was changed"])
        entry = chain.following(last, kind, content, keep_until)
        places = ", ".join("?" * len(_COLUMNS))
        self._connection.execute(f"INSERT INTO entry VALUES ({places})", _row(entry))
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
        publish_new(path, _fill)
    with _reported(path), _opened(path) as connection:
        _check_ours(connection, path)
        if damage := _strange(connection):
            raise _broken(path, damage)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield Writer(connection, path)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def forget_old_pages(path: Path) -> None:
    """Rewrite the file, so that nothing in it holds content that was purged.

    Raises:
        OutputError: another process reads or writes the ledger.
    """
    with _reported(path), _opened(path) as connection:
        connection.execute("VACUUM")
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
        with _opened(path) as connection:
            _check_ours(connection, path)
            damage = _strange(connection)
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
        raise _broken(path, problems)
    return book.entries


def _broken(path: Path, problems: Iterable[str]) -> ModelError:
    return ModelError(
        f"{path} does not hold: {'; '.join(problems)}. Take it from a backup; unspan ledger verify"
        " checks it."
    )


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection: WAL, every commit flushed to disk, removed content overwritten."""
    for file in (path, *(path.with_name(path.name + one) for one in _BESIDE)):
        if file == path or os.path.lexists(file):
            check_regular(file)
    address = f"file:{quote(str(path.resolve()))}?mode=rw"
    with closing(
        sqlite3.connect(address, uri=True, timeout=_WAIT, isolation_level=None)
    ) as connection:
        for setting in ("synchronous = FULL", "secure_delete = ON", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {setting}")
        yield connection


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Errors of SQLite as those of unspan."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(
            f"{path} could not be written: {error}. What was there before is unchanged."
        ) from error
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _broken(path, [str(error)]) from error


def _fill(part: Path) -> None:
    """Write an empty ledger."""
    with _reported(part), _opened(part) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN; PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION};"
            f"{_TABLE} COMMIT;"
        )


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what is no ledger, or one of another version (UsageError)."""
    try:
        ours = connection.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if "not a database" not in str(error):
            raise
        ours, version = False, 0
    if not ours:
        raise UsageError(f"{path} is no ledger of unspan; nothing is changed. Choose another file.")
    if version != _VERSION:
        raise UsageError(f"{path} is a ledger of version {version}, which unspan does not know.")


def _strange(connection: sqlite3.Connection) -> list[str]:
    """Whether the rules of the file were changed: its table, its triggers, the mode of SQLite."""
    listing = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(_TABLE)
        same = fresh.execute(listing).fetchall() == connection.execute(listing).fetchall()
    same = same and connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    return [] if same else ["the rules of the file, which protect its entries, were changed"]


def _row(entry: Entry) -> tuple[Any, ...]:
    content = None if entry.content is None else canonical(entry.content)
    return (
        entry.number,
        entry.time,
        entry.kind.value,
        entry.keep_until,
        entry.digest,
        entry.before,
        entry.hash,
        content,
    )


def _rows(
    connection: sqlite3.Connection, query: str = _ALL
) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Entries, and what is wrong with rows that are none."""
    entries, damage = [], []
    for row in connection.execute(query):
        try:
            entries.append(_entry(row))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            damage.append(f"entry {row[0]} cannot be read ({error})")
    return tuple(entries), tuple(damage)


def _entry(row: tuple[Any, ...]) -> Entry:
    number, time, kind, keep_until, digest, before, hash_, text = row
    if type(number) is not int or any(type(one) is not str for one in row[1:-1]):
        raise TypeError("a column is of another type")
    content = None if text is None else json.loads(text)
    if content is not None and (not isinstance(content, dict) or canonical(content) != text):
        raise ValueError("its content is not in the form that unspan writes")
    found = Entry(
        number=number,
        time=time,
        kind=Kind(kind),
        keep_until=keep_until,
        digest=digest,
        before=before,
        hash=hash_,
        content=content,
    )
    _check_content(found)
    return found


def _check_content(entry: Entry) -> None:
    """Refuse content that cannot be shown (TypeError, ValueError)."""
    content = entry.content or {}
    for name, value in content.items():
        if not isinstance(value, _TYPES.get(name, str)) or isinstance(value, bool):
            raise TypeError(f"{name} is of another type")
    listed = [*content.get("entries", ()), *(one["files"] for one in content.get("private", ()))]
    named = [*content.get("classes", ()), *(one["seal"] for one in content.get("private", ()))]
    if any(type(one) is not int for one in listed) or any(type(one) is not str for one in named):
        raise TypeError("a list in its content holds something else")
    needed = _NEEDED[entry.kind] | ({"key"} if "who" in content else set())
    if entry.content is not None and not needed <= content.keys():
        raise ValueError(f"it does not say {' and '.join(sorted(needed - content.keys()))}")
