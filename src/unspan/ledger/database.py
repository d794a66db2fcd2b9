"""The SQLite file of a ledger: how it is opened, and the rules that protect its entries.

While a ledger is open, nothing but SQLite may open its file: closing it again would end the locks
of the whole process (POSIX), and two writers would tear the chain.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from unspan.errors import ModelError, OutputError, UnsafeFileError, UsageError
from unspan.sealing.files import check_regular

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


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a ledger: every commit is flushed to disk, removed content overwritten.

    Raises:
        UsageError: the file is no ledger, or one of another version.
        UnsafeFileError: it is no regular file.
    """
    check_regular(path)
    for file in _beside(path):
        _check_if_there(file)
    with _connected(path) as connection:
        _check_ours(connection, path)
        _set(connection)
        yield connection


def _check_if_there(file: Path) -> None:
    """Refuse a link or a pipe. Another process may remove the file at any moment."""
    try:
        regular = stat.S_ISREG(os.lstat(file).st_mode)
    except FileNotFoundError:
        return
    if not regular:
        raise UnsafeFileError(f"{file} is no regular file. Remove it.")


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    # in a folder that cannot be written, as on a disc, SQLite can read a file that nobody changes
    fixed = not os.access(path.parent, os.W_OK) and not any(map(os.path.lexists, _beside(path)))
    mode = "mode=ro&immutable=1" if fixed else "mode=rw"
    address = f"file:{quote(str(path.resolve()))}?{mode}"
    with closing(
        sqlite3.connect(address, uri=True, timeout=_WAIT, isolation_level=None)
    ) as connection:
        if fixed:
            connection.execute("PRAGMA query_only = ON")
        yield connection


def _set(connection: sqlite3.Connection) -> None:
    for setting in ("synchronous = FULL", "secure_delete = ON", "trusted_schema = OFF"):
        connection.execute(f"PRAGMA {setting}")


def _beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + one) for one in _BESIDE]


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Errors of SQLite as those of unspan."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(
            f"{path} could not be written: {error}. What was there before is unchanged."
        ) from error
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise broken(path, [str(error)]) from error


def fill(part: Path) -> None:
    """Write an empty ledger."""
    try:
        with reported(part), _connected(part) as connection:
            _set(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(
                f"BEGIN; PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION};"
                f"{_TABLE} COMMIT;"
            )
    finally:
        for one in _beside(part):
            one.unlink(missing_ok=True)


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


def strange(connection: sqlite3.Connection) -> list[str]:
    """Whether the rules of the file were changed: its table, its triggers, the mode of SQLite."""
    listing = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(_TABLE)
        same = fresh.execute(listing).fetchall() == connection.execute(listing).fetchall()
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    fixed = connection.execute("PRAGMA query_only").fetchone()[0]  # then SQLite writes no log
    if same and (mode == "wal" or fixed):
        return []
    return ["the rules of the file, which protect its entries, were changed"]


def broken(path: Path, problems: Iterable[str]) -> ModelError:
    """The error for a ledger that cannot be believed."""
    return ModelError(
        f"{path} does not hold: {'; '.join(problems)}. Take it from a backup; unspan ledger verify"
        " checks it."
    )
