"""The head of the first screen: which file, the verdict, and how strong the evidence is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from unspan.audit_record.record import AuditRecord
from unspan.audit_record.vocabulary import (
    Access,
    Given,
    LevelState,
    Obtainable,
    ReferenceKind,
    Verdict,
)
from unspan.report.formatting import joined, literal, measured, thousands, upper
from unspan.report.words import first as words
from unspan.report.words.codes import TEST_DATA
from unspan.report.words.first import First
from unspan.system.target import Target


@dataclass(frozen=True)
class Fact:
    """A named fact; `code` is set in a fixed width."""

    name: str
    value: str
    code: bool = False


_FILE_OF = {Given.MODELS: First.MODEL, Given.OUTPUTS: First.OUTPUTS}


def identity(audit: AuditRecord) -> list[Fact]:
    """Which file, when, by whom, valid until what."""
    one = audit.identity
    until = First.UNTIL_CHANGE.value
    if one.valid_until is not None:
        until = First.UNTIL_DATE.format(date=literal(one.valid_until, 40))
    model = First.IN_MEMORY.value if one.model is None else literal(one.model.name, 120)
    file_hash = First.NO_HASH.value if one.model is None else literal(one.model.sha256, 64)
    number_of = First.NO_DELETION.value if one.deletion is None else literal(one.deletion, 40)
    return [
        Fact(First.DELETION.value, number_of, code=one.deletion is not None),
        Fact(_FILE_OF[one.given].value, model),
        Fact(First.FILE_HASH.value, file_hash, code=one.model is not None),
        Fact(First.AUDITED.value, when(audit.created)),
        Fact(First.BY.value, literal(one.by, 120) or First.NOBODY.value),
        Fact(First.VALID.value, until),
    ]


def when(text: str) -> str:
    """The time of an audit for people."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(?:\+00:00|Z)", text)
    return f"{found[1]} {found[2]} UTC" if found else literal(text, 40)


def reference(audit: AuditRecord) -> str:
    """What the numbers are compared with, in words."""
    count = max(audit.reference.count, 1)
    models = First.MANY_MODELS.format(count=thousands(count))
    if count == 1:
        models = First.ONE_MODEL.value
    return {
        ReferenceKind.RETRAINED: First.REFERENCE_RETRAINED.format(models=models),
        ReferenceKind.RANDOM: First.REFERENCE_RANDOM.format(models=models),
        ReferenceKind.PIXELS: First.REFERENCE_PIXELS.value,
        ReferenceKind.NONE: First.REFERENCE_NONE.value,
    }[audit.reference.kind]


def what(audit: AuditRecord) -> str:
    """The request in words, never with names or ids of single samples."""
    request = audit.request
    if request.kind == "class" and request.selector:
        names = [f"“{literal(one, 40)}”" for one in request.selector]
        more = ""
        if len(names) > 3:
            more = First.AND_MORE.format(count=thousands(len(names) - 3))
        form = First.FORGET_CLASS if len(names) == 1 else First.FORGET_CLASSES
        return form.format(names=", ".join(names[:3]) + more)
    if request.samples > 0:
        return First.FORGET_SAMPLES.format(samples=samples(request.samples))
    return First.NOT_RECORDED.value


def samples(n: int) -> str:
    """A number of samples in words."""
    return First.ONE_SAMPLE.value if n == 1 else First.MANY_SAMPLES.format(count=thousands(n))


def asked(audit: AuditRecord) -> str:
    """The request, its samples and the method, in sentences."""
    request, method = audit.request, audit.method
    known = request.kind == "class" and request.samples > 0
    size = First.WITH_SAMPLES.format(samples=samples(request.samples)) if known else ""
    how = ""
    if method is not None:
        name, form = literal(method.name, 60), literal(method.form, 60)
        how = First.METHOD.format(name=name, form=form)
    return joined(f"{what(audit)}{size}", how)


def meaning(audit: AuditRecord) -> str:
    """What the verdict says, in one or two sentences."""
    compared = audit.reference.kind is ReferenceKind.RETRAINED
    told = words.MEANING[audit.verdict]
    if audit.verdict is Verdict.BELOW_RETRAINED and not compared:
        told = First.NEAR_GUESSING.value
    return joined(told, cannot_tell(audit), _from_file(audit))


def cannot_tell(audit: AuditRecord) -> str:
    """How many kinds of attackers do not decide, where the others find no more than retrained."""
    undecided, deciding = len(audit.evidence.undecided), len(audit.evidence.deciding)
    if not audit.verdict.erased or not undecided:
        return ""
    return First.SOME_CANNOT_TELL.format(undecided=undecided, tried=undecided + deciding)


def _from_file(audit: AuditRecord) -> str:
    """What whoever holds the file gets, where that is more than the verdict says."""
    file = next((one for one in audit.accesses if one.access is Access.FILE), None)
    if not audit.verdict.erased or file is None or file.answer is not Obtainable.YES:
        return ""
    if file.value is None or file.original is None or file.unit != "share":
        return First.STILL_IN_FILE.value
    now, before = (measured(value).value for value in (file.value, file.original))
    return First.BACK_FROM_FILE.format(now=now, before=before)


def code(audit: AuditRecord) -> str:
    """The verdict code with the levels."""
    told = []
    for state, title in words.LEVELS.items():
        names = [one.level.value for one in audit.levels if one.state is state]
        if names or state is LevelState.HOLDS:
            told.append(f"{title}: {', '.join(names) or First.NONE.value}.")
    levels = " ".join(told) if audit.levels else f"{First.NO_LEVELS.value}."
    return f"{audit.verdict}. {levels}"


def aim(audit: AuditRecord) -> str:
    """What was aimed at, and whether it is met."""
    target = None if audit.method is None else audit.method.target
    if target is None:
        return f"{upper(First.AIM_UNKNOWN.value)}."
    met = words.TARGET_MET[audit.target_met]
    if target is Target.SUPPRESS and audit.target_met:
        traced = traces(audit)
        if traced:
            met = First.TRACED.format(who=", or ".join(traced))
    return f"{upper(words.TARGET[target])}: {met}."


def traces(audit: AuditRecord) -> list[str]:
    """Who can see that something was erased, in words."""
    return [words.ACCESS[one.access] for one in audit.accesses if one.trace]


def evidence(audit: AuditRecord) -> str:
    """The strength of the evidence, what it rests on, and what would make it stronger."""
    found, request = audit.evidence, audit.request
    tried = len(found.deciding) + len(found.undecided)
    where = TEST_DATA[request.test]
    tested = First.TESTED_ON.format(samples=samples(request.test_samples), where=where)
    able = First.DECIDED.format(able=len(found.deciding), tried=tried)
    compared = First.COMPARED.format(reference=reference(audit))
    rest = (words.WEAKNESS[one] for one in found.weaknesses)
    return joined(words.STRENGTH[found.strength], tested, compared, able, *rest)
