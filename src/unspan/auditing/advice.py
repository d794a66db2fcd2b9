"""What to do after an audit, and what it does not allow to say; both follow from the answers."""

from __future__ import annotations

from collections.abc import Sequence

from unspan.audit_record.circumstances import Reference
from unspan.audit_record.summary import AccessResult, EvidenceStrength, Identity, NextStep
from unspan.audit_record.vocabulary import (
    Access,
    Basis,
    Obtainable,
    ReferenceKind,
    Saying,
    Step,
    Verdict,
    Weakness,
)
from unspan.auditing.evidence import ENOUGH_REFERENCES

_MORE_SAMPLES = (Weakness.FEW_SAMPLES, Weakness.VERY_FEW_SAMPLES)


def next_steps(
    verdict: Verdict,
    accesses: Sequence[AccessResult],
    evidence: EvidenceStrength,
    reference: Reference,
    samples: int,
    about: Identity,
) -> list[NextStep]:
    """What to do now, the most urgent first.

    Args:
        verdict: of the audit.
        accesses: who can still get what.
        evidence: how much the verdict can carry.
        reference: what the erased model is compared with.
        samples: forgotten test samples.
        about: the files of the audit; `unspan verify` checks a folder with a receipt.
    """
    answers = {one.access: one.answer for one in accesses}
    more = {one for one, answer in answers.items() if answer is Obtainable.YES}
    closed = {one for one, answer in answers.items() if answer is Obtainable.NO}
    again = verdict is Verdict.RETAINED or bool(more & {Access.NAMED, Access.FEATURES})
    by_repeats = any(
        one.access is Access.REPEATS and one.basis is not Basis.FROM_OTHER_ACCESS
        for one in accesses
    )
    retrained = reference.count if reference.kind is ReferenceKind.RETRAINED else 0
    if not reference.usable:
        retrained = 0
    few = any(one in _MORE_SAMPLES for one in evidence.weaknesses)
    steps = [
        (NextStep(Step.DO_NOT_RELY), Weakness.NOT_TRUSTED in evidence.weaknesses),
        (NextStep(Step.ERASE_AGAIN), again),
        (NextStep(Step.KEEP_SCORES), Access.SCORES in more and Access.NAMED not in more),
        (NextStep(Step.KEEP_FEATURES), Access.FEATURES not in closed),
        (NextStep(Step.LIMIT_REPEATS), Access.REPEATS in more and by_repeats),
        (NextStep(Step.KEEP_FILE), Access.FILE not in closed),
        (NextStep(Step.DELETE_COPIES), True),
        (
            NextStep(Step.MORE_REFERENCES, ENOUGH_REFERENCES - retrained),
            retrained < ENOUGH_REFERENCES,
        ),
        (NextStep(Step.MORE_SAMPLES, samples), few),
        (NextStep(Step.VERIFY if _is_folder(about) else Step.KEEP_REPORT), True),
    ]
    return [step for step, wanted in steps if wanted]


def _is_folder(about: Identity) -> bool:
    return about.deletion is not None and about.model is not None


def not_to_say(verdict: Verdict, accesses: Sequence[AccessResult]) -> list[Saying]:
    """What this audit does not allow to say."""
    asked = [one for one in accesses if one.access is not Access.COPIES]
    closed = bool(asked) and all(one.answer is Obtainable.NO for one in asked)
    sayings = [
        (Saying.DELETED, True),
        (Saying.NEVER_SEEN, not closed or verdict is not Verdict.LIKE_RETRAINED),
        (Saying.FILE_IS_SAFE, not closed),
        (Saying.LAWFUL, True),
    ]
    return [saying for saying, wanted in sayings if wanted]
