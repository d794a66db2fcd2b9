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
    return " ".join([*(one.value for one in in_use(audit)), _file(audit)])


def _file(audit: AuditRecord) -> str:
    """What the file shows."""
    one = next((one for one in audit.accesses if one.access is Access.FILE), None)
    if one is None:
        return IN_FILE[Obtainable.CANNOT_TELL]
    if one.answer is NO and one.above_guessing:  # other data teach that much of it
        return First.NO_MORE_IN_FILE.value
    return IN_FILE[one.answer]


def in_use(audit: AuditRecord) -> list[First]:
    """What normal use of the model shows."""
    found = answers(audit)
    if found.get(Access.NAMED) is YES:
        return [First.STILL_NAMED]
    named = [_named(audit)] if found.get(Access.NAMED) is NO else []
    scores, features = found.get(Access.SCORES) is YES, found.get(Access.FEATURES) is YES
    if scores and features:
        return [*named, First.IN_BOTH]
    if scores or features:
        return [*named, First.IN_SCORES if scores else First.IN_FEATURES]
    if audit.verdict is Verdict.RETAINED:
        return [First.READABLE]
    if not audit.verdict.erased:
        return [*named, First.NO_MORE_SHOWN] if named else [First.NOT_SHOWN]
    if found.get(Access.REPEATS) is YES:
        return [First.IN_REPEATS]
    like = audit.verdict is Verdict.LIKE_RETRAINED
    return [First.AS_NEVER_LEARNED if like else First.HIDDEN]


def _named(audit: AuditRecord) -> First:
    """That the model names it no more; some test samples of it may be named by chance."""
    one = next(one for one in audit.accesses if one.access is Access.NAMED)
    return First.RARELY_NAMED if one.low is not None and one.low > 0 else First.NOT_NAMED


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
