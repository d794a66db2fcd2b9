"""What an audit was about and how it was run: request, method, reference, settings, hashes."""

from __future__ import annotations

from dataclasses import dataclass

from unspan.audit_record.vocabulary import (
    LeftOut,
    ReferenceKind,
    TestData,
    Topic,
    Verdict,
)
from unspan.system.target import Target


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
