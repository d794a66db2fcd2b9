"""The chain of a ledger: what an entry is, its hash, and what can be wrong with many of them.

An entry hashes its number, time, kind, retention, the digest of its content and the hash of the
entry before it. The content itself is not hashed, so it can be purged and the chain still holds.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from unspan.sealing.canonical import canonical
from unspan.system.schemas import LEDGER
from unspan.system.text_enum import TextEnum

START = "sha256:" + 64 * "0"  # what the first entry names as the one before it


class Kind(TextEnum):
    """What an entry records."""

    DELETION = "deletion"
    AUDIT = "audit"
    PURGE = "purge"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry.

    Attributes:
        number: 1 for the first.
        time: when it was added, UTC, to the second.
        kind: what it records.
        keep_until: date after which `purge` empties it; empty where it is kept.
        digest: of the content, which stays when the content is purged.
        before: hash of the entry before it.
        hash: of all of these.
        content: what it says, JSON-ready; None once it was purged.
    """

    number: int
    time: str
    kind: Kind
    keep_until: str
    digest: str
    before: str
    hash: str = ""
    content: Mapping[str, Any] | None = None


def following(
    last: Entry | None, kind: Kind, content: Mapping[str, Any], keep_until: str = ""
) -> Entry:
    """The entry that comes after another one.

    Args:
        last: the entry before it, None for the first.
        kind: what it records.
        content: what it says; `salted` where somebody could guess it from its digest.
        keep_until: date (YYYY-MM-DD), empty to keep it.
    """
    made = Entry(
        number=1 if last is None else last.number + 1,
        time=datetime.now(timezone.utc).replace(microsecond=0).isoformat(),
        kind=kind,
        keep_until=keep_until,
        digest=digest(content),
        before=START if last is None else last.hash,
        content=content,
    )
    return replace(made, hash=hash_of(made))


def salted(content: Mapping[str, Any]) -> dict[str, Any]:
    """Content with 32 random bytes: after a purge nobody can test guesses against its digest."""
    return {**content, "salt": secrets.token_hex(32)}


def digest(content: Mapping[str, Any]) -> str:
    """Hash of what an entry says."""
    return _sha256(canonical(content))


def hash_of(entry: Entry) -> str:
    """Hash of an entry, which the next one names."""
    return _sha256(
        canonical(
            {
                "schema": LEDGER.schema,
                "number": entry.number,
                "time": entry.time,
                "kind": entry.kind.value,
                "keep_until": entry.keep_until,
                "digest": entry.digest,
                "before": entry.before,
            }
        )
    )


def problems(entries: Sequence[Entry], head: str | None = None) -> list[str]:
    """What is wrong with a chain; empty where it holds.

    Args:
        entries: all of them, in order.
        head: hash of an entry that was noted earlier, which must be among them.
    """
    found = []
    gone = purged(entries)
    before = START
    for place, one in enumerate(entries, start=1):
        if one.number != place:
            found.append(f"entry {place} is missing, or is not in its place")
        if one.before != before:
            found.append(f"entry {one.number} does not follow the entry before it")
        if one.hash != hash_of(one):
            found.append(f"entry {one.number} was changed")
        if one.content is None and one.number not in gone:
            found.append(f"the content of entry {one.number} is missing, and was not purged")
        if one.content is not None and one.number in gone:
            found.append(f"entry {one.number} was purged, and has content again")
        if one.content is not None and digest(one.content) != one.digest:
            found.append(f"the content of entry {one.number} was changed")
        before = one.hash
    if head is not None and head not in (START, *(one.hash for one in entries)):
        found.append(f"no entry has the hash {head}: entries were removed, or all made anew")
    return found


def head_of(entries: Sequence[Entry]) -> str:
    """The hash of the last entry; who notes it elsewhere finds out when entries are removed."""
    return entries[-1].hash if entries else START


def purged(entries: Iterable[Entry]) -> dict[int, int]:
    """Entries whose content was purged, and the number of the entry that says so."""
    return {
        number: one.number
        for one in entries
        if one.kind is Kind.PURGE and one.content is not None
        for number in one.content["entries"]
        if number < one.number
    }


def _sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
