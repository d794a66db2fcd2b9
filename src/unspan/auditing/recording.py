"""From what an audit measured to its record: levels, goals, claims, sentences, what was not run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from unspan.artifact import receipt as receipts
from unspan.artifact.record import record_of
from unspan.audit_record.circumstances import (
    AuditedMethod,
    AuditedRequest,
    EarlierAudit,
    Hashes,
    NotRun,
    Reference,
    Settings,
)
from unspan.audit_record.drawings import Figures
from unspan.audit_record.record import AuditRecord
from unspan.audit_record.remarks import Remark, RemarkCode, remark
from unspan.audit_record.results import GoalResult
from unspan.audit_record.stored import SCHEMA
from unspan.audit_record.summary import Identity
from unspan.audit_record.vocabulary import (
    LeftOut,
    Limit,
    ReferenceKind,
    ScoreGroup,
    TestData,
    Topic,
)
from unspan.auditing.accesses import accesses, is_trace
from unspan.auditing.advice import next_steps, not_to_say
from unspan.auditing.case import Case, relabelled
from unspan.auditing.goals import goals
from unspan.auditing.levels import Evidence, levels, quantity
from unspan.auditing.measured import Measurements
from unspan.auditing.scores import described
from unspan.auditing.summarising import cost, seen, strength
from unspan.metrics.identity import AttackKind, ScoreKind
from unspan.metrics.score import Score
from unspan.system.target import Target

_LIMITS = [
    Limit.ATTACKS_LISTED,
    Limit.SETTINGS_NAMED,
    Limit.UNTESTED_LEVELS,
    Limit.NOT_LEGAL_ADVICE,
]
_MEMBERSHIP = NotRun([Topic.MEMBERSHIP], LeftOut.MEMBERSHIP)
_LAYERS = NotRun([Topic.SWEEP], LeftOut.LAYERS)
_MODELS = NotRun([Topic.SWEEP, Topic.LEAKAGE, Topic.CAST, Topic.STABILITY], LeftOut.MODELS)
_SCORES = NotRun([Topic.UTILITY, Topic.CAST], LeftOut.SCORES)
_CLASS = NotRun([Topic.ATTACKS, Topic.PUBLISHED, Topic.RELEARNING], LeftOut.CLASS_PROBES)
_VIEWS = NotRun([], LeftOut.VIEWS)
_GRADCAM = NotRun([Topic.GRADCAM], LeftOut.GRADCAM)
_TRAINING = NotRun([], LeftOut.TRAINING)


def recorded(
    case: Case,
    found: Measurements,
    settings: Settings,
    hashes: Hashes,
    attempts: list[EarlierAudit],
    drawn: Figures,
    identity: Identity,
    seconds: dict[str, float],
) -> AuditRecord:
    """The record of an audit.

    Args:
        case: what it worked on.
        found: what it measured.
        settings: it was run with.
        hashes: of models, data and settings.
        attempts: earlier audits of the same request.
        drawn: numbers behind the drawings.
        identity: which files it is about, and who made it.
        seconds: how long it took.
    """
    judged = levels(_evidence(case, found))
    request = _request(case)
    reference = Reference(case.kind, len(case.references), case.usable)
    carried = strength(case, found, request, reference)
    answers = accesses(seen(case, found, judged))
    return AuditRecord(
        schema=SCHEMA,
        created=receipts.now(),
        identity=identity,
        verdict=found.verdict,
        evidence=carried,
        request=request,
        method=_method(case),
        levels=judged,
        goals=_goals(case, found),
        accesses=answers,
        cost=cost(found, drawn),
        next_steps=next_steps(
            found.verdict, answers, carried, reference, request.test_samples, identity
        ),
        not_to_say=not_to_say(found.verdict, answers),
        can_still=_can_still(found),
        limits=_limits(case),
        reference=reference,
        attacks=found.attacks,
        details=_details(found),
        scores=found.scores,
        controls=found.controls,
        informative=found.informative,
        notes=[*case.notes, *(one.note for one in found.handed_out)],
        not_run=_not_run(case, found, drawn),
        figures=drawn,
        settings=settings,
        hashes=hashes,
        attempts=attempts,
        versions=receipts.versions(),
        seconds=seconds,
    )


def _details(found: Measurements) -> dict[str, dict[str, dict[str, Any]]]:
    return {name: {one.attack: one.detail for one in own} for name, own in found.readings.items()}


def _evidence(case: Case, found: Measurements) -> Evidence:
    changed = found.white_box.changed
    fit_r2 = described(found.scores, ScoreKind.GUARDEDNESS_FIT, "after")
    guarded = [fit_r2, _affine_area(found)]
    return Evidence(
        classes=case.test["before"].classes(),
        compared=case.is_compared,
        own_answer=described(found.scores, ScoreKind.FORGET_ACCURACY, "after", "test forget"),
        searched=case.test["after"].logits is None,
        relabelled=relabelled(case),
        casts=[one for one in found.scores if one.group is ScoreGroup.CAST],
        guarded=[one for one in guarded if one is not None],
        attacks=found.attacks,
        earlier_layers=found.white_box.word,
        weights_changed=None if changed is None else bool(changed),
        samples=found.samples,
    )


def _affine_area(found: Measurements) -> Score | None:
    """The one-against-the-rest AUC of the erased model as a score."""
    for one in found.attacks:
        if one.identity.kind is AttackKind.LINEAR_AGAINST_REST:
            return Score(
                name=one.attack,
                value=one.erased,
                low=one.erased_low,
                high=one.erased_high,
                unit="AUC",
                split="test",
                n=one.n,
            )
    return None


def _request(case: Case) -> AuditedRequest:
    tested = int(case.test["before"].forget.sum())
    known = int(case.fit["before"].forget.sum())
    return AuditedRequest(
        kind=case.request.kind,
        selector=list(case.request.selector),
        samples=known if case.held_out else known + tested,
        test_samples=tested,
        test=TestData.HELD_OUT if case.held_out else TestData.FIFTH,
    )


def _method(case: Case) -> AuditedMethod | None:
    record = None if case.models is None else record_of(case.models.after.model)
    if record is None:
        return None
    target = record.receipt.get("target")
    named = None if target is None else Target(target)
    return AuditedMethod(record.receipt["method"]["name"], record.form, named)


def _goals(case: Case, found: Measurements) -> list[GoalResult]:
    if not case.by_class:
        return []
    retrained = case.kind is ReferenceKind.RETRAINED
    return goals(found.attacks, found.scores, case.test["before"].classes(), retrained)


def _can_still(found: Measurements) -> list[Remark]:
    """What an attacker can do beside the attacks that read more than retrained networks give."""
    remarks = []
    noise = _trace(found, ScoreKind.NOISE)
    if noise is not None:
        remarks.append(remark(RemarkCode.NOISE_FINDS, read=replace(quantity(noise), unit="AUC")))
    changed = found.white_box.changed
    if found.white_box.recovered == 1.0:
        remarks.append(Remark(RemarkCode.ERASER_COMES_OFF))
    elif changed is not None and not changed:
        remarks.append(Remark(RemarkCode.BEFORE_THE_ERASER))
    return [*remarks, Remark(RemarkCode.COPIES)]


def _trace(found: Measurements, kind: ScoreKind) -> Score | None:
    """The movement of erased samples, where neither the original nor a reference shows the same."""
    after = described(found.scores, kind, "after")
    others = [one for one in found.scores if one.kind is kind and one.model != "after"]
    return after if after is not None and is_trace(after, others) else None


def _limits(case: Case) -> list[Limit]:
    return _LIMITS if case.held_out else [*_LIMITS, Limit.TESTED_ON_TRAINING]


def _not_run(case: Case, found: Measurements, drawn: Figures) -> list[NotRun]:
    """What was left out of this audit; a new part of the audit is entered here."""
    left_out = [
        (_MEMBERSHIP, found.samples is None),
        (_MODELS, case.models is None),
        (_LAYERS, case.models is not None and found.white_box.word is None),
        (_SCORES, case.test["after"].logits is None),
        (_CLASS, not case.by_class),
        (_VIEWS, not case.test_views),
        (_GRADCAM, not drawn.gradcam),
        (_TRAINING, True),
    ]
    return [entry for entry, missing in left_out if missing]
