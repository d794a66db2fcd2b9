"""What the first screen of a report says, taken from an audit: verdict, request, what an attacker
can still do, next step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from unspan.audit_record.record import AttackResult, AuditRecord, ScoreRow
from unspan.audit_record.vocabulary import (
    GOAL_NAME,
    Goal,
    LevelState,
    ReferenceKind,
    Topic,
    Verdict,
)
from unspan.metrics.identity import ScoreKind
from unspan.report.document import MARK, Section, said, sentences, why
from unspan.report.formatting import Measured, fraction, joined, literal, measured, thousands
from unspan.report.sections import sections

LOST_MUCH = 0.1  # of the accuracy on what was to be kept
MEANING = {
    Verdict.LIKE_RETRAINED: (
        "No attacker tried reads more of it than from networks that never learned it."
    ),
    Verdict.BELOW_RETRAINED: (
        "No attacker tried reads it. Some read less than from a network that never learned it: it"
        " is suppressed, and that it was can be seen."
    ),
    Verdict.RETAINED: "What was to be erased can still be read out of the new model.",
    Verdict.INCONCLUSIVE: "The measurements do not decide. No erasure may be claimed from them.",
    Verdict.NOT_MEASURABLE: (
        "This audit cannot tell whether anything was erased. No erasure may be claimed from it."
    ),
}
_ASKED_TWICE = "Who asks about the same image more than once finds traces of it (see the goals)."
_LEVELS = {
    LevelState.HOLDS: "Levels that hold",
    LevelState.FAILS: "Levels that do not hold",
    LevelState.NOT_SHOWN: "Not shown",
    LevelState.NOT_TESTED: "Not tested",
}


@dataclass(frozen=True)
class Reached:
    """What the strongest attack reads.

    Attributes:
        attack: its name.
        share: True for a share of samples, False for an AUC.
        before: in the original.
        after: in the erased model.
        reference: in the reference.
        part: the recoverable part.
    """

    attack: str
    share: bool
    before: Measured
    after: Measured
    reference: Measured
    part: Measured


@dataclass(frozen=True)
class View:
    """A report in words, before it is written as HTML or Markdown.

    Attributes:
        created: when the audit ran.
        verdict: one of the four words.
        mark: its sign: `yes`, `no`, `open`, `none`.
        meaning: the verdict in one sentence.
        levels: which levels hold, do not hold, were not tested.
        notices: warnings about the audit itself.
        asked: the request in one sentence.
        tested: samples and method.
        headline: the audit's own sentence.
        strongest: numbers of the strongest attack, None when no attack was run.
        missing: why no attack was run.
        reference: what the numbers are compared with.
        still: what an attacker can still do.
        next_steps: what to do now.
        sections: everything below the first screen.
    """

    created: str
    verdict: str
    mark: str
    meaning: str
    levels: str
    notices: list[str]
    asked: str
    tested: str
    headline: str
    strongest: Reached | None
    missing: str
    reference: str
    still: list[str]
    next_steps: list[str]
    sections: list[Section]


def view(audit: AuditRecord) -> View:
    """Read an audit for people."""
    against = reference(audit)
    return View(
        created=_when(audit.created),
        verdict=audit.verdict,
        mark=MARK[audit.verdict],
        meaning=_meaning(audit),
        levels=joined(_levels(audit), _goals(audit)),
        notices=_notices(audit),
        asked=_asked(audit),
        tested=_tested(audit),
        headline=said(audit.headline),
        strongest=_strongest(audit.attacks[0]) if audit.attacks else None,
        missing="" if audit.attacks else why(audit, Topic.ATTACKS),
        reference=against,
        still=sentences(audit.can_still),
        next_steps=sentences(audit.next_steps),
        sections=sections(audit, against),
    )


def _when(text: str) -> str:
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(?:\+00:00|Z)", text)
    return f"{found[1]} {found[2]} UTC" if found else literal(text, 40)


def _strongest(one: AttackResult) -> Reached:
    return Reached(
        attack=literal(one.attack, 80),
        share=one.unit == "share",
        before=measured(one.original, unit=one.unit, n=one.n),
        after=measured(one.erased, one.erased_low, one.erased_high, one.unit, one.n),
        reference=measured(one.reference, unit=one.unit, n=one.n),
        part=fraction(one.rho, one.rho_low, one.rho_high),
    )


def reference(audit: AuditRecord) -> str:
    """What the numbers are compared with, in words."""
    count = max(audit.reference.count, 1)
    models = "1 model" if count == 1 else f"{thousands(count)} models"
    return {
        ReferenceKind.RETRAINED: f"{models} retrained without these data",
        ReferenceKind.RANDOM: f"{models} of the same shape with random weights",
        ReferenceKind.NONE: "no other model",
        ReferenceKind.PIXELS: "the images themselves, without any network",
    }[audit.reference.kind]


def _asked(audit: AuditRecord) -> str:
    request = audit.request
    if request.kind == "class" and request.selector:
        names = [literal(one, 40) for one in request.selector]
        more = f" and {thousands(len(names) - 3)} more" if len(names) > 3 else ""
        return f"Forget the class{'es' if len(names) > 1 else ''} {', '.join(names[:3])}{more}"
    if request.samples > 0:  # never names or ids of single samples
        return f"Forget {_samples(request.samples)}"
    return "The request was not recorded"


def _samples(n: int) -> str:
    return f"{thousands(n)} sample{'' if n == 1 else 's'}"


def _tested(audit: AuditRecord) -> str:
    """Samples, method and cost, in sentences."""
    request = audit.request
    parts = []
    if request.kind == "class" and request.samples > 0:
        parts.append(f"{thousands(request.samples)} samples to be forgotten")
    if request.test_samples > 0:
        where = f" ({literal(request.test, 60)})" if request.test else ""
        parts.append(f"audited on {_samples(request.test_samples)}{where}")
    how = ""
    if audit.method is not None:
        how = f"Method: {literal(audit.method.name, 60)} ({literal(audit.method.form, 60)} form)"
    return joined("; ".join(parts), how, _cost(audit))


def _levels(audit: AuditRecord) -> str:
    if not audit.levels:
        return "No level was tested."
    told = []
    for state, title in _LEVELS.items():
        names = [one.level.value for one in audit.levels if one.state is state]
        if names or state is LevelState.HOLDS:
            told.append(f"{title}: {', '.join(names) or 'none'}.")
    return " ".join(told)


def _goals(audit: AuditRecord) -> str:
    """How many goals for a service are met, and what misses one."""
    if not audit.goals:
        return ""
    missed = [
        f"{GOAL_NAME[one.id]} ({measured(one.value, unit=one.unit).value})"
        for one in audit.goals
        if not one.met
    ]
    met = len(audit.goals) - len(missed)
    told = f"Goals for a service: {met} of {len(audit.goals)} met."
    return f"{told} Not met: {'; '.join(missed)}." if missed else told


def _meaning(audit: AuditRecord) -> str:
    word = audit.verdict
    traced = any(one.id in (Goal.NOISE, Goal.VIEWS) and not one.met for one in audit.goals)
    if word.erased and traced:
        return f"{MEANING[word]} {_ASKED_TWICE}"
    return MEANING[word]


def _kept(audit: AuditRecord) -> tuple[ScoreRow, ScoreRow] | None:
    """Accuracy on the retained test samples, before and after, where both were measured."""
    found = {
        one.model: one
        for one in audit.scores
        if one.kind is ScoreKind.RETAIN_ACCURACY
        and one.split == "test retain"
        and one.value is not None
    }
    if "before" not in found or "after" not in found:
        return None
    return found["before"], found["after"]


def _cost(audit: AuditRecord) -> str:
    """What the erasure cost, in one sentence."""
    kept = _kept(audit)
    if kept is None:
        return ""
    before, after = (measured(one.value, n=one.n).value for one in kept)
    return f"On what was to be kept the model itself is right for {before} before and {after} after"


def _notices(audit: AuditRecord) -> list[str]:
    """Warnings about the audit itself."""
    return [
        *_failed_controls(audit),
        *_lost(audit),
        *_early(audit),
        *sentences(audit.notes)[:5],
        *([] if audit.controls else ["The self-tests of this audit were not run."]),
        *_contradicted(audit),
    ]


def _failed_controls(audit: AuditRecord) -> list[str]:
    failed = sum(not one.ok for one in audit.controls)
    if not failed:
        return []
    return [
        f"Do not rely on this verdict: {failed} of {len(audit.controls)} self-tests of this audit"
        " failed."
    ]


def _lost(audit: AuditRecord) -> list[str]:
    kept = _kept(audit)
    if kept is None:
        return []
    before, after = kept
    if (before.value or 0) - (after.value or 0) <= LOST_MUCH:
        return []
    return [
        f"The new model lost much of what was to be kept: {measured(after.value).value} right,"
        f" {measured(before.value).value} before."
    ]


def _early(audit: AuditRecord) -> list[str]:
    early = [literal(one.attack, 60) for one in audit.attacks if not one.converged]
    if not early:
        return []
    more = " and others" if len(early) > 3 else ""
    return [f"NOT CONVERGED, could read more: {', '.join(early[:3])}{more}."]


def _contradicted(audit: AuditRecord) -> list[str]:
    """A record that was edited may say less than its attacks."""
    said_otherwise = any(one.verdict is Verdict.RETAINED for one in audit.attacks)
    if not audit.verdict.erased or not said_otherwise:
        return []
    return ["Do not rely on this verdict: at least one attack in the table below says RETAINED."]
