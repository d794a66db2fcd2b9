"""Goals for a service that gives out features or scores: stricter than a comparison with the
reference, and independent of it where they can be.
"""

from __future__ import annotations

from collections.abc import Sequence

from unspan.audit_record.results import AttackResult, GoalResult, ScoreRow
from unspan.audit_record.vocabulary import Goal
from unspan.auditing.scores import described
from unspan.metrics.identity import AttackKind, Family, ScoreKind
from unspan.metrics.score import Score
from unspan.metrics.stability import NOISE

CHANCE_PLUS = 0.05  # of a trained probe, above guessing
AREA = 0.60  # of an AUC, either way
KEPT = 0.003  # of the accuracy on what was to be kept
SHOTS = 10


def goals(
    verdicts: Sequence[AttackResult], rows: Sequence[ScoreRow], classes: int, retrained: bool
) -> list[GoalResult]:
    """Each goal with what was measured; goals without a measurement are left out.

    Args:
        verdicts: of the attacks on a class.
        rows: the other scores of the audit.
        classes: of the model.
        retrained: the reference is a retrained model; without one nothing can be said about
            teaching again.
    """
    found = [
        _probes(Goal.PROBES, verdicts, classes, Family.PROBES),
        _areas(Goal.FEATURES, verdicts, of_scores=False),
        _areas(Goal.SCORES, verdicts, of_scores=True),
        _taught_again(verdicts) if retrained else None,
        _asked_twice(Goal.NOISE, NOISE, described(rows, ScoreKind.NOISE, "after")),
        _probes(Goal.VIEWS, verdicts, classes, Family.VIEWS),
        _kept(rows),
    ]
    return [one for one in found if one is not None]


def _probes(
    goal: Goal, verdicts: Sequence[AttackResult], classes: int, family: Family
) -> GoalResult | None:
    probes = [
        one for one in verdicts if one.unit == "share" and one.identity.attacker.family is family
    ]
    if not probes:
        return None
    strongest = max(probes, key=lambda one: one.erased)
    bound = 1 / classes + CHANCE_PLUS
    return _of_attack(goal, strongest, bound)


def _areas(goal: Goal, verdicts: Sequence[AttackResult], of_scores: bool) -> GoalResult | None:
    areas = [
        one
        for one in verdicts
        if one.unit == "AUC" and (one.identity.kind is AttackKind.SIGNATURE) == of_scores
    ]
    if not areas:
        return None
    furthest = max(areas, key=lambda one: abs(one.erased - 0.5))
    return _of_attack(goal, furthest, AREA)


def _taught_again(verdicts: Sequence[AttackResult]) -> GoalResult | None:
    few = [
        (one.erased - one.reference, one, one.reference)
        for one in verdicts
        if one.identity.kind.few_shot and one.identity.shots == SHOTS and one.reference is not None
    ]
    if not few:
        return None
    _, fastest, bound = max(few, key=lambda found: found[0])
    return _of_attack(Goal.TEACHING, fastest, bound)


def _of_attack(goal: Goal, attack: AttackResult, bound: float) -> GoalResult:
    read = Score(
        name=attack.attack,
        value=attack.erased,
        low=attack.erased_low,
        high=attack.erased_high,
        unit=attack.unit,
        n=attack.n,
    )
    return _judged(goal, read, bound)


def _asked_twice(goal: Goal, name: str, trace: Score | None) -> GoalResult | None:
    if trace is None:
        return None
    read = Score(
        name=name, value=trace.value, low=trace.low, high=trace.high, unit="AUC", n=trace.n
    )
    return _judged(goal, read, AREA)


def _kept(rows: Sequence[ScoreRow]) -> GoalResult | None:
    before = described(rows, ScoreKind.RETAIN_ACCURACY, "before", "test retain")
    after = described(rows, ScoreKind.RETAIN_ACCURACY, "after", "test retain")
    if before is None or after is None or before.value is None:
        return None
    read = Score(
        name="its own scores", value=after.value, low=after.low, high=after.high, n=after.n
    )
    return _judged(Goal.RETAIN_ACCURACY, read, before.value - KEPT, at_most=False)


def _judged(goal: Goal, read: Score, bound: float, *, at_most: bool = True) -> GoalResult:
    """A goal with what was read for it, held against its bound.

    Args:
        goal: which.
        read: what was measured.
        bound: of the value.
        at_most: the value may not exceed the bound; otherwise not fall below it.
    """
    value, low, high = read.value, read.low, read.high
    turned = read.unit == "AUC" and value is not None and value < 0.5
    if turned and value is not None and low is not None and high is not None:
        # an attacker who sees an AUC below 1/2 turns his rule round
        value, low, high = 1 - value, 1 - high, 1 - low
    met = _within(value, bound, at_most)
    worse, better = (high, low) if at_most else (low, high)
    sure = _within(worse, bound, at_most) if met else _beyond(better, bound, at_most)
    return GoalResult(
        id=goal,
        what=read.name,
        value=value,
        low=low,
        high=high,
        unit=read.unit,
        n=read.n,
        bound=bound,
        at_most=at_most,
        met=met,
        sure=sure,
    )


def _within(value: float | None, bound: float, at_most: bool) -> bool:
    if value is None:
        return False
    return value <= bound if at_most else value >= bound


def _beyond(end: float | None, bound: float, at_most: bool) -> bool:
    """Whether an end of the interval is known, and beyond the bound."""
    return end is not None and not _within(end, bound, at_most)
