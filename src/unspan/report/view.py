"""A report in words, before it is written as HTML or Markdown: the first screen block by block,
then the sections.
"""

from __future__ import annotations

from dataclasses import dataclass

from unspan.audit_record.record import AuditRecord
from unspan.audit_record.vocabulary import Topic, Verdict
from unspan.report import advice, first, who
from unspan.report.conclusion import conclusion, mark
from unspan.report.document import Section, Table, said, sentences, why
from unspan.report.first import Fact
from unspan.report.formatting import literal, measured
from unspan.report.sections import sections
from unspan.report.statements import headline, notes
from unspan.report.who import Bar
from unspan.report.words.first import First

LOST_MUCH = 0.1  # of the accuracy on what was to be kept


@dataclass(frozen=True)
class View:
    """A report in words.

    Attributes:
        identity: which file, when, by whom, valid until what.
        verdict: the code.
        mark: sign and colour of the verdict: `yes`, `part`, `no`, `open`, `none`.
        conclusion: the verdict as a plain sentence.
        meaning: what that says.
        facts: what was asked, the code, the aim and the evidence.
        warnings: reasons not to rely on the audit.
        notes: what else the audit says of itself.
        accesses: who can still get what.
        bars: before, now, guessing, retrained of the number that decides.
        bars_of: whose number it is, or why there is none.
        headline: the audit's own sentence about what decides.
        cost: on retained samples, and goals.
        next_steps: what to do now.
        may_say: what may be said.
        may_not_say: what may not.
        sections: everything below the first screen.
    """

    identity: list[Fact]
    verdict: str
    mark: str
    conclusion: str
    meaning: str
    facts: list[Fact]
    warnings: list[str]
    notes: list[str]
    accesses: Table
    bars: list[Bar]
    bars_of: str
    headline: str
    cost: list[str]
    next_steps: list[str]
    may_say: list[str]
    may_not_say: list[str]
    sections: list[Section]


def view(audit: AuditRecord) -> View:
    """Read an audit for people."""
    decisive = who.decisive(audit)
    bars_of = First.NO_BARS.value if audit.attacks else why(audit, Topic.ATTACKS)
    return View(
        identity=first.identity(audit),
        verdict=audit.verdict,
        mark=mark(audit),
        conclusion=conclusion(audit),
        meaning=first.meaning(audit),
        facts=[
            Fact(First.ASKED.value, first.asked(audit)),
            Fact(First.CODE.value, first.code(audit)),
            Fact(First.AIM.value, first.aim(audit)),
            Fact(First.EVIDENCE.value, first.evidence(audit)),
        ],
        warnings=_warnings(audit),
        notes=sentences(notes(audit))[:5],
        accesses=who.accesses(audit),
        bars=[] if decisive is None else who.bars(decisive, audit),
        bars_of=bars_of if decisive is None else who.bars_of(decisive),
        headline=said(headline(audit)),
        cost=[*advice.cost(audit), *advice.goals(audit)],
        next_steps=advice.steps(audit),
        may_say=advice.may_say(audit),
        may_not_say=advice.may_not_say(audit),
        sections=sections(audit, first.reference(audit)),
    )


def _warnings(audit: AuditRecord) -> list[str]:
    """Reasons not to rely on the audit, or not to use the model."""
    return [
        *_failed_controls(audit),
        *_lost(audit),
        *_early(audit),
        *([] if audit.controls else [First.NO_SELF_TESTS.value]),
        *_contradicted(audit),
    ]


def _failed_controls(audit: AuditRecord) -> list[str]:
    failed = sum(not one.ok for one in audit.controls)
    if not failed:
        return []
    return [First.SELF_TESTS_FAILED.format(failed=failed, count=len(audit.controls))]


def _lost(audit: AuditRecord) -> list[str]:
    cost = audit.cost
    if cost is None or cost.before - cost.after <= LOST_MUCH:
        return []
    before, after = measured(cost.before, n=cost.n).value, measured(cost.after, n=cost.n).value
    return [First.LOST.format(before=before, after=after)]


def _early(audit: AuditRecord) -> list[str]:
    early = [literal(one.attack, 60) for one in audit.attacks if not one.converged]
    if not early:
        return []
    more = First.AND_OTHERS.value if len(early) > 3 else ""
    return [First.EARLY.format(attacks=", ".join(early[:3]) + more)]


def _contradicted(audit: AuditRecord) -> list[str]:
    """A record that was edited may say less than its attacks."""
    said_otherwise = any(one.verdict is Verdict.RETAINED for one in audit.attacks)
    if not audit.verdict.erased or not said_otherwise:
        return []
    return [First.CONTRADICTED.value]
