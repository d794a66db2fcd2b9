"""The record of an audit: everything that audit.json holds, as frozen dataclasses.

An audit builds one `AuditRecord`. Verdict, exit code, both reports and the JSON follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
from unspan.audit_record.remarks import Remark
from unspan.audit_record.results import (
    AttackResult,
    Control,
    GoalResult,
    Informative,
    LevelResult,
    ScoreRow,
)
from unspan.audit_record.summary import (
    AccessResult,
    Cost,
    EvidenceStrength,
    Identity,
    NextStep,
)
from unspan.audit_record.vocabulary import (
    Limit,
    Saying,
    Verdict,
)
from unspan.system.target import Target


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """Everything that an audit measured and said.

    Attributes:
        schema: name and version of the JSON form.
        created: when the audit ran.
        identity: which files it is about, and who made it.
        verdict: the word for all attackers together.
        evidence: how much the verdict can carry.
        request: what was to be forgotten.
        method: how the erased model was made, None when it does not say.
        levels: what may be claimed, from the weakest to the strongest.
        goals: for a service that gives out features or scores.
        accesses: who can still get what, one row for each access.
        cost: on retained samples; None where the model gives no class scores.
        next_steps: what to do now.
        not_to_say: what may not be said.
        can_still: what an attacker can still do beside the attacks.
        limits: of this audit.
        reference: what the erased model is compared with.
        attacks: those that decide first.
        details: settings and convergence of each attack, by model and attack.
        scores: everything that is reported beside the attacks.
        controls: planted cases and what the audit said about them.
        informative: scores, and whether a fake passes them.
        notes: warnings.
        not_run: what was left out, and why.
        figures: numbers behind the drawings.
        settings: of the audit.
        hashes: of models, data and settings.
        attempts: earlier audits of the same request.
        versions: of the libraries.
        seconds: how long it took.
    """

    schema: str
    created: str
    identity: Identity
    verdict: Verdict
    evidence: EvidenceStrength
    request: AuditedRequest
    method: AuditedMethod | None
    levels: list[LevelResult]
    goals: list[GoalResult]
    accesses: list[AccessResult]
    cost: Cost | None
    next_steps: list[NextStep]
    not_to_say: list[Saying]
    can_still: list[Remark]
    limits: list[Limit]
    reference: Reference
    attacks: list[AttackResult]
    details: dict[str, dict[str, dict[str, Any]]]
    scores: list[ScoreRow]
    controls: list[Control]
    informative: list[Informative]
    notes: list[Remark]
    not_run: list[NotRun]
    figures: Figures
    settings: Settings
    hashes: Hashes
    attempts: list[EarlierAudit]
    versions: dict[str, str]
    seconds: dict[str, float]
    seal: str = ""

    @property
    def target_met(self) -> bool | None:
        """Whether the verdict is what the erasure aimed at; None where one of both is open."""
        target = None if self.method is None else self.method.target
        undecided = self.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_MEASURABLE)
        if target is None or undecided:
            return None
        if target is Target.SUPPRESS:
            return self.verdict.erased
        return self.verdict is Verdict.LIKE_RETRAINED

    @property
    def trusted(self) -> bool:
        """Every self-test did what it should, and the reference can serve as one."""
        return all(one.ok for one in self.controls) and self.reference.usable
