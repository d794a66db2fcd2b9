"""What the erasure cost, what to do next, and what may be said of it."""

from __future__ import annotations

from unspan.audit_record.record import AuditRecord
from unspan.audit_record.summary import NextStep
from unspan.audit_record.vocabulary import Access, Level, Obtainable, Step, Strength, Verdict
from unspan.report.first import cannot_tell, reference, when
from unspan.report.formatting import Measured, joined, literal, measured, number, thousands
from unspan.report.words import first as words
from unspan.report.words.codes import GOAL_NAME
from unspan.report.words.first import First


def cost(audit: AuditRecord) -> list[str]:
    """What it cost on retained samples, and the class that lost most."""
    found = audit.cost
    if found is None:
        return [First.NO_COST.value]
    before = measured(found.before, found.before_low, found.before_high, n=found.n)
    after = measured(found.after, found.after_low, found.after_high, n=found.n)
    lines = [First.KEPT.format(before=_plain(before), after=_plain(after), n=thousands(found.n))]
    worst = found.worst
    if worst is None:
        return lines
    if worst.after >= worst.before:
        return [*lines, First.NONE_LOST.value]
    old = measured(worst.before, n=worst.n)
    new = measured(worst.after, worst.low, worst.high, n=worst.n)
    name = f"“{literal(worst.name, 60)}”"
    lost = First.WORST.format(
        name=name, before=_plain(old), after=_plain(new), n=thousands(worst.n)
    )
    return [*lines, lost]


def _plain(read: Measured) -> str:
    """A value with its interval."""
    return f"{read.value} {read.interval}".strip()


def goals(audit: AuditRecord) -> list[str]:
    """How many goals for a service are surely met, perhaps, not."""
    if not audit.goals:
        return []
    sure = sum(one.met and one.sure for one in audit.goals)
    missed = [
        f"{GOAL_NAME[one.id]} ({measured(one.value, unit=one.unit).value})"
        for one in audit.goals
        if one.sure and not one.met
    ]
    perhaps = len(audit.goals) - sure - len(missed)
    lines = [First.GOALS.format(sure=sure, perhaps=perhaps, missed=len(missed))]
    return [*lines, First.NOT_MET.format(names="; ".join(missed))] if missed else lines


def steps(audit: AuditRecord) -> list[str]:
    """What to do now."""
    return [step(one) for one in audit.next_steps]


def step(one: NextStep) -> str:
    """A step in words."""
    if one.step is Step.MORE_REFERENCES and one.count == 1:
        return First.ONE_MORE_REFERENCE.value
    return words.STEP[one.step].format(count=thousands(one.count or 0))


def may_say(audit: AuditRecord) -> list[str]:
    """Sentences that the levels that hold allow, with date, n and reference."""
    held = [one.level for one in audit.levels if one.holds] if audit.trusted else []
    if not held:
        return [_quoted(First.NO_CLAIM.value, audit)]
    told = [_quoted(_may(level, audit), audit) for level in held]
    if audit.evidence.strength is not Strength.WEAK:
        return told
    why = "; ".join(words.WEAKNESS[one] for one in audit.evidence.weaknesses)
    return [*told, First.SAY_WEAK.format(why=why)]


def _quoted(text: str, audit: AuditRecord) -> str:
    """A sentence that stands for itself: with the date, and the deletion that it is about."""
    date = when(audit.created).partition(" ")[0]
    text = f"{text} {_ending(audit)}".strip()
    about = audit.identity.deletion
    if about is not None:
        text = First.OF_DELETION.format(date=date, number=literal(about, 40), text=text)
    else:
        text = First.ON_DATE.format(date=date, text=text)
    return First.QUOTED.format(text=text)


def _ending(audit: AuditRecord) -> str:
    """What no sentence may be quoted without: how it can still be read, or who cannot tell."""
    if audit.verdict is Verdict.RETAINED:
        return First.READ_OTHERWISE.value
    held = any(one.access is Access.FILE and one.answer is Obtainable.YES for one in audit.accesses)
    in_file = First.STILL_IN_FILE.value if held and audit.verdict.erased else ""
    return joined(cannot_tell(audit), in_file)


def _may(level: Level, audit: AuditRecord) -> str:
    n, forgotten = thousands(audit.request.test_samples), _forgotten(audit)
    named = next((one for one in audit.accesses if one.access is Access.NAMED), None)
    if level is Level.L0 and named is not None and named.value is not None and named.n:
        hits = thousands(round((number(named.value) or 0.0) * named.n))
        return First.MAY_NAMED.format(what=forgotten, hits=hits, n=thousands(named.n))
    return words.MAY[level].format(n=n, what=forgotten, reference=reference(audit))


def _forgotten(audit: AuditRecord) -> str:
    names = audit.request.selector
    if audit.request.kind == "class" and len(names) == 1:
        return First.THE_CLASS.format(name=literal(names[0], 40))
    return First.THE_CLASSES.value


def may_not_say(audit: AuditRecord) -> list[str]:
    """Sentences that this audit does not allow."""
    return [First.QUOTED.format(text=words.MAY_NOT[one]) for one in audit.not_to_say]
