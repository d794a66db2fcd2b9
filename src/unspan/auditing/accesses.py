"""Who can still get what: one answer for each kind of access to a model.

The attacks that decide for their kind of attacker answer for the access that he needs. RETAINED is
yes, LIKE and BELOW RETRAINED are no, anything else cannot be told. A level that does not hold is
never answered with no, nor is level L0 where it is not shown. Who holds the file has every other
access as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from unspan.audit_record.results import AttackResult, LevelResult, ScoreRow
from unspan.audit_record.summary import AccessResult
from unspan.audit_record.vocabulary import (
    INCONCLUSIVE,
    RETAINED,
    Access,
    Basis,
    Level,
    LevelState,
    Obtainable,
    Verdict,
)
from unspan.metrics.identity import Family, ScoreKind

TRACE_ABOVE = 0.6  # lower end of an AUC from which asking twice counts as a way in
YES, NO, CANNOT_TELL = Obtainable.YES, Obtainable.NO, Obtainable.CANNOT_TELL
_FAILED = (LevelState.FAILS,)
_NOT_HELD = (LevelState.FAILS, LevelState.NOT_SHOWN)
NEEDS = {
    Family.ANSWERS: Access.NAMED,
    Family.SEARCH: Access.NAMED,
    Family.SCORES: Access.SCORES,
    Family.SAMPLES: Access.SCORES,
    Family.PROBES: Access.FEATURES,
    Family.FEATURES: Access.FEATURES,
    Family.TEACHING: Access.FEATURES,
    Family.VIEWS: Access.REPEATS,
    Family.VIEWS_ANSWERS: Access.REPEATS,
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the answers rest on.

    Attributes:
        classes: of the model.
        attacks: on answers, scores and features.
        levels: of erasure.
        scores: of all models; those of repeated questions are used.
        layers: attacks on earlier layers.
        layers_word: verdict over them, None where they were not tested.
        weights_changed: weights before the eraser differ from the original's; None when the layers
            are others.
        recovered: share of original features that come back without the eraser.
    """

    classes: int
    attacks: Sequence[AttackResult]
    levels: Sequence[LevelResult]
    scores: Sequence[ScoreRow] = ()
    layers: Sequence[AttackResult] = field(default_factory=tuple)
    layers_word: Verdict | None = None
    weights_changed: bool | None = None
    recovered: float | None = None


def accesses(seen: Seen) -> list[AccessResult]:
    """One answer for each access, from the least to the most."""
    named = _unless(_named(seen), Level.L0, _NOT_HELD, seen)
    scores = _by_attacks(Access.SCORES, seen)
    features = _by_attacks(Access.FEATURES, seen)
    for level in (Level.L2, Level.L3):
        features = _unless(features, level, _FAILED, seen)
    repeats = _at_least(_repeats(seen), [named, scores, features])
    less = [named, scores, features, repeats]
    return [*less, _file(seen, less), _copies(seen)]


def _by_attacks(access: Access, seen: Seen) -> AccessResult:
    """The answer of the attacks that decide for this access."""
    own = [
        one
        for one in seen.attacks
        if one.verdict is not None and NEEDS[one.identity.attacker.family] is access
    ]
    if not own:
        return AccessResult(access=access, answer=CANNOT_TELL, basis=Basis.NOT_TESTED)
    answer = _answer(own)
    # a no speaks of all his attacks, and shows the strongest; else those show that say so
    speaking = own if answer is NO else [one for one in own if _answer([one]) is answer]
    found = _measured(access, answer, _clearest(speaking), seen.classes)
    return replace(found, trace=any(one.shows_a_trace for one in speaking))


def _named(seen: Seen) -> AccessResult:
    """By the model's own answer; the bound of level L0 decides where nothing reads more."""
    found = _by_attacks(Access.NAMED, seen)
    undecided = found.basis is Basis.MEASURED and found.answer is CANNOT_TELL
    holds = any(one.level is Level.L0 and one.holds for one in seen.levels)
    return replace(found, answer=NO) if undecided and holds else found


def _answer(attacks: Sequence[AttackResult]) -> Obtainable:
    """The word for attacks together: one that reads more is enough."""
    words = {one.verdict for one in attacks}
    if RETAINED in words:
        return YES
    if INCONCLUSIVE in words or not any(word is not None and word.erased for word in words):
        return CANNOT_TELL
    return NO


def _clearest(attacks: Sequence[AttackResult]) -> AttackResult:
    """The strongest; the membership of single samples before others, since it is what was asked,
    and a share before an AUC, since more people can read it.
    """
    return max(attacks, key=lambda one: (_asks_samples(one), one.unit == "share", _advantage(one)))


def _asks_samples(one: AttackResult) -> bool:
    return one.identity.attacker.family is Family.SAMPLES


def _advantage(one: AttackResult) -> float:
    return one.erased if one.advantage is None else one.advantage.erased


