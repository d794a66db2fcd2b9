"""The tables of the index: deletions with their audits, other audits, entries of a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unspan.audit_record.vocabulary import Verdict
from unspan.ledger.book import Book
from unspan.ledger.chain import Entry, head_of
from unspan.ledger.folders import FoundAudit, FoundDeletion
from unspan.ledger.words import counted, moment, request, sentence, short, who

_ERASED = {one.value for one in Verdict if one.erased}
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


def deletions_table(
    deletions: Sequence[FoundDeletion], audits: Sequence[FoundAudit], book: Book | None
) -> Table:
    """Deletions, each with its audits; with its entries where there is a ledger."""
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
            date = moment(facts.created)
        checks = (_answers(audits_of(one, audits)), (_seal(one),), (_signature(one),))
        noted = () if book is None else ((_noted(one.seal, book),),)
        rows.append(((Part(date, one.name),), *told, *checks, *noted))
    columns = ("made", "request", "method", "audits", "seal", "signature")
    about = "Times are UTC. A seal finds every change of a file. It does not say who wrote it."
    return Table("Deletions", columns if book is None else (*columns, "ledger"), rows, about)


def audits_table(audits: Sequence[FoundAudit], book: Book | None) -> Table:
    """Audits that belong to no deletion of the page."""
    rows = []
    for one in audits:
        told = one.facts if one.sealed.ok is not False else None
        date = "date not shown" if told is None else moment(told.created)
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


def entries_table(book: Book) -> Table:
    """All entries of a ledger."""
    rows = [
        (
            (Part(f"{one.number}", moment(one.time)),),
            (Part(one.kind.value),),
            (Part(sentence(one), short(seal_of(one))),),
            (Part(who(one) or "–"),),
            (Part(one.keep_until or "–"),),
            (Part(short(one.hash)),),
        )
        for one in book.entries
    ]
    columns = ("entry", "kind", "says", "who asked", "keep until", "hash")
    return Table("Ledger", columns, rows, f"Its head is {head_of(book.entries)}.")


def seal_of(entry: Entry) -> str:
    """The seal of the folder that an entry is about; empty where it is about none."""
    return "" if entry.content is None else str(entry.content.get("seal", ""))


def audits_of(deletion: FoundDeletion, audits: Sequence[FoundAudit]) -> list[FoundAudit]:
    """The audits that measured the weights of a deletion; none where it was changed."""
    if deletion.facts is None or deletion.sealed.ok is False:
        return []
    weights = deletion.facts.weights
    return [one for one in audits if one.facts is not None and one.facts.weights == weights]


def _answers(audits: Sequence[FoundAudit]) -> Cell:
    return tuple(map(_verdict, audits)) or (Part("none", "", "open"),)


def _verdict(one: FoundAudit) -> Part:
    if one.sealed.ok is False or one.facts is None:
        return Part("audit changed", "its verdict is " + _CHANGED, "no")
    told = f"{moment(one.facts.created)}, {counted(one.facts.attacks, 'attack')}, {one.name}"
    return Part(one.facts.verdict, told, verdict_mark(one.facts.verdict))


def verdict_mark(said: str) -> str:
    """Whether a verdict says erased (yes), retained (no) or neither (open)."""
    if said in _ERASED:
        return "yes"
    return "no" if said == Verdict.RETAINED else "open"


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


def entries_of(seal: str, book: Book) -> list[Entry]:
    """The entries of a folder, by its seal."""
    return [one for one in book.entries if seal and seal_of(one) == seal]


def _noted(seal: str, book: Book) -> Part:
    numbers = ", ".join(str(one.number) for one in entries_of(seal, book))
    return Part(f"entry {numbers}", "", "yes") if numbers else Part("no entry", "", "open")
