"""What the first screen of a report says, as typed fields: which file, who can still get what, how
strong the evidence is, what it cost, what to do next.
"""

from __future__ import annotations

from dataclasses import dataclass

from unspan.audit_record.drawings import ClassAccuracy
from unspan.audit_record.vocabulary import (
    Access,
    Basis,
    Given,
    Obtainable,
    Step,
    Strength,
    Weakness,
)
from unspan.metrics.identity import Family


@dataclass(frozen=True)
class AuditedFile:
    """A file of weights or of outputs.

    Attributes:
        name: without the folders above.
        sha256: of the whole file, 64 hexadecimal digits, as `sha256sum` prints it.
    """

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What an audit is about, and who made it.

    Attributes:
        deletion: number of the deletion: the first eight digits of the sha256 of receipt.json, or
            of the receipt that travels with a model in memory; None without a receipt.
        given: whether the files hold models or their outputs.
        model: file of the audited model or of its outputs; None where it came from memory.
        original: that of the original; None where it came from elsewhere.
        references: files of the references, as far as they came from files.
        by: who made the audit, in their own words; empty where they did not say.
        valid_until: last day, `YYYY-MM-DD`; None where none was given.
    """

    deletion: str | None
    given: Given
    model: AuditedFile | None
    original: AuditedFile | None
    references: list[AuditedFile]
    by: str
    valid_until: str | None


@dataclass(frozen=True, kw_only=True)
class AccessResult:
    """What somebody with one kind of access can still get of the forgotten samples.

    Attributes:
        access: what he has.
        answer: whether he gets them.
        basis: what the answer rests on.
        attack: name of the attack behind the number; empty where there is none.
        unit: of the numbers, `share` or `AUC`.
        n: forgotten test samples behind the number, 0 where there is none.
        value: what he reads in the erased model, with 95 % interval `low` to `high`.
        guessing: what guessing gives.
        original: what he read in the original, from `original_low` to `original_high`.
        reference: in the reference (mean of several), from `reference_low` to `reference_high`;
            None where there is none.
        trace: he sees that something was erased: less is read than in such networks, or the erased
            samples move more than there.
    """

    access: Access
    answer: Obtainable
    basis: Basis
    attack: str = ""
    unit: str = "share"
    n: int = 0
    value: float | None = None
    low: float | None = None
    high: float | None = None
    guessing: float | None = None
    original: float | None = None
    original_low: float | None = None
    original_high: float | None = None
    reference: float | None = None
    reference_low: float | None = None
    reference_high: float | None = None
    trace: bool = False

    @property
    def above_guessing(self) -> bool:
        """He reads more than guessing gives, with the whole interval; an AUC either way."""
        if self.guessing is None or self.low is None or self.high is None:
            return False
        below = self.unit == "AUC" and self.high < self.guessing
        return self.low > self.guessing or below


@dataclass(frozen=True, kw_only=True)
class EvidenceStrength:
    """How much a verdict can carry; the rule stands in `auditing.evidence`.

    Attributes:
        strength: weak, fair or strong.
        weaknesses: what keeps it from being stronger.
        deciding: families of attacks that could decide.
        undecided: families that were tried and could not.
    """

    strength: Strength
    weaknesses: list[Weakness]
    deciding: list[Family]
    undecided: list[Family]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the erasure cost on retained test samples; shares with their 95 % intervals.

    Attributes:
        n: samples.
        before: accuracy of the original, from `before_low` to `before_high`.
        after: accuracy of the erased model.
        worst: retained class that lost most; None where accuracies by class are not known.
    """

    n: int
    before: float
    before_low: float | None
    before_high: float | None
    after: float
    after_low: float | None
    after_high: float | None
    worst: ClassAccuracy | None


@dataclass(frozen=True)
class NextStep:
    """Something to do now.

    Attributes:
        step: what.
        count: how many of what the step is about; None where it counts nothing.
    """

    step: Step
    count: int | None = None
