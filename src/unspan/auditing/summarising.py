"""From what an audit measured to the typed fields of its first screen."""

from __future__ import annotations

from unspan.audit_record.circumstances import AuditedRequest, Reference
from unspan.audit_record.drawings import Figures
from unspan.audit_record.results import LevelResult
from unspan.audit_record.summary import Cost, EvidenceStrength
from unspan.auditing.accesses import Seen
from unspan.auditing.case import Case
from unspan.auditing.evidence import evidence
from unspan.auditing.measured import Measurements
from unspan.auditing.scores import described
from unspan.metrics.identity import ScoreKind


def strength(
    case: Case, found: Measurements, request: AuditedRequest, reference: Reference
) -> EvidenceStrength:
    """How much the verdict can carry."""
    return evidence(
        found.verdict,
        found.attacks,
        reference,
        samples=request.test_samples,
        held_out=case.held_out,
        trusted=bool(found.controls) and all(one.ok for one in found.controls),
    )


def seen(case: Case, found: Measurements, judged: list[LevelResult]) -> Seen:
    """What the answers rest on."""
    changed = found.white_box.changed
    return Seen(
        classes=case.test["before"].classes(),
        attacks=found.attacks,
        levels=judged,
        scores=found.scores,
        layers=found.white_box.verdicts,
        layers_word=found.white_box.word,
        weights_changed=None if changed is None else bool(changed),
        recovered=found.white_box.recovered,
    )


def cost(found: Measurements, drawn: Figures) -> Cost | None:
    """Accuracy on the retained test samples, and the retained class that lost most."""
    before = described(found.scores, ScoreKind.RETAIN_ACCURACY, "before", "test retain")
    after = described(found.scores, ScoreKind.RETAIN_ACCURACY, "after", "test retain")
    if before is None or after is None or before.value is None or after.value is None:
        return None
    kept = [one for one in drawn.per_class if not one.forget]
    return Cost(
        n=after.n,
        before=before.value,
        before_low=before.low,
        before_high=before.high,
        after=after.value,
        after_low=after.low,
        after_high=after.high,
        worst=min(kept, key=lambda one: one.after - one.before, default=None),
    )
