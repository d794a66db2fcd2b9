"""What the index says: deletions with their audits, a ledger, and what needs attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unspan.audit_record.vocabulary import Verdict
from unspan.errors import UsageError
from unspan.ledger.book import Book, read
from unspan.ledger.chain import Entry, head_of
from unspan.ledger.folders import FoundAudit, FoundDeletion, found_in
from unspan.ledger.who import key_problems
from unspan.ledger.words import counted, request, sentence, short, who

_CHANGED = "not shown, since it was changed"


@dataclass(frozen=True)
class Part:
    """A piece of a cell.

    Attributes:
        text: what it says.
        sub: in small print below.
        mark: yes, no or open where it is an answer; else empty.
    """

    text: str
    sub: str = ""
    mark: str = ""


Cell = tuple[Part, ...]


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        title: above it.
        columns: names of its columns.
        rows: as many cells as columns; the first names the row.
        about: a sentence below the title.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    about: str = ""


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
    others = [one for one in audits if not any(one in _of(own, audits) for own in deletions)]
    tables = [_deletions(deletions, audits, book)]
    if others:
        tables.append(_audits(others, book))
    if book is not None:
        tables.append(_entries(book))
    return Index(
        wrong=[*_wrong(every), *(book.problems() if book else []), *strange],
        open=_open(deletions, audits, book),
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


def _open(
    deletions: Sequence[FoundDeletion], audits: Sequence[FoundAudit], book: Book | None
) -> list[str]:
    found = [f"{one.name} has no seal" for one in (*deletions, *audits) if one.sealed.ok is None]
    found += [f"{one.name} has no audit on this page" for one in deletions if not _of(one, audits)]
    if book is not None:
        found += [
            f"{one.name} is named by no entry of the ledger"
            for one in (*deletions, *audits)
            if not _recorded(one.seal, book)
        ]
        known = {one.seal for one in (*deletions, *audits)}
        found += [
            f"the {one.kind} of entry {one.number} is not on this page"
            for one in book.entries
            if one.content is not None and one.content.get("seal", "") not in {"", *known}
        ]
    return found


def _deletions(
    deletions: Sequence[FoundDeletion], audits: Sequence[FoundAudit], book: Book | None
) -> Table:
    rows = []
    for one in deletions:
        facts = one.facts if one.sealed.ok is not False else None
        if facts is None:
            told: tuple[Cell, ...] = ((Part("–", _CHANGED),), (Part("–"),))
            date = "date not shown"
        else:
            asked = request(facts.request, facts.classes, facts.samples)
            before = f"; after {counted(facts.earlier, 'earlier request')}" if facts.earlier else ""
            told = ((Part(asked, facts.form + before),), (Part(facts.method),))
            date = facts.created
        checks = (_answers(_of(one, audits)), (_seal(one),), (_signature(one),))
        noted = () if book is None else ((_noted(one.seal, book),),)
        rows.append(((Part(date, one.name),), *told, *checks, *noted))
    columns = ("made", "request", "method", "audits", "seal", "signature")
    about = "Times are UTC. A seal finds every change of a file. It does not say who wrote it."
    return Table("Deletions", columns if book is None else (*columns, "ledger"), rows, about)


def _audits(audits: Sequence[FoundAudit], book: Book | None) -> Table:
    rows = []
    for one in audits:
        date = one.facts.created if one.facts and one.sealed.ok is not False else "date not shown"
        noted = () if book is None else ((_noted(one.seal, book),),)
        cells = ((_verdict(one),), (_seal(one),), (_signature(one),), *noted)
        rows.append(((Part(date, one.name),), *cells))
    columns = ("made", "verdict", "seal", "signature")
    return Table(
        "Audits of other models",
        columns if book is None else (*columns, "ledger"),
        rows,
        "The weights that they measured are of no deletion above.",
    )


def _entries(book: Book) -> Table:
    rows = [
        (
            (Part(f"{one.number}", one.time),),
            (Part(one.kind.value),),
            (Part(sentence(one), short(_seal_of(one))),),
            (Part(who(one) or "–"),),
            (Part(one.keep_until or "–"),),
            (Part(short(one.hash)),),
        )
        for one in book.entries
    ]
    columns = ("entry", "kind", "says", "who asked", "keep until", "hash")
    return Table("Ledger", columns, rows, f"Its head is {head_of(book.entries)}.")


def _seal_of(entry: Entry) -> str:
    return "" if entry.content is None else str(entry.content.get("seal", ""))


def _of(deletion: FoundDeletion, audits: Sequence[FoundAudit]) -> list[FoundAudit]:
    """The audits that measured the weights of a deletion."""
    if deletion.facts is None:
        return []
    weights = deletion.facts.weights
    return [one for one in audits if one.facts is not None and one.facts.weights == weights]


def _answers(audits: Sequence[FoundAudit]) -> Cell:
    return tuple(map(_verdict, audits)) or (Part("none", "", "open"),)


def _verdict(one: FoundAudit) -> Part:
    if one.sealed.ok is False or one.facts is None:
        return Part("audit changed", "its verdict is " + _CHANGED, "no")
    told = f"{one.facts.created}, {counted(one.facts.attacks, 'attack')}, {one.name}"
    try:
        verdict = Verdict(one.facts.verdict)
    except ValueError:
        return Part(one.facts.verdict, told, "open")
    mark = "yes" if verdict.erased else "no" if verdict is Verdict.RETAINED else "open"
    return Part(verdict.value, told, mark)


def _seal(one: FoundDeletion | FoundAudit) -> Part:
    if one.sealed.ok is None:
        return Part("no seal", "", "open")
    if one.sealed.ok:
        return Part("as sealed", short(one.seal), "yes")
    return Part("changed", one.sealed.detail, "no")


def _signature(one: FoundDeletion | FoundAudit) -> Part:
    if one.signature is None:
        return Part("none")
    if one.signature.ok is None:
        return Part("not checked", one.signature.detail, "open")
    return Part(
        "signed" if one.signature.ok else "wrong",
        one.signature.detail,
        "yes" if one.signature.ok else "no",
    )


def _recorded(seal: str, book: Book) -> list[Entry]:
    """The entries of a folder, by its seal."""
    return [one for one in book.entries if seal and _seal_of(one) == seal]


def _noted(seal: str, book: Book) -> Part:
    numbers = ", ".join(str(one.number) for one in _recorded(seal, book))
    return Part(f"entry {numbers}", "", "yes") if numbers else Part("no entry", "", "open")


def _counted(deletions: int, audits: int, book: Book | None) -> str:
    said = f"{counted(deletions, 'deletion')}, {counted(audits, 'audit')}"
    if book is None:
        return f"{said}. No ledger was given."
    purged = sum(one.content is None for one in book.entries)
    entries = counted(len(book.entries), "entry")
    return f"{said}. A ledger of {entries}, {purged} of them purged."
