"""Levels of erasure: what may be claimed, each judged by the measurements it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from unspan.audit_record.record import AttackResult, LevelResult
from unspan.audit_record.vocabulary import (
    INCONCLUSIVE,
    NOT_MEASURABLE,
    RETAINED,
    Level,
    LevelState,
    Verdict,
)
from unspan.auditing.statements import read_of, written
from unspan.metrics.identity import Family
from unspan.metrics.score import Score
from unspan.report.formatting import measured, percent

HOLDS, FAILS = LevelState.HOLDS, LevelState.FAILS
NOT_SHOWN, NOT_TESTED = LevelState.NOT_SHOWN, LevelState.NOT_TESTED
NEAR_HALF = (0.45, 0.55)  # an AUC in it, with its interval, separates nothing
R2_OF_NOTHING = 1e-3  # of an affine predictor on the data it was fitted to
TITLES = {
    Level.L0: "the model's own scores no longer name it, also after casts",
    Level.L1: "no affine probe tells it from the rest better than a constant",
    Level.L2: "no tested probe on features or scores recovers it beyond the reference",
    Level.L3: "it is not relearned from a few examples faster than in the reference",
    Level.L4: "the weights changed, and the levels above hold at every layer that was tested",
    Level.S: "single samples of the request cannot be told from samples never seen",
}
_NO_REFERENCE = "needs networks retrained without the data (--reference)"
_HEAD_ONLY = "only what the head says could be judged, and a head can be edited alone"
_SAMPLES_NEED = (
    "needs models that never saw the samples (--reference), class scores, labels and unseen test"
    " samples"
)
_WEIGHTS_UNCHANGED = (
    "no weight before the eraser changed: whoever holds the weights has the original features"
)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the levels are judged by.

    Attributes:
        classes: of the model.
        compared: there are retrained networks that can serve as reference.
        own_head: accuracy on forgotten test samples by the model's own head.
        relabelled: another output that stands for the forgotten samples, and the share of them it
            names.
        casts: as `own_head`, after each cast.
        guarded: the R^2 on fit data and the AUC on test data of the affine probe, in this order.
        attacks: on features and scores, with the few-shot ones among them.
        earlier_layers: verdict over them, None when they were not tested.
        weights_changed: weights other than the head's and the eraser's differ from the original's;
            None when the layers are others.
        samples: the sample-level attack, None when there was none.
    """

    classes: int
    compared: bool
    own_head: Score | None = None
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
        _own_scores(evidence),
        _affine(evidence.guarded),
        recovered,
        relearned,
        _weights(evidence, [recovered, relearned]),
        _single_samples(evidence.samples),
    ]


def chance_bound(classes: int) -> float:
    """Accuracy up to which a class counts as not named: a little above guessing."""
    return max(1.5 / classes, 1 / classes + 0.02)


def _level(level: Level, state: LevelState, why: str) -> LevelResult:
    return LevelResult(level, TITLES[level], state, why)


def _own_scores(evidence: Evidence) -> LevelResult:
    own = evidence.own_head
    if own is None or own.high is None or own.value is None:
        return _level(Level.L0, NOT_TESTED, "the model gives no class scores")
    bound = chance_bound(evidence.classes)
    worst = max([own, *evidence.casts], key=lambda one: one.high or 0.0)
    why = (
        f"its own scores are right for {measured(own.value, own.low, own.high, n=own.n).line} of"
        f" the forgotten samples; the bound is {percent(bound, 0)}"
    )
    if worst is not own:
        cast = worst.name.rpartition(", ")[2]
        why += f"; largest after {cast}, {measured(worst.value, worst.low, worst.high).line}"
    if (worst.high or 0.0) > bound:
        state = FAILS
    elif evidence.relabelled is not None:
        output, share = evidence.relabelled
        renamed = f"output {output} now stands for them: it names {percent(share)} of them"
        return _level(Level.L0, FAILS, f"{why}; but {renamed} and little else")
    else:
        state = HOLDS
    return _level(Level.L0, state, f"{why}; an edit of the head alone can reach this level")


def _affine(guarded: Sequence[Score]) -> LevelResult:
    if len(guarded) < 2:
        return _level(Level.L1, NOT_TESTED, "not measured")
    r2, area = guarded[0], guarded[1]
    useless = (r2.value or 0.0) <= R2_OF_NOTHING
    guessing = (area.low or 0.0) <= 0.5 <= (area.high or 1.0)
    why = (
        f"R² {r2.value:.3f} on fit data; AUC"
        f" {measured(area.value, area.low, area.high, 'AUC', area.n).line} on test data"
    )
    return _level(Level.L1, HOLDS if useless and guessing else FAILS, why)


def _against_reference(
    level: Level, deciding: Sequence[AttackResult], compared: bool
) -> LevelResult:
    """By the attacks that decide, one for each kind of attacker."""
    if not compared:
        return _level(level, NOT_TESTED, _NO_REFERENCE)
    able = [one for one in deciding if one.verdict != NOT_MEASURABLE]
    if not able:
        return _level(level, NOT_TESTED, "no attacker tells retrained networks from the original")
    kinds = f"{len(able)} kind{'s' if len(able) > 1 else ''} of attackers"
    more = [one for one in able if one.verdict == RETAINED]
    if more:
        why = f"{len(more)} of {kinds} read more than retrained networks give away"
        return _level(level, FAILS, f"{why}; {_compared(more[0])}")
    undecided = [one for one in able if one.verdict == INCONCLUSIVE]
    if undecided:
        why = f"{len(undecided)} of {kinds} do not decide"
        return _level(level, NOT_SHOWN, f"{why}; {_compared(undecided[0])}")
    if all(one.identity.attacker.family.sees_the_head_only for one in able):
        return _level(level, NOT_SHOWN, _HEAD_ONLY)
    return _level(level, HOLDS, f"none of {kinds} reads more than retrained networks give away")


def _compared(one: AttackResult) -> str:
    erased = written(one.erased, one.unit)
    if one.reference is None:
        return f"{one.attack}: {erased}"
    return f"{one.attack}: {erased} against {written(one.reference, one.unit)}"


def _weights(evidence: Evidence, above: Sequence[LevelResult]) -> LevelResult:
    if evidence.weights_changed is False:
        return _level(Level.L4, FAILS, _WEIGHTS_UNCHANGED)
    if not evidence.compared:
        return _level(Level.L4, NOT_TESTED, _NO_REFERENCE)
    word = evidence.earlier_layers
    if word is None or evidence.weights_changed is None:
        why = "earlier layers were not tested, or are others than the original's"
        return _level(Level.L4, NOT_TESTED, why)
    why = f"earlier layers: {word}"
    if word == RETAINED or any(one.state is FAILS for one in above):
        return _level(Level.L4, FAILS, why)
    if word.erased and all(one.holds for one in above):
        return _level(Level.L4, HOLDS, why)
    return _level(Level.L4, NOT_SHOWN, why)


def _single_samples(one: AttackResult | None) -> LevelResult:
    """AUC 0.5 is what a model that never saw the samples gives; far below it separates as well."""
    if one is None:
        return _level(Level.S, NOT_TESTED, _SAMPLES_NEED)
    why = f"{one.attack}: {read_of(one)}"
    if one.erased_low >= NEAR_HALF[0] and one.erased_high <= NEAR_HALF[1]:
        return _level(Level.S, HOLDS, why)
    if one.erased_low > 0.5 or one.erased_high < 0.5:
        return _level(Level.S, FAILS, why)
    return _level(Level.S, NOT_SHOWN, why)
