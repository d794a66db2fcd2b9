"""How much a verdict can carry: weak, fair or strong.

- weak: a self-test failed or none was run, the attacks do not decide, there is no retrained network
  to compare with, or there are fewer than `WEAK_BELOW` test samples. Where the model itself still
  names what was forgotten, no network to compare with is needed.
- strong: `ENOUGH_REFERENCES` retrained networks, `STRONG_FROM` test samples that nobody trained on,
  every kind of attacker decides, one of them by features, and every self-test did what it should.
- fair: anything else.
"""

from __future__ import annotations

from collections.abc import Sequence

from unspan.audit_record.circumstances import Reference
from unspan.audit_record.results import AttackResult
from unspan.audit_record.summary import EvidenceStrength
from unspan.audit_record.vocabulary import (
    INCONCLUSIVE,
    NOT_MEASURABLE,
    ReferenceKind,
    Strength,
    Verdict,
    Weakness,
)
from unspan.metrics.identity import Family

WEAK_BELOW = 20  # test samples; the smallest number for which error rates are published
STRONG_FROM = 200
ENOUGH_REFERENCES = 3
_UNABLE = (INCONCLUSIVE, NOT_MEASURABLE)
_WEAK = (
    Weakness.NOT_TRUSTED,
    Weakness.UNDECIDED,
    Weakness.NO_REFERENCE,
    Weakness.VERY_FEW_SAMPLES,
)


def evidence(
    verdict: Verdict,
    attacks: Sequence[AttackResult],
    reference: Reference,
    *,
    samples: int,
    held_out: bool,
    trusted: bool,
) -> EvidenceStrength:
    """The strength of the evidence behind a verdict, with what keeps it from being stronger.

    Args:
        verdict: of the audit.
        attacks: on answers, scores and features.
        reference: what the erased model is compared with.
        samples: forgotten test samples.
        held_out: nobody trained on them.
        trusted: self-tests were run, and every one did what it should.
    """
    words = [(one.identity.attacker.family, one.verdict) for one in attacks if one.verdict]
    undecided = list(dict.fromkeys(family for family, word in words if word in _UNABLE))
    deciding = list(dict.fromkeys(family for family, word in words if word not in _UNABLE))
    named = any((one, Verdict.RETAINED) in words for one in (Family.ANSWERS, Family.SEARCH))
    weaknesses = [
        (Weakness.NOT_TRUSTED, not trusted or not reference.usable),
        (Weakness.UNDECIDED, verdict in _UNABLE),
        (Weakness.NO_REFERENCE, reference.kind is not ReferenceKind.RETRAINED and not named),
        (Weakness.VERY_FEW_SAMPLES, samples < WEAK_BELOW),
        (Weakness.FEW_SAMPLES, WEAK_BELOW <= samples < STRONG_FROM),
        (Weakness.FEW_REFERENCES, _few(reference)),
        (Weakness.PARTLY_UNDECIDED, bool(undecided) and verdict not in _UNABLE),
        (Weakness.HEAD_ONLY, _head_only(deciding) and verdict not in _UNABLE),
        (Weakness.NOT_HELD_OUT, not held_out),
    ]
    found = [weakness for weakness, there in weaknesses if there]
    return EvidenceStrength(
        strength=_strength(found), weaknesses=found, deciding=deciding, undecided=undecided
    )


def _few(reference: Reference) -> bool:
    return reference.kind is ReferenceKind.RETRAINED and reference.count < ENOUGH_REFERENCES


def _head_only(deciding: Sequence[Family]) -> bool:
    return all(one.sees_the_head_only for one in deciding)


def _strength(found: Sequence[Weakness]) -> Strength:
    if any(one in _WEAK for one in found):
        return Strength.WEAK
    return Strength.FAIR if found else Strength.STRONG
