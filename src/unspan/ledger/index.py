"""What the index says: deletions with their audits, a ledger, and what needs attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unspan.errors import UsageError
from unspan.ledger.book import Book, read
from unspan.ledger.folders import FoundAudit, FoundDeletion, found_in
from unspan.ledger.tables import (
    Table,
    audits_of,
    audits_table,
    deletions_table,
    entries_of,
    entries_table,
    seal_of,
    verdict_mark,
)
from unspan.ledger.who import key_problems
from unspan.ledger.words import counted


@dataclass(frozen=True)
class Index:
    """Everything on the page.

    Attributes:
        wrong: what does not hold.
        open: what is not known, or not done.
        summary: how many of each.
        tables: deletions, audits of other models, entries of the ledger.
        read: the folders and the ledger, in which nothing may be written.
    """

    wrong: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    summary: str = ""
    tables: list[Table] = field(default_factory=list)
    read: list[Path] = field(default_factory=list)


def index(folders: Sequence[Path], ledger: Path | None = None, key: Path | None = None) -> Index:
    """Read folders and a ledger.

    Args:
        folders: each is a deletion or an audit, or holds such folders.
        ledger: file of a ledger.
        key: file of the public key that should have signed the folders.

    Raises:
        UsageError: a folder or the ledger does not exist, or there is neither.
        UnsafeFileError: the ledger is no regular file.
    """
    if not folders and ledger is None:
        raise UsageError("There is nothing to show: name folders, or a ledger with --ledger.")
    deletions, audits = found_in(folders, key)
    every: list[FoundDeletion | FoundAudit] = [*deletions, *audits]
    book = None if ledger is None else read(ledger)
    strange = [] if ledger is None or book is None else key_problems(ledger, book.entries)
    others = [one for one in audits if not any(one in audits_of(own, audits) for own in deletions)]
    tables = [deletions_table(deletions, audits, book)]
    if others:
        tables.append(audits_table(others, book))
    if book is not None:
        tables.append(entries_table(book))
    return Index(
        wrong=[*_wrong(every), *(book.problems() if book else []), *strange],
        open=[*_open(deletions, audits), *(_unmatched(every, book) if book else [])],
        summary=_counted(len(deletions), len(audits), book),
        tables=tables,
        read=[*(one.path for one in every), *([] if ledger is None else [ledger])],
    )


def _wrong(folders: Sequence[FoundDeletion | FoundAudit]) -> list[str]:
    found = []
    for one in folders:
        if one.sealed.ok is False:
            found.append(f"{one.name}: {one.sealed.detail}")
        elif one.facts is None:
            found.append(f"{one.name} cannot be read")
        if one.signature is not None and one.signature.ok is False:
            found.append(f"{one.name}: {one.signature.detail}")
    return found


def _open(deletions: Sequence[FoundDeletion], audits: Sequence[FoundAudit]) -> list[str]:
    found = []
    for one in (*deletions, *audits):
        if one.sealed.ok is None:
            found.append(f"{one.name} has no seal")
        if one.signature is not None and one.signature.ok is None:
            found.append(f"the signature of {one.name} is not checked: {one.signature.detail}")
    for deletion in deletions:
        if not audits_of(deletion, audits):
            found.append(f"{deletion.name} has no audit on this page")
    for audit in audits:
        if audit.facts is None or audit.sealed.ok is False:
            continue
        if verdict_mark(audit.facts.verdict) != "yes":
            found.append(f"{audit.name} says {audit.facts.verdict}")
    return found


def _unmatched(folders: Sequence[FoundDeletion | FoundAudit], book: Book) -> list[str]:
    """Folders without an entry, and entries without a folder."""
    found = [
        f"{one.name} is named by no entry of the ledger"
        for one in folders
        if not entries_of(one.seal, book)
    ]
    known = {one.seal for one in folders}
    for entry in book.entries:
        seal = seal_of(entry)
        if seal and seal not in known:
            found.append(f"the {entry.kind} of entry {entry.number} is not on this page")
    return found


def _counted(deletions: int, audits: int, book: Book | None) -> str:
    said = f"{counted(deletions, 'deletion')}, {counted(audits, 'audit')}"
    if book is None:
        return f"{said}. No ledger was given."
    purged = sum(one.content is None for one in book.entries)
    entries = counted(len(book.entries), "entry")
    return f"{said}. A ledger of {entries}, {purged} of them purged."
