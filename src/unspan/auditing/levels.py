"""Levels of erasure: what may be claimed, each judged by the measurements it rests on.

A level does not hold where a measurement shows so with its whole interval. Where an interval is
too wide to tell, the level is not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from unspan.audit_record.remarks import Quantity, Remark, RemarkCode, remark
from unspan.audit_record.results import AttackResult, LevelResult
from unspan.audit_record.vocabulary import (
    INCONCLUSIVE,
    NOT_MEASURABLE,
    RETAINED,
    Level,
    LevelState,
    Verdict,
)
from unspan.metrics.identity import Family
from unspan.metrics.score import Score

HOLDS, FAILS = LevelState.HOLDS, LevelState.FAILS
NOT_SHOWN, NOT_TESTED = LevelState.NOT_SHOWN, LevelState.NOT_TESTED
NEAR_HALF = (0.45, 0.55)  # an AUC in it, with its interval, separates nothing
R2_OF_NOTHING = 1e-3  # of an affine predictor on the data it was fitted to


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the levels are judged by.

    Attributes:
        classes: of the model.
        compared: there are retrained networks that can serve as reference.
        own_answer: forgotten test samples that the model's own head names; for embeddings, those
            that a search finds.
        searched: the model gives embeddings and no class scores.
        relabelled: another output that stands for the forgotten samples, and the share of them it
            names.
        casts: as `own_answer`, after each cast.
        guarded: the R^2 on fit data and the AUC on test data of the affine probe, in this order.
        attacks: on features and scores, with the few-shot ones among them.
        earlier_layers: verdict over them, None when they were not tested.
        weights_changed: weights other than the head's and the eraser's differ from the original's;
            None when the layers are others.
        samples: the sample-level attack, None when there was none.
    """

    classes: int
    compared: bool
    own_answer: Score | None = None
    searched: bool = False
    relabelled: tuple[int, float] | None = None
    casts: Sequence[Score] = ()
    guarded: Sequence[Score] = ()
    attacks: Sequence[AttackResult] = field(default_factory=list)
    earlier_layers: Verdict | None = None
    weights_changed: bool | None = None
    samples: AttackResult | None = None


def levels(evidence: Evidence) -> list[LevelResult]:
    """Judge every level, from the weakest claim to the strongest."""
    others = [
        one
        for one in evidence.attacks
        if one.verdict is not None and one.identity.attacker.family is not Family.SAMPLES
    ]
    few_shot = [one for one in others if one.identity.kind.few_shot]
    probes = [one for one in others if not one.identity.kind.few_shot]
    recovered = _against_reference(Level.L2, probes, evidence.compared)
    relearned = _against_reference(Level.L3, few_shot, evidence.compared)
    return [
        _own_answer(evidence),
        _affine(evidence.guarded),
        recovered,
        relearned,
        _weights(evidence, [recovered, relearned]),
        _single_samples(evidence.samples),
    ]


def chance_bound(classes: int) -> float:
    """Accuracy up to which a class counts as not named: a little above guessing."""
    return max(1.5 / classes, 1 / classes + 0.02)


def _level(level: Level, state: LevelState, *why: Remark) -> LevelResult:
    return LevelResult(level, state, list(why))


def _bare(level: Level, state: LevelState, code: RemarkCode) -> LevelResult:
    """A level with a reason that carries no number."""
    return _level(level, state, Remark(code))


def quantity(one: Score) -> Quantity:
    """A score with its interval and n."""
    return Quantity(value=one.value, low=one.low, high=one.high, unit=one.unit, n=one.n)


def _own_answer(evidence: Evidence) -> LevelResult:
    own = evidence.own_answer
    if own is None or own.high is None or own.value is None:
        return _bare(Level.L0, NOT_TESTED, RemarkCode.NO_SCORES)
    bound = chance_bound(evidence.classes)
    every = [own, *evidence.casts]
    named = [one for one in every if (one.low or 0.0) > bound]
    if named:
        worst = max(named, key=lambda one: one.low or 0.0)
    else:
        worst = max(every, key=lambda one: one.high or 0.0)
    code = RemarkCode.FOUND_BY_SEARCH if evidence.searched else RemarkCode.OWN_SCORES
    why = [remark(code, read=quantity(own), bound=bound)]
    if worst is not own:
        cast = worst.name.rpartition(", ")[2]
        reads = replace(quantity(worst), n=0)
        why.append(remark(RemarkCode.LARGEST_AFTER_CAST, cast=cast, read=reads))
    if evidence.relabelled is not None and not named:
        output, share = evidence.relabelled
        renamed = remark(RemarkCode.RENAMED, output=output, share=share)
        return _level(Level.L0, FAILS, *why, renamed)
    if not evidence.searched:
        why.append(Remark(RemarkCode.HEAD_ALONE_REACHES_IT))
    state = FAILS if named else NOT_SHOWN if (worst.high or 0.0) > bound else HOLDS
    return _level(Level.L0, state, *why)


