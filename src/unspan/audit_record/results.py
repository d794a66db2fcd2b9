"""What an audit measured: attacks, levels, goals, scores and its tests of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from unspan.audit_record.remarks import Quantity, Remark
from unspan.audit_record.vocabulary import (
    Expected,
    FooledScore,
    Goal,
    Level,
    LevelState,
    Planted,
    ScoreGroup,
    Verdict,
)
from unspan.metrics.identity import AttackId, AttackKind, ScoreKind
from unspan.metrics.score import Score

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
        sure: its whole interval lies on the same side of the bound.
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
