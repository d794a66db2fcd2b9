"""Who can still get what: one row for each access, and the number that decides as bars."""

from __future__ import annotations

from dataclasses import dataclass

from unspan.audit_record.record import AuditRecord
from unspan.audit_record.summary import AccessResult
from unspan.audit_record.vocabulary import Access, Basis, Obtainable, ReferenceKind, Strength
from unspan.metrics.identity import Family
from unspan.report.document import Cell, Table
from unspan.report.formatting import Measured, literal, measured, number, thousands, upper
from unspan.report.words import first as words
from unspan.report.words.first import First

_USES = (Access.NAMED, Access.FEATURES, Access.SCORES, Access.REPEATS)  # as they decide


@dataclass(frozen=True)
class Bar:
    """A bar from 0 to `at`, with its interval; None where there is nothing to draw.

    Attributes:
        name: before, now, guessing or retrained.
        key: of its colour.
        value: in words.
        interval: in brackets, empty when there is none.
        at: length, in percent of the whole.
        low: lower end of the interval, in percent.
        high: upper end.
    """

    name: str
    key: str
    value: str
    interval: str
    at: float | None
    low: float | None
    high: float | None


def accesses(audit: AuditRecord) -> Table:
    """One row for each access: the answer, one number, and what it is to be held against."""
    columns = [
        First.WHO_COLUMN,
        First.STILL,
        First.NOW,
        First.GUESSING,
        First.BEFORE,
        never(audit),
    ]
    caption = First.WHO_CAPTION.value
    if audit.reference.kind is ReferenceKind.RETRAINED:
        caption = f"{caption} {First.WHO_RETRAINED.value}"
    return Table(
        caption,
        [one.value for one in columns],
        [_access(one, audit) for one in audit.accesses],
    )


def never(audit: AuditRecord) -> First:
    """The name of the reference in a table."""
    retrained = audit.reference.kind is ReferenceKind.RETRAINED
    return First.NEVER if retrained else First.REFERENCE


def _access(one: AccessResult, audit: AuditRecord) -> list[Cell]:
    return [
        Cell(upper(words.ACCESS[one.access]), _why(one)),
        answer(one, audit),
        _number(one, one.value, one.low, one.high, with_n=True),
        _number(one, one.guessing),
        _number(one, one.original),
        _number(one, one.reference, one.reference_low, one.reference_high),
    ]


def answer(one: AccessResult, audit: AuditRecord) -> Cell:
    """Yes, no, no more than retrained networks give, or cannot tell; no colour promises more than
    the evidence carries.
    """
    word = words.ANSWER[one.answer]
    if one.answer is Obtainable.YES:
        return Cell(word, First.TRACES.value if one.trace else "", "no")
    if one.answer is Obtainable.CANNOT_TELL:
        return Cell(word, "", "open")
    weak = audit.evidence.strength is Strength.WEAK
    sub = First.WEAK.value if weak else ""
    if one.above_guessing:  # what other data teach of it: a plain no would be misread
        shows = First.SHOWS.value if one.trace else ""
        return Cell(First.NO_MORE.value, "; ".join(filter(None, (shows, sub))), "part")
    if one.trace:
        return Cell(First.NO_TRACED.value, sub, "part")
    return Cell(word, sub, "open" if weak else "yes")


def _why(one: AccessResult) -> str:
    """What the answer rests on, in a few words."""
    basis = words.BASIS[one.basis]
    if one.access is Access.NAMED and one.answer is Obtainable.NO and (one.low or 0.0) > 0:
        basis = First.BY_CHANCE.value
    if one.basis is Basis.NOT_TESTED and one.value is not None and one.access is Access.REPEATS:
        basis = "" if one.trace else First.PARTLY_TESTED.value
    trace = ""
    if one.trace and one.answer is not Obtainable.CANNOT_TELL:
        trace = First.MOVES.value if one.answer is Obtainable.YES else First.A_TRACE.value
    by = First.BY_ATTACK.format(attack=literal(one.attack, 80)) if one.attack else ""
    return upper("; ".join(part for part in (basis, trace, by) if part))


def _number(
    one: AccessResult,
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    *,
    with_n: bool = False,
) -> Cell:
    if value is None:
        return Cell("–", number=True)
    read = _read(one, value, low, high)
    n = f"n\u00a0=\u00a0{thousands(one.n)}" if with_n and one.n else ""
    return Cell(read.value, ", ".join(part for part in (read.interval, n) if part), number=True)


def _read(
    one: AccessResult, value: float | None, low: float | None, high: float | None
) -> Measured:
    found = measured(value, low, high, one.unit, one.n)
    return found if one.unit == "share" else Measured(f"AUC {found.value}", found.interval, found.n)


def decisive(audit: AuditRecord) -> AccessResult | None:
    """The access whose number decides: the first that still gets it in use, else by features, or
    by scores where the membership of single samples decides.
    """
    known = [one for one in audit.accesses if one.value is not None and one.access in _USES]
    known.sort(key=lambda one: _USES.index(one.access))
    for one in known:
        if one.answer is Obtainable.YES:
            return one
    of_samples = audit.attacks and audit.attacks[0].identity.attacker.family is Family.SAMPLES
    wanted = Access.SCORES if of_samples else Access.FEATURES
    return next((one for one in known if one.access is wanted), known[0] if known else None)


def bars(one: AccessResult, audit: AuditRecord) -> list[Bar]:
    """Before, now, guessing, retrained."""
    ends = (one.reference_low, one.reference_high)
    return [
        _bar(First.BEFORE, "before", one, one.original, one.original_low, one.original_high),
        _bar(First.NOW, "after", one, one.value, one.low, one.high),
        _bar(First.GUESSING, "none", one, one.guessing, None, None),
        _bar(never(audit), "ref", one, one.reference, *ends),
    ]


def _bar(
    name: First,
    key: str,
    one: AccessResult,
    value: float | None,
    low: float | None,
    high: float | None,
) -> Bar:
    if value is None:
        return Bar(name.value, key, First.NOT_GIVEN.value, "", None, None, None)
    read = _read(one, value, low, high)
    return Bar(
        name.value, key, read.value, read.interval, *(_percent(end) for end in (value, low, high))
    )


def _percent(value: float | None) -> float | None:
    """A share as a length from 0 to 100."""
    known = number(value)
    return None if known is None else round(100 * min(max(known, 0.0), 1.0), 2)


def bars_of(one: AccessResult) -> str:
    """Whose number the bars show."""
    who = words.ACCESS[one.access]
    return First.BARS_OF.format(who=who, attack=literal(one.attack, 80))
