"""Remove what must not be kept: contents of entries, keys, private folders. Each leaves an entry.

Files are overwritten and removed. That is no guarantee on SSDs, snapshots and backups.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from unspan.errors import ModelError, OutputError, UsageError
from unspan.ledger.book import Writer, empty_log, read, whole, writing
from unspan.ledger.chain import Entry, Kind
from unspan.ledger.files import destroy, flush_folder, reason
from unspan.ledger.who import fingerprint, key_file, known_key, read_key
from unspan.sealing.manifest import MANIFEST, read_manifest
from unspan.system.schemas import PRIVATE_STATE


@dataclass(frozen=True)
class Purged:
    """What was removed, or would be.

    Attributes:
        entries: numbers of the entries whose content goes.
        private: seals of the deletions whose private folder goes, and how many files it had.
        key: fingerprint of the key of the ledger that goes, None where it stays.
        entry: that records it; None where nothing was to be done, or nothing was done yet.
    """

    entries: tuple[int, ...]
    private: tuple[tuple[str, int], ...]
    key: str | None
    entry: Entry | None = None


def purge(
    ledger: Path,
    *,
    entries: Sequence[int] = (),
    private: Sequence[Path] = (),
    key: bool = False,
    dry_run: bool = False,
) -> Purged:
    """Empty entries whose time is over, and remove what is named besides.

    Args:
        ledger: file of the ledger.
        entries: further entries to empty before their time.
        private: folders of deletions, whose private folders (key and state) are removed.
        key: remove the key of the ledger: who asked can then never be tested again.
        dry_run: only say what would go.

    Raises:
        UsageError: an entry or a folder cannot be purged.
        ModelError: the ledger is damaged, or a private folder belongs to another deletion.
        OutputError: something cannot be removed or written.
    """
    held = whole(read(ledger), ledger)
    planned = Purged(
        _over(held, entries),
        tuple((_seal(folder), len(_secrets(folder))) for folder in private),
        _key(ledger, held) if key else None,
    )
    if dry_run:
        return planned
    for folder in private:
        _remove(folder)
    if key and os.path.lexists(key_file(ledger)):
        destroy(key_file(ledger))
    with writing(ledger) as book:
        done = _recorded(book, planned, entries)
    empty_log(ledger)
    return done


def _recorded(book: Writer, planned: Purged, named: Sequence[int]) -> Purged:
    """Empty the entries and say what went, in one transaction."""
    over = _over(book.entries(), named)
    if not (over or planned.private or planned.key):
        return planned
    content: dict[str, Any] = {
        "entries": list(over),
        "private": [{"seal": seal, "files": count} for seal, count in planned.private],
    }
    if planned.key is not None:
        content["key"] = planned.key
    entry = book.add(Kind.PURGE, content)
    book.empty(over)
    return Purged(over, planned.private, planned.key, entry)


def _over(held: Sequence[Entry], named: Sequence[int]) -> tuple[int, ...]:
    """Numbers of entries that are to be emptied: their time is over, or they are named."""
    today = datetime.now(timezone.utc).date().isoformat()
    known = {one.number: one for one in held}
    for number in named:
        if number not in known:
            raise UsageError(f"There is no entry {number}; the last is {len(held)}.")
        if known[number].kind is Kind.PURGE:
            raise UsageError(f"Entry {number} records a purge, and stays.")
    return tuple(
        one.number
        for one in held
        if one.content is not None
        and (one.number in named or (one.keep_until and one.keep_until < today))
    )


def _key(ledger: Path, held: Sequence[Entry]) -> str:
    """Fingerprint of the key of a ledger, also where only the file, or only entries, know it."""
    path, known = key_file(ledger), known_key(held)
    if known is not None:
        return known
    if not os.path.lexists(path):
        raise UsageError(f"{ledger} has no key, or it was purged already.")
    return fingerprint(read_key(path))


def _seal(folder: Path) -> str:
    return str(read_manifest(folder)["seal"])


def _secrets(folder: Path) -> list[Path]:
    """The files of the private folder of a deletion; empty where it is gone.

    Raises:
        UsageError: it holds something that unspan did not write.
        ModelError: it belongs to another deletion.
    """
    secret = _private(folder)
    if not os.path.lexists(secret):
        return []
    if secret.is_symlink() or not secret.is_dir():
        raise UsageError(f"{secret} is no folder. Remove it yourself.")
    known = {*PRIVATE_STATE.files, MANIFEST}
    found = sorted(secret.iterdir())
    foreign = [one.name for one in found if one.name not in known or not one.is_file()]
    if foreign:
        raise UsageError(f"{secret} holds {foreign[0]!r}, which unspan did not write. Move it.")
    manifest = secret / MANIFEST
    if manifest.exists() and read_manifest(secret).get("of") != _seal(folder):
        raise ModelError(f"{secret} belongs to another deletion than {folder}.")
    return found


def _remove(folder: Path) -> None:
    """Overwrite and remove the private folder of a deletion; what says whose it is goes last."""
    found = _secrets(folder)
    for one in sorted(found, key=lambda one: one.name == MANIFEST):
        destroy(one)
    if found:
        try:
            _private(folder).rmdir()
            flush_folder(_private(folder).parent)
        except OSError as error:
            raise OutputError(
                f"{_private(folder)} could not be removed: {reason(error)}."
            ) from error


def _private(folder: Path) -> Path:
    whole_path = Path(os.path.abspath(folder))
    return whole_path.with_name(whole_path.name + ".private")