def _measured(access: Access, answer: Obtainable, one: AttackResult, classes: int) -> AccessResult:
    return AccessResult(
        access=access,
        answer=answer,
        basis=Basis.MEASURED,
        attack=one.attack,
        unit=one.unit,
        n=one.n,
        value=one.erased,
        low=one.erased_low,
        high=one.erased_high,
        guessing=_guessing(one.unit, classes),
        original=one.original,
        original_low=one.original_low,
        original_high=one.original_high,
        reference=one.reference,
        reference_low=one.reference_low,
        reference_high=one.reference_high,
        trace=one.shows_a_trace,
    )


def _guessing(unit: str, classes: int) -> float:
    return 0.5 if unit == "AUC" else 1 / max(classes, 1)


def _unless(
    found: AccessResult, level: Level, states: Sequence[LevelState], seen: Seen
) -> AccessResult:
    """No stronger answer than a level allows that is in one of these states."""
    refused = any(one.level is level and one.state in states for one in seen.levels)
    return replace(found, answer=CANNOT_TELL) if refused and found.answer is NO else found


def _at_least(found: AccessResult, less: Sequence[AccessResult]) -> AccessResult:
    """Whoever has more access gets at least what less of it gives."""
    if found.answer is YES:
        return found
    more = next((one for one in reversed(less) if one.answer is YES), None)
    if more is None:
        return found
    return replace(more, access=found.access, basis=Basis.FROM_OTHER_ACCESS)


def _repeats(seen: Seen) -> AccessResult:
    """By altered copies of each image, and by the same image with a little noise."""
    found = _by_attacks(Access.REPEATS, seen)
    noise = [one for one in seen.scores if one.kind is ScoreKind.NOISE and one.value is not None]
    after = next((one for one in noise if one.model == "after"), None)
    if after is None or found.answer is YES:
        return found
    others = [one for one in noise if one.model != "after"]
    twice = _asked_twice(after, others)
    if is_trace(after, others):
        return replace(twice, answer=YES, trace=True)
    return twice if found.basis is Basis.NOT_TESTED else found


def is_trace(after: ScoreRow, others: Sequence[ScoreRow]) -> bool:
    """Whether erased samples stand out when the same is asked twice, and did so in no other model.

    Args:
        after: the AUC of the erased model.
        others: of the original and the references.
    """
    low = after.low or 0.0
    return low > TRACE_ABOVE and all(low > _top(one) for one in others)


def _top(one: ScoreRow) -> float:
    """The upper end of its interval, else the value itself."""
    return (one.value if one.high is None else one.high) or 0.0


def _asked_twice(after: ScoreRow, others: Sequence[ScoreRow]) -> AccessResult:
    before = [one.value for one in others if one.model == "before"]
    never = [one.value for one in others if one.model != "before" and one.value is not None]
    return AccessResult(
        access=Access.REPEATS,
        answer=CANNOT_TELL,
        basis=Basis.NOT_TESTED,
        attack=after.name,
        unit="AUC",
        n=after.n,
        value=after.value,
        low=after.low,
        high=after.high,
        guessing=0.5,
        original=before[0] if before else None,
        reference=sum(never) / len(never) if never else None,
    )


def _file(seen: Seen, less: Sequence[AccessResult]) -> AccessResult:
    """What the weights give to whoever holds them, with the strongest earlier layer."""
    found = AccessResult(access=Access.FILE, answer=CANNOT_TELL, basis=Basis.NOT_TESTED)
    if seen.layers:
        strongest = max(seen.layers, key=lambda one: one.erased)
        found = _measured(Access.FILE, CANNOT_TELL, strongest, seen.classes)
    if seen.recovered == 1.0:
        return replace(found, answer=YES, basis=Basis.ERASER_COMES_OFF, trace=False)
    if seen.weights_changed is False:
        return replace(found, answer=YES, basis=Basis.WEIGHTS_UNCHANGED, trace=False)
    if seen.layers_word is RETAINED:
        return replace(found, answer=YES, trace=False)
    holds = any(one.level is Level.L4 and one.holds for one in seen.levels)
    own = replace(found, answer=NO) if holds else found
    return _at_least(own, less)


def _copies(seen: Seen) -> AccessResult:
    """The original is as it was: its own attack on single samples, on features, else any."""
    deciding = [one for one in seen.attacks if one.verdict is not None]
    features = [one for one in deciding if NEEDS[one.identity.attacker.family] is Access.FEATURES]
    found = AccessResult(access=Access.COPIES, answer=YES, basis=Basis.NOT_TOUCHED)
    if not deciding:
        return found
    samples = [one for one in deciding if _asks_samples(one)]
    clearest = _clearest(samples or features or deciding)
    read = _measured(Access.COPIES, YES, clearest, seen.classes)
    return replace(
        read,
        basis=Basis.NOT_TOUCHED,
        value=read.original,
        low=read.original_low,
        high=read.original_high,
        trace=False,
    )
