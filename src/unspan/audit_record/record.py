"""The record of an audit: everything that audit.json holds, as frozen dataclasses.

An audit builds one `AuditRecord`. Verdict, exit code, both reports and the JSON follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from unspan.audit_record.drawings import Figures
from unspan.audit_record.remarks import Quantity, Remark
from unspan.audit_record.summary import (
    AccessResult,
    Cost,
    EvidenceStrength,
    Identity,
    NextStep,
)
from unspan.audit_record.vocabulary import (
    Expected,
    FooledScore,
    Goal,
    LeftOut,
    Level,
    LevelState,
    Limit,
    Planted,
    ReferenceKind,
    Saying,
    ScoreGroup,
    TestData,
    Topic,
    Verdict,
)
from unspan.metrics.identity import AttackId, AttackKind, ScoreKind
from unspan.metrics.score import Score
from unspan.system.target import Target

Unit = Literal["share", "AUC"]


@dataclass(frozen=True, kw_only=True)
class Advantage:
    """What one kind of attacker gains over guessing, with his strongest attack in each model.

    0 is guessing, 1 is always right; see `Reading.advantage`.

    Attributes:
        original: in the original.
        erased: in the erased model.
        reference: mean over the references, None where there is none.
        low: lower end of the band in which one more retrained network would lie, None where none
            was given.
        high: upper end.
        freedom: degrees of freedom behind the band.
        strongest_before: the strongest attack on the original.
    """

    original: float
    erased: float
    reference: float | None
    low: float | None
    high: float | None
    freedom: int | None
    strongest_before: str


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """How one attack reads the erased model.

    Attributes:
        attack: name.
        unit: `share` or `AUC`.
        n: forget test samples.
        original: what the attack reads in the original, with 95 % interval `original_low` to
            `original_high`.
        erased: in the erased model, with 95 % interval `erased_low` to `erased_high`.
        reference: in the reference (mean over several), None where there is none; `reference_low`
            to `reference_high` covers the 95 % interval of each.
        false_positives: share of retained samples taken for a forgotten class in the erased model,
            None for an AUC.
        verdict: the word for its kind of attacker, where this attack decides for it: it is the
            strongest of its kind in the erased model. None otherwise.
        advantage: what decides, None where this attack does not decide.
        rho: share of the way from the retrained networks to the original at which the erased model
            lies, by the advantages; None where it cannot be measured or this does not decide.
        rho_low: lower end of its 95 % interval.
        rho_high: upper end.
        retain: accuracy of the attack on retained samples in the erased model.
        notes: why it has its word, where that needs saying.
        identity: which attack this is, for decisions.
        converged: it ran to its end in every model; one that trains nothing always does.
    """

    attack: str
    unit: Unit
    n: int
    original: float
    erased: float
    erased_low: float
    erased_high: float
    reference: float | None
    false_positives: float | None = None
    verdict: Verdict | None = None
    advantage: Advantage | None = None
    rho: float | None = None
    rho_low: float | None = None
    rho_high: float | None = None
    retain: float | None = None
    notes: list[Remark] = field(default_factory=list)
    identity: AttackId = AttackId(AttackKind.OTHER)
    converged: bool = True
    original_low: float | None = None
    original_high: float | None = None
    reference_low: float | None = None
    reference_high: float | None = None

    @property
    def shows_a_trace(self) -> bool:
        """Whether less is read than one more retrained network would give away."""
        compared = self.advantage is not None and self.advantage.low is not None
        return compared and self.verdict is Verdict.BELOW_RETRAINED


@dataclass(frozen=True)
class LevelResult:
    """One rung of what may be claimed.

    Attributes:
        level: `L0` to `L4`, or `S` for single samples.
        state: whether it holds.
        why: the measurement behind it.
    """

    level: Level
    state: LevelState
    why: list[Remark]

    @property
    def holds(self) -> bool:
        """Whether the level may be claimed."""
        return self.state is LevelState.HOLDS


@dataclass(frozen=True, kw_only=True)
class GoalResult:
    """One goal for a service, and what was measured for it.

    Attributes:
        id: which goal.
        what: the attack or score that came nearest to missing it.
        value: what was measured, with 95 % interval `low` to `high`.
        unit: of the value.
        n: samples behind it.
        bound: what the value is held against.
        at_most: the value may not exceed the bound; otherwise not fall below it.
        met: the value is within the bound.
        sure: its interval is as well.
    """

    id: Goal
    what: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    n: int
    bound: float
    at_most: bool
    met: bool
    sure: bool


@dataclass(frozen=True, kw_only=True)
class ScoreRow(Score):
    """A score, with the model it is of and the part of the report it belongs to.

    Attributes:
        group: part of the report.
        model: `before`, `after`, or a reference.
        kind: which score this is, for decisions.
    """

    group: ScoreGroup
    model: str
    kind: ScoreKind = ScoreKind.OTHER


@dataclass(frozen=True)
class Control:
    """One planted case.

    Attributes:
        planted: what.
        expect: `caught` (a fake) or `passed` (nothing to find).
        caught: whether the audit called it RETAINED.
        attack: that read most of it; empty where there was none.
        read: what that attack read, None where there was none.
        verdict: the word of the audit; None for a case that one attack alone is tried on.
    """

    planted: Planted
    expect: Expected
    caught: bool
    attack: str = ""
    read: Quantity | None = None
    verdict: Verdict | None = None

    @property
    def ok(self) -> bool:
        """Whether the audit said what it should."""
        return self.caught == (self.expect is Expected.CAUGHT)


@dataclass(frozen=True)
class Informative:
    """Whether a score can tell an erasure from a fake.

    Attributes:
        score: which.
        informative: False when a fake passes it.
        why: the measurement behind it.
    """

    score: FooledScore
    informative: bool
    why: Remark


@dataclass(frozen=True)
class NotRun:
    """A part of an audit that was left out.

    Attributes:
        topics: sections of the report that stay empty for it.
        part: what was left out, and why.
    """

    topics: list[Topic]
    part: LeftOut


@dataclass(frozen=True, kw_only=True)
class AuditedRequest:
    """What was to be forgotten.

    Attributes:
        kind: `class`, or how samples were chosen.
        selector: names of the classes; empty for samples.
        samples: to be forgotten.
        test_samples: the attacker is judged on.
        test: where those come from.
    """

    kind: str
    selector: list[str]
    samples: int
    test_samples: int
    test: TestData


@dataclass(frozen=True)
class AuditedMethod:
    """How the erased model was made, when it says so.

    Attributes:
        name: of the method.
        form: where the eraser sits: `projected`, `trained`, …
        target: what it aimed at; None where its receipt does not say.
    """

    name: str
    form: str
    target: Target | None


@dataclass(frozen=True)
class Reference:
    """What the erased model is compared with.

    Attributes:
        kind: retrained models, random weights, or the inputs themselves.
        count: how many models.
        usable: False when one has seen the forgotten data.
    """

    kind: ReferenceKind
    count: int
    usable: bool


@dataclass(frozen=True)
class Rule:
    """Thresholds of the verdicts, see `auditing.verdict_rule`."""

    retained_above: float
    room: float
    guessing: float


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an audit was run with.

    Attributes:
        seed: of probes and bootstrap.
        batch_size: of forward passes.
        attacks: which suite.
        feature_layer: where features were read, None when it was found.
        pool: how maps became vectors, None when the layer decides.
        rule: thresholds of the verdicts.
    """

    seed: int
    batch_size: int
    attacks: str
    feature_layer: str | None
    pool: str | None
    rule: Rule


@dataclass(frozen=True, kw_only=True)
class Hashes:
    """sha256 of models, data and settings."""

    before: str
    after: str
    reference: list[str]
    fit_data: str
    test_data: str
    config: str


@dataclass(frozen=True)
class EarlierAudit:
    """Another audit of the same request, from the log.

    Attributes:
        after: hash of the audited model.
        config: hash of its settings.
        verdict: None when it did not finish.
    """

    after: str
    config: str
    verdict: Verdict | None


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