def _affine(guarded: Sequence[Score]) -> LevelResult:
    if len(guarded) < 2:
        return _bare(Level.L1, NOT_TESTED, RemarkCode.NOT_MEASURED)
    r2, area = guarded[0], guarded[1]
    useless = (r2.value or 0.0) <= R2_OF_NOTHING
    guessing = (area.low or 0.0) <= 0.5 <= (area.high or 1.0)
    why = remark(RemarkCode.AFFINE, r2=r2.value or 0.0, area=replace(quantity(area), unit="AUC"))
    if not guessing:
        return _level(Level.L1, FAILS, why)
    return _level(Level.L1, HOLDS if useless else NOT_SHOWN, why)


def _against_reference(
    level: Level, deciding: Sequence[AttackResult], compared: bool
) -> LevelResult:
    """By the attacks that decide, one for each kind of attacker."""
    if not compared:
        return _bare(level, NOT_TESTED, RemarkCode.NEEDS_RETRAINED)
    if not deciding:
        return _bare(level, NOT_TESTED, RemarkCode.NOT_MEASURED)
    able = [one for one in deciding if one.verdict != NOT_MEASURABLE]
    if not able:
        return _bare(level, NOT_SHOWN, RemarkCode.NONE_TELLS)
    more = [one for one in able if one.verdict == RETAINED]
    if more:
        why = remark(RemarkCode.MORE_THAN_RETRAINED, count=len(more), tried=len(able))
        return _level(level, FAILS, why, _compared(more[0]))
    undecided = [one for one in able if one.verdict == INCONCLUSIVE]
    if undecided:
        why = remark(RemarkCode.UNDECIDED, count=len(undecided), tried=len(able))
        return _level(level, NOT_SHOWN, why, _compared(undecided[0]))
    if all(one.identity.attacker.family.sees_the_head_only for one in able):
        return _bare(level, NOT_SHOWN, RemarkCode.HEAD_ONLY)
    return _level(level, HOLDS, remark(RemarkCode.NONE_READS_MORE, tried=len(able)))


def _compared(one: AttackResult) -> Remark:
    erased = Quantity(value=one.erased, unit=one.unit)
    if one.reference is None:
        return remark(RemarkCode.READ, attack=one.attack, read=erased)
    reference = Quantity(value=one.reference, unit=one.unit)
    return remark(RemarkCode.COMPARED, attack=one.attack, erased=erased, reference=reference)


def _weights(evidence: Evidence, above: Sequence[LevelResult]) -> LevelResult:
    if evidence.weights_changed is False:
        return _bare(Level.L4, FAILS, RemarkCode.WEIGHTS_UNCHANGED)
    if not evidence.compared:
        return _bare(Level.L4, NOT_TESTED, RemarkCode.NEEDS_RETRAINED)
    word = evidence.earlier_layers
    if word is None or evidence.weights_changed is None:
        return _bare(Level.L4, NOT_TESTED, RemarkCode.EARLIER_NOT_TESTED)
    why = remark(RemarkCode.EARLIER_LAYERS, verdict=word.value)
    if word == RETAINED or any(one.state is FAILS for one in above):
        return _level(Level.L4, FAILS, why)
    if word.erased and all(one.holds for one in above):
        return _level(Level.L4, HOLDS, why)
    return _level(Level.L4, NOT_SHOWN, why)


def _single_samples(one: AttackResult | None) -> LevelResult:
    """AUC 0.5 is what a model that never saw the samples gives; far below it separates as well."""
    if one is None:
        return _bare(Level.S, NOT_TESTED, RemarkCode.SAMPLES_NEED)
    reads = Quantity(
        value=one.erased, low=one.erased_low, high=one.erased_high, unit=one.unit, n=one.n
    )
    why = remark(RemarkCode.READ, attack=one.attack, read=reads)
    if one.erased_low >= NEAR_HALF[0] and one.erased_high <= NEAR_HALF[1]:
        return _level(Level.S, HOLDS, why)
    if one.erased_low > 0.5 or one.erased_high < 0.5:
        return _level(Level.S, FAILS, why)
    return _level(Level.S, NOT_SHOWN, why)
