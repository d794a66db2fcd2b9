"""For an auditor: the figures of an audit, by the requirements of OWASP AISVS 1.0."""

from __future__ import annotations

from unspan.audit_record.record import AuditRecord
from unspan.audit_record.results import LevelResult
from unspan.audit_record.vocabulary import Access, Level, LevelState, Obtainable
from unspan.report.document import Cell, Section, Table, said
from unspan.report.formatting import literal
from unspan.report.statements import clauses
from unspan.report.words.first import ANSWER
from unspan.report.words.rest import Rest

RETRAIN = "retrain"  # the one method of which C12.2.3 is claimed
NEAR_HALF = ("0.45", "0.55")  # of level S
_MEMBERSHIP = {
    LevelState.HOLDS: (Rest.MET, "yes"),
    LevelState.FAILS: (Rest.NOT_MET, "no"),
    LevelState.NOT_SHOWN: (Rest.NOT_CLAIMED, "open"),
    LevelState.NOT_TESTED: (Rest.NOT_CLAIMED, "none"),
}


def auditor(audit: AuditRecord) -> Section:
    """Which requirements are met, and which are not claimed."""
    rows = [
        _row("C12.2.1", Rest.C12_2_1, Cell(Rest.NOT_CLAIMED, "", "none"), Rest.C12_2_1_SHOWN),
        _membership(audit),
        _routine(audit),
        _embeddings(audit),
    ]
    columns = [Rest.REQUIREMENT.value, Rest.RESULT.value, Rest.SHOWN.value]
    table = Table(Rest.AUDITOR_CAPTION.value, columns, rows)
    return Section(
        "auditor",
        Rest.AUDITOR.value,
        [Rest.AUDITOR_LEAD.value],
        tables=[table],
        folded=True,
        contents=Rest.AUDITOR.value,
    )


def _row(number: str, requirement: Rest, result: Cell, shown: str) -> list[Cell]:
    return [Cell(number, requirement.value), result, Cell(str(shown))]


def _membership(audit: AuditRecord) -> list[Cell]:
    level = _level(audit, Level.S)
    state = LevelState.NOT_TESTED if level is None else level.state
    word, mark = _MEMBERSHIP[state]
    shown = Rest.C12_2_2_UNTESTED.value
    if level is not None and state is not LevelState.NOT_TESTED:
        low, high = NEAR_HALF
        shown = Rest.C12_2_2_SHOWN.format(low=low, high=high, measured=said(clauses(level.why)))
    return _row("C12.2.2", Rest.C12_2_2, Cell(word, "", mark), shown)


def _level(audit: AuditRecord, wanted: Level) -> LevelResult | None:
    return next((one for one in audit.levels if one.level is wanted), None)


def _routine(audit: AuditRecord) -> list[Cell]:
    method = audit.method
    if method is None:
        shown, result = Rest.C12_2_3_UNKNOWN.value, Cell(Rest.NOT_CLAIMED, "", "none")
    elif method.name == RETRAIN:
        shown, result = Rest.C12_2_3_RETRAINED.value, Cell(Rest.MET, "", "yes")
    else:
        shown = Rest.C12_2_3_SHOWN.format(method=literal(method.name, 60))
        result = Cell(Rest.NOT_CLAIMED, "", "none")
    return _row("C12.2.3", Rest.C12_2_3, result, shown)


def _embeddings(audit: AuditRecord) -> list[Cell]:
    answers = {one.access: one.answer for one in audit.accesses}
    answer = answers.get(Access.FEATURES, Obtainable.CANNOT_TELL)
    gone = answer is Obtainable.NO
    result = Cell(Rest.PARTLY, "", "open") if gone else Cell(Rest.NOT_CLAIMED, "", "none")
    return _row("C8", Rest.C8, result, Rest.C8_SHOWN.format(answer=_still(answer)))


def _still(answer: Obtainable) -> str:
    return Rest.STILL_IN_FEATURES.format(answer=ANSWER[answer])
