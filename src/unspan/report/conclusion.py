"""The verdict as a plain sentence: what normal use shows, and what the file shows."""

from __future__ import annotations

from unspan.audit_record.record import AuditRecord
from unspan.audit_record.vocabulary import Access, Obtainable, Strength, Verdict
from unspan.report.words.first import IN_FILE, First

YES, NO = Obtainable.YES, Obtainable.NO
_USES = (Access.NAMED, Access.SCORES, Access.FEATURES)


def answers(audit: AuditRecord) -> dict[Access, Obtainable]:
    """Who can still get it."""
    return {one.access: one.answer for one in audit.accesses}


def conclusion(audit: AuditRecord) -> str:
    """The verdict in a few plain sentences."""
    if audit.verdict is Verdict.NOT_MEASURABLE:
        return First.UNMEASURABLE.value
    file = IN_FILE[answers(audit).get(Access.FILE, Obtainable.CANNOT_TELL)]
    return " ".join([*(one.value for one in in_use(audit)), file])


def in_use(audit: AuditRecord) -> list[First]:
    """What normal use of the model shows."""
    found = answers(audit)
    if found.get(Access.NAMED) is YES:
        return [First.STILL_NAMED]
    named = [First.NOT_NAMED] if found.get(Access.NAMED) is NO else []
    scores, features = found.get(Access.SCORES) is YES, found.get(Access.FEATURES) is YES
    if scores and features:
        return [*named, First.IN_BOTH]
    if scores or features:
        return [*named, First.IN_SCORES if scores else First.IN_FEATURES]
    if audit.verdict is Verdict.RETAINED:
        return [First.READABLE]
    if not audit.verdict.erased:
        return [*named, First.NO_MORE_SHOWN] if named else [First.NOT_SHOWN]
    repeated = found.get(Access.REPEATS) is YES
    return [First.IN_REPEATS if repeated else First.HIDDEN]


def mark(audit: AuditRecord) -> str:
    """The sign and colour of the verdict: `no`, `part`, `yes`, `open` or `none`.

    Green is kept for what nobody can get any more, file and repeated questions included, shown by
    evidence that is not weak.
    """
    if audit.verdict is Verdict.RETAINED:
        return "no"
    if audit.verdict is Verdict.NOT_MEASURABLE:
        return "none"
    if not audit.verdict.erased:
        return "open"
    found = answers(audit)
    closed = [found.get(one) is NO for one in (*_USES, Access.REPEATS, Access.FILE)]
    solid = audit.evidence.strength is not Strength.WEAK and audit.trusted
    return "yes" if all(closed) and solid else "part"
