"""Add entries to a ledger: of a deletion, of an audit, or a note."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from unspan.errors import UsageError
from unspan.ledger.book import writing
from unspan.ledger.chain import Entry, Kind, salted
from unspan.ledger.facts import audit_facts, deletion_facts
from unspan.ledger.who import commitment, fingerprint, key_for
from unspan.sealing.checking import require_sealed
from unspan.sealing.manifest import read_manifest

_FACTS: Mapping[Kind, Callable[[Path], Any]] = {
    Kind.DELETION: deletion_facts,
    Kind.AUDIT: audit_facts,
}
_LONGEST = 2000  # characters of a note, or of who asked


def add(
    ledger: Path,
    folder: Path | None = None,
    *,
    who: str | None = None,
    note: str | None = None,
    keep_until: str = "",
) -> Entry:
    """Add one entry. What it names lies on disk when this returns.

    Args:
        ledger: file of the ledger; made where there is none.
        folder: of a deletion or of an audit; None for a note alone.
        who: who asked. Only a keyed commitment of it is kept.
        note: free text, which everybody who gets the ledger reads.
        keep_until: date (YYYY-MM-DD) after which the content may be purged; empty to keep it.

    Raises:
        UsageError: an argument cannot be used.
        ModelError: the folder is not as it was sealed, or the ledger is damaged.
        OutputError: the ledger cannot be written; nothing was added.
    """
    _check_texts(who=who, note=note)
    _check_date(keep_until)
    kind, facts = _told(folder)
    if folder is None and note is None:
        raise UsageError("There is nothing to add: name a folder, or give a note with --note.")
    content = salted(facts if note is None else {**facts, "note": note})
    with writing(ledger) as book:
        if who is not None:
            key = key_for(ledger, book.entries())
            content["who"] = commitment(key, content["salt"], who)
            content["key"] = fingerprint(key)
        return book.add(kind, content, keep_until)


def _told(folder: Path | None) -> tuple[Kind, dict[str, Any]]:
    """What an entry says of a folder, with its seal."""
    if folder is None:
        return Kind.NOTE, {}
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder.")
    said = str(read_manifest(folder)["kind"])
    kinds = {one.value: one for one in _FACTS}
    if said not in kinds:
        raise UsageError(f"{folder} is no folder of a deletion or an audit (its seal says {said}).")
    seal = require_sealed(folder, said)
    return kinds[said], {"seal": seal, **asdict(_FACTS[kinds[said]](folder))}


def _check_texts(**texts: str | None) -> None:
    for name, text in texts.items():
        if text is None:
            continue
        if not text.strip() or len(text) > _LONGEST:
            raise UsageError(f"--{name} takes 1 to {_LONGEST} characters, not {len(text)}.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"--{name} is no text in UTF-8.") from error


def _check_date(text: str) -> None:
    try:
        right = not text or date.fromisoformat(text).isoformat() == text
    except ValueError:
        right = False
    if not right:
        raise UsageError(f"--keep-until {text!r} is no date. Write it as 2030-12-31.")
