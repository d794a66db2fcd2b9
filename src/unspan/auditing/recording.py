"""From what an audit measured to its record: levels, goals, claims, sentences, what was not run."""

from __future__ import annotations

from typing import Any

from unspan.artifact import receipt as receipts
from unspan.artifact.deletion import record_of
from unspan.audit_record.drawings import Figures
from unspan.audit_record.record import (
    AuditedMethod,
    AuditedRequest,
    AuditRecord,
    EarlierAudit,
    GoalResult,
    Hashes,
    NotRun,
    Reference,
    Settings,
)
from unspan.audit_record.stored import SCHEMA
from unspan.audit_record.summary import Identity
from unspan.audit_record.vocabulary import ReferenceKind, ScoreGroup, Topic
from unspan.auditing import statements
from unspan.auditing.accesses import accesses, is_trace
from unspan.auditing.advice import next_steps, not_to_say
from unspan.auditing.case import Case, relabelled
from unspan.auditing.goals import goals
from unspan.auditing.levels import Evidence, levels
from unspan.auditing.measured import Measurements
from unspan.auditing.scores import described
from unspan.auditing.suite import explain
from unspan.auditing.summarising import cost, seen, strength
from unspan.metrics.identity import AttackKind, ScoreKind
from unspan.metrics.score import Score
from unspan.system.target import Target

_HELD_OUT = "held-out test data"
_FIFTH = "a held-out fifth of the data given (no test split)"
_REFERENCE_NOTE = {
    ReferenceKind.RANDOM: (
        "the same architecture with random weights, for comparison only: features learned from"
        " other classes often separate one that was never seen, so only networks retrained without"
        " the data can tell"
    ),
    ReferenceKind.NONE: (
        "no other model was given, so that only absolute bounds decide; networks retrained without"
        " the data could tell more"
    ),
    ReferenceKind.PIXELS: "the inputs themselves, averaged to 8 x 8 pixels, for comparison only",
}
_NO_MEMBERSHIP = NotRun(
    [Topic.MEMBERSHIP],
    "membership of single samples (RMIA, LiRA)",
    (
        "needs class scores that differ, labels, twenty unseen samples of the class, and models"
        " trained without the samples (--reference)"
    ),
)
_NO_LAYERS = NotRun(
    [Topic.SWEEP],
    "earlier layers",
    "no layer that all models share was found before the features",
)
_NO_MODELS = NotRun(
    [Topic.SWEEP, Topic.LEAKAGE, Topic.CAST, Topic.STABILITY],
    "earlier layers, the eraser taken off, casts, noise on the input",
    "outputs were given, not models",
)
_NO_SCORES = NotRun(
    [Topic.UTILITY, Topic.CAST],
    "scores, casts, output signature",
    "the model gives no class scores",
)
_NO_CLASS = NotRun(
    [Topic.ATTACKS, Topic.PUBLISHED, Topic.RELEARNING],
    "class probes (linear, kNN, MLP, few-shot, KR)",
    "the request is of samples, not of a class",
)
_NO_VIEWS = NotRun(
    [], "altered copies (ten views of an image)", "the inputs are no images, or there is no network"
)
_NO_GRADCAM = NotRun(
    [Topic.GRADCAM],
    "Grad-CAM pictures",
    (
        "not asked for: the pictures show forgotten samples, and a report holds none by default"
        " (--include-images 4 shows four)"
    ),
)
_NO_TRAINING = NotRun(
    [],
    "recovery by fine-tuning, shadow models (U-LiRA)",
    "need training; not part of the default audit",
)


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
    split = _HELD_OUT if case.held_out else _FIFTH
    what = f"{case.request.kind} {', '.join(case.request.selector)}"
    request = _request(case, split)
    reference = _reference(case)
    carried = strength(case, found, request, reference)
    answers = accesses(seen(case, found, judged))
    return AuditRecord(
        schema=SCHEMA,
        created=receipts.now(),
        identity=identity,
        verdict=found.verdict,
        evidence=carried,
        headline=_headline(case, found),
        request=request,
        method=_method(case),
        levels=judged,
        claims=statements.claims(judged, what, split),
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
        notes=_notes(case, found, attempts),
        not_run=_not_run(case, found, drawn),
        figures=drawn,
        settings=settings,
        hashes=hashes,
        attempts=attempts,
        versions=receipts.versions(),
        seconds=seconds,
    )


