"""What a record says of its measurements, in sentences; nothing stronger than was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unspan.audit_record.record import AuditRecord
from unspan.audit_record.remarks import Quantity, Remark, RemarkCode, Value
from unspan.audit_record.results import AttackResult, Control, GoalResult, LevelResult
from unspan.audit_record.vocabulary import INCONCLUSIVE, RETAINED, Expected, ReferenceKind
from unspan.report.first import samples
from unspan.report.formatting import literal, measured, percent, thousands, upper
from unspan.report.words.codes import EXPLAIN, GOAL_NAME, GOAL_RULE, LEVEL_TITLE, TEST_DATA
from unspan.report.words.parts import Part
from unspan.report.words.remarks import REMARK, Said

_HANDED_OUT = (RemarkCode.HANDS_OUT, RemarkCode.HANDS_OUT_FEATURES)


@dataclass(frozen=True)
class _Filled:
    """A value of a remark, written as its words ask for."""

    value: Value

    def __format__(self, spec: str) -> str:
        value = self.value
        if isinstance(value, Quantity):
            return read(value)
        if isinstance(value, str):
            return literal(value)
        if spec == "kinds":
            form = Said.ONE_KIND if value == 1 else Said.MANY_KINDS
            return form.format(count=value)
        if isinstance(value, float):
            return percent(value, int(spec)) if spec.isdecimal() else format(value, spec)
        return thousands(value)


class _Values(dict[str, _Filled]):
    """Values by name; what an edited record lacks was not measured."""

    def __missing__(self, name: str) -> _Filled:
        return _Filled(Part.NOT_MEASURED.value)


def sentence(one: Remark) -> str:
    """A remark in words."""
    filled = _Values({name: _Filled(value) for name, value in one.values.items()})
    return REMARK[one.code].format_map(filled)


def clauses(remarks: Sequence[Remark]) -> str:
    """Remarks in one sentence."""
    return "; ".join(map(sentence, remarks))


def read(one: Quantity) -> str:
    """A number with its interval and n, an AUC named as such."""
    text = measured(one.value, one.low, one.high, one.unit, one.n).line
    return f"AUC {text}" if one.unit == "AUC" else text


def headline(audit: AuditRecord) -> str:
    """The attack that decides, with number, interval, n and reference."""
    warned = [f"{upper(sentence(one))}." for one in audit.notes if one.code in _HANDED_OUT]
    return " ".join([*warned, _decides(audit)])


def _decides(audit: AuditRecord) -> str:
    if not audit.attacks:
        return Said.NO_ATTACK_RUN.value
    first = audit.attacks[0]
    if audit.verdict is INCONCLUSIVE and first.verdict is not INCONCLUSIVE:
        return Said.HEAD_ONLY.value
    alarms = against = ""
    if first.false_positives is not None:
        alarms = Said.ALARMS.format(share=percent(first.false_positives))
    if first.reference is not None:
        value = _plain(first.reference, first.unit)
        against = Said.IN_REFERENCE.format(kind=audit.reference.kind, read=value)
    text = Said.DECIDES.format(
        attack=first.attack,
        does=(Said.RECOGNISES if first.unit == "share" else Said.SEPARATES),
        read=_erased(first),
        alarms=alarms,
        original=_plain(first.original, first.unit),
        reference=against,
    )
    return f"{text} {upper(clauses(first.notes))}." if first.notes else text


def _erased(one: AttackResult) -> str:
    """What an attack reads in the erased model, with interval and n."""
    return read(
        Quantity(value=one.erased, low=one.erased_low, high=one.erased_high, unit=one.unit, n=one.n)
    )


def _plain(value: float, unit: str) -> str:
    return read(Quantity(value=value, unit=unit))


def explain(one: AttackResult) -> str:
    """What a person without training in the field should know about an attack."""
    return EXPLAIN.get(one.identity.kind, "")


def level_title(one: LevelResult) -> str:
    """What a level means."""
    return LEVEL_TITLE[one.level]


def claims(audit: AuditRecord) -> list[str]:
    """The sentences that may be quoted; an empty list when no level holds."""
    asked = samples(audit.request.samples)  # never names or ids of single samples
    if audit.request.kind == "class":
        asked = Said.REQUEST.format(kind="class", names=", ".join(audit.request.selector))
    return [
        Said.CLAIM.format(
            level=one.level,
            what=asked,
            title=level_title(one),
            data=TEST_DATA[audit.request.test],
            why=clauses(one.why),
        )
        for one in audit.levels
        if one.holds
    ]


def can_still(audit: AuditRecord) -> list[str]:
    """What an attacker can do after the erasure: of each kind the strongest attack speaks."""
    told: dict[str, str] = {}
    for one in audit.attacks:
        if one.verdict is RETAINED:
            told.setdefault(explain(one), _retained(one))
    return [*told.values(), *map(sentence, audit.can_still)]


def _retained(one: AttackResult) -> str:
    part = ""
    if one.rho is not None:
        part = Said.PART_KEPT.format(share=percent(min(max(one.rho, 0.0), 1.0), 0))
    form = Said.RETAINED_SHARE if one.unit == "share" else Said.RETAINED_AUC
    return form.format(
        explained=upper(explain(one)),
        read=_plain(one.erased, one.unit),
        part=part,
        attack=one.attack,
    )


def notes(audit: AuditRecord) -> list[str]:
    """Warnings, and what the log says of other audits of the same request."""
    return [*map(sentence, audit.notes), *_attempted(audit)]


def _attempted(audit: AuditRecord) -> list[str]:
    if not audit.attempts:
        return []
    words = [str(one.verdict or Said.NOT_FINISHED) for one in audit.attempts]
    counted = ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words)))
    form = Said.AUDITED_ONCE if len(words) == 1 else Said.AUDITED_OFTEN
    return [form.format(count=len(words), verdicts=counted)]


def reference_note(audit: AuditRecord) -> str:
    """What the reference can tell."""
    kind, count = audit.reference.kind, audit.reference.count
    if kind is not ReferenceKind.RETRAINED:
        return _REFERENCE[kind].value
    form = {1: Said.GIVEN_ONE, 2: Said.GIVEN_FEW}.get(count, Said.GIVEN)
    return form.format(count=count)


_REFERENCE = {
    ReferenceKind.RANDOM: Said.RANDOM,
    ReferenceKind.NONE: Said.NO_REFERENCE,
    ReferenceKind.PIXELS: Said.PIXELS,
}


def goal(one: GoalResult) -> str:
    """A goal with its rule."""
    return Said.GOAL.format(name=GOAL_NAME[one.id], rule=GOAL_RULE[one.id])


def control_found(one: Control) -> str:
    """What the audit said of a planted case."""
    if one.caught:
        return Said.CAUGHT.value
    if one.expect is Expected.PASSED:
        return Said.PASSED.value
    if one.verdict is None:
        return Said.NOT_CAUGHT.value
    return Said.NOT_CAUGHT_WORD.format(verdict=one.verdict)


def control_number(one: Control) -> str:
    """The number behind it."""
    if one.read is None:
        return Said.NO_ATTACK.value
    found = one.read
    line = measured(found.value, found.low, found.high, found.unit, found.n).line
    return Said.BY_ATTACK.format(attack=one.attack, read=line)
