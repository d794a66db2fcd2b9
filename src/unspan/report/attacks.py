"""What each kind of attacker reads: one row for each, and every attack of it, folded."""

from __future__ import annotations

from unspan.audit_record.record import AuditRecord
from unspan.audit_record.results import AttackResult
from unspan.audit_record.vocabulary import Topic
from unspan.metrics.identity import Attacker
from unspan.report import dumbbells
from unspan.report.document import (
    MARK,
    Cell,
    Section,
    Table,
    count_cell,
    number_cell,
    said,
    why,
)
from unspan.report.formatting import fraction, joined, literal, measured, upper
from unspan.report.statements import clauses, explain, reference_note
from unspan.report.words.first import FAMILY
from unspan.report.words.rest import Rest

Families = dict[Attacker, list[AttackResult]]


def attacks(audit: AuditRecord, against: str) -> Section:
    """The evidence: what decides for each kind of attacker, then all that was tried.

    Args:
        audit: the record.
        against: the reference in words.
    """
    title, contents = Rest.ATTACKS.value, Rest.ATTACKS_SHORT.value
    if not audit.attacks:
        return Section("attacks", title, missing=why(audit, Topic.ATTACKS), contents=contents)
    lead = joined(Rest.ATTACKS_LEAD.format(reference=against), reference_note(audit))
    found = _families(audit)
    figure = dumbbells.attacks(audit)
    return Section(
        "attacks",
        title,
        [lead, Rest.PART.value],
        tables=[_deciding(found), *(_all(who, own) for who, own in found.items())],
        figures=[figure] if figure else [],
        contents=contents,
    )


def _families(audit: AuditRecord) -> Families:
    """Attacks by kind of attacker, what decides first."""
    found: Families = {}
    for one in audit.attacks:
        found.setdefault(one.identity.attacker, []).append(one)
    for own in found.values():
        own.sort(key=lambda one: one.verdict is None)
    return found


def _who(attacker: Attacker) -> str:
    name = upper(FAMILY[attacker.family])
    if attacker.shots is None:
        return name
    return Rest.WITH_SHOTS.format(name=name, shots=attacker.shots)


def _deciding(found: Families) -> Table:
    rows = []
    for who, own in found.items():
        first = own[0]
        rows.append([Cell(_who(who), literal(first.attack, 80)), _word(first), *_numbers(first)])
    return Table(Rest.DECIDING.value, [Rest.ATTACKER.value, *_COLUMNS], rows)


_COLUMNS = [
    one.value
    for one in (
        Rest.VERDICT,
        Rest.BEFORE,
        Rest.AFTER,
        Rest.REFERENCE,
        Rest.RECOVERABLE,
        Rest.FALSE_POSITIVES,
        Rest.N,
    )
]


def _all(who: Attacker, own: list[AttackResult]) -> Table:
    rows = [
        [
            Cell(literal(one.attack, 80), explain(one)),
            Cell(Rest.DECIDES.value, said(one.verdict), MARK[one.verdict])
            if one.verdict is not None
            else Cell("–"),
            *_numbers(one),
        ]
        for one in own
    ]
    caption = Rest.ALL_OF.format(name=_who(who))
    return Table(caption, [Rest.ATTACK.value, *_COLUMNS], rows, long=True)


def _numbers(one: AttackResult) -> list[Cell]:
    ends = (one.reference_low, one.reference_high)
    alarms = measured(one.false_positives) if one.false_positives is not None else None
    return [
        number_cell(measured(one.original, one.original_low, one.original_high, one.unit, one.n)),
        number_cell(measured(one.erased, one.erased_low, one.erased_high, one.unit, one.n)),
        number_cell(measured(one.reference, *ends, one.unit, one.n)),
        number_cell(fraction(one.rho, one.rho_low, one.rho_high)),
        Cell("–", number=True) if alarms is None else number_cell(alarms),
        count_cell(one.n),
    ]


def _word(one: AttackResult) -> Cell:
    warned = joined(said(clauses(one.notes)), "" if one.converged else Rest.STOPPED.value)
    if one.verdict is None:
        return Cell("–", warned)
    return Cell(one.verdict, warned, MARK[one.verdict])