def _headline(case: Case, found: Measurements) -> str:
    warned = [f"{one.note.capitalize()}." for one in found.handed_out]
    return " ".join([*warned, statements.headline(found.attacks, case.kind, found.verdict)])


def _details(found: Measurements) -> dict[str, dict[str, dict[str, Any]]]:
    return {name: {one.attack: one.detail for one in own} for name, own in found.readings.items()}


def _notes(case: Case, found: Measurements, attempts: list[EarlierAudit]) -> list[str]:
    handed_out = [one.note for one in found.handed_out]
    return [*case.notes, *statements.attempted(attempts), *handed_out]


def _evidence(case: Case, found: Measurements) -> Evidence:
    changed = found.white_box.changed
    fit_r2 = described(found.scores, ScoreKind.GUARDEDNESS_FIT, "after")
    guarded = [fit_r2, _affine_area(found)]
    return Evidence(
        classes=case.test["before"].classes(),
        compared=case.is_compared,
        own_head=described(found.scores, ScoreKind.FORGET_ACCURACY, "after", "test forget"),
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


def _request(case: Case, split: str) -> AuditedRequest:
    tested = int(case.test["before"].forget.sum())
    known = int(case.fit["before"].forget.sum())
    return AuditedRequest(
        kind=case.request.kind,
        selector=list(case.request.selector),
        samples=known if case.held_out else known + tested,
        test_samples=tested,
        test=split,
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


def _can_still(found: Measurements) -> list[str]:
    changed = found.white_box.changed
    return statements.can_still(
        found.attacks,
        explain,
        noise=_trace(found, ScoreKind.NOISE),
        weights_changed=None if changed is None else bool(changed),
        recovered=found.white_box.recovered,
    )


def _trace(found: Measurements, kind: ScoreKind) -> Score | None:
    """The movement of erased samples, where neither the original nor a reference shows the same."""
    after = described(found.scores, kind, "after")
    others = [one for one in found.scores if one.kind is kind and one.model != "after"]
    return after if after is not None and is_trace(after, others) else None


def _limits(case: Case) -> list[str]:
    if case.held_out:
        return statements.LIMITS
    return [*statements.LIMITS, statements.TEST_WAS_TRAINED_ON]


def _reference(case: Case) -> Reference:
    count = len(case.references)
    if case.kind is ReferenceKind.RETRAINED:
        models = "1 model" if count == 1 else f"{count} models"
        note = f"{models} given as trained without the forgotten data"
        if count == 1:
            note += "; the spread of training is an expected one, since one seed does not show it"
        elif count < 3:
            note += "; three or more seeds would tell better how much training alone varies"
    else:
        note = _REFERENCE_NOTE[case.kind]
    return Reference(case.kind, count, case.usable, note)


def _not_run(case: Case, found: Measurements, drawn: Figures) -> list[NotRun]:
    """What was left out of this audit; a new part of the audit is entered here."""
    left_out = [
        (_NO_MEMBERSHIP, found.samples is None),
        (_NO_MODELS, case.models is None),
        (_NO_LAYERS, case.models is not None and found.white_box.word is None),
        (_NO_SCORES, case.test["after"].logits is None),
        (_NO_CLASS, not case.by_class),
        (_NO_VIEWS, not case.test_views),
        (_NO_GRADCAM, not drawn.gradcam),
        (_NO_TRAINING, True),
    ]
    return [entry for entry, missing in left_out if missing]
