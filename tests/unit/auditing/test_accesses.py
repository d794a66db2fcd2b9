"""Who can still get what follows from the attacks that decide and never says more than a level."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspan.audit_record.circumstances import Reference
from unspan.audit_record.results import Advantage, AttackResult, LevelResult, ScoreRow
from unspan.audit_record.summary import AuditedFile, Identity
from unspan.audit_record.vocabulary import (
    Access,
    Basis,
    Given,
    Level,
    LevelState,
    Obtainable,
    ReferenceKind,
    Saying,
    ScoreGroup,
    Step,
    Strength,
    Verdict,
    Weakness,
)
from unspan.auditing.accesses import NEEDS, Seen, accesses
from unspan.auditing.advice import next_steps, not_to_say
from unspan.auditing.evidence import STRONG_FROM, WEAK_BELOW, evidence
from unspan.auditing.levels import Evidence, levels
from unspan.auditing.white_box import WhiteBox
from unspan.metrics.identity import AttackId, AttackKind, ScoreKind
from unspan.metrics.score import Score

YES, NO, CANNOT_TELL = Obtainable.YES, Obtainable.NO, Obtainable.CANNOT_TELL
FOLDER = Identity(
    deletion="0123abcd",
    model=AuditedFile("erased/model.safetensors", "0" * 64),
    original=None,
    references=[],
    by="",
    given=Given.MODELS,
    valid_until=None,
)
RETRAINED = Reference(ReferenceKind.RETRAINED, 3, True)
ONE_OF = {  # an attack for each access
    Access.NAMED: AttackKind.OWN_ANSWER,
    Access.SCORES: AttackKind.SIGNATURE,
    Access.FEATURES: AttackKind.LINEAR,
    Access.REPEATS: AttackKind.LINEAR_OF_VIEWS,
}


def attack(kind, word, erased=0.3, unit="share", **changes):
    one = AttackResult(
        attack=kind.value,
        unit=unit,
        n=100,
        original=0.9,
        erased=erased,
        erased_low=max(erased - 0.1, 0),
        erased_high=min(erased + 0.1, 1),
        reference=0.3,
        verdict=word,
        identity=AttackId(kind),
        advantage=Advantage(
            original=0.9,
            erased=erased,
            reference=0.3,
            low=0.2,
            high=0.4,
            freedom=10,
            strongest_before=kind.value,
        ),
    )
    return replace(one, **changes)


def noise(model, value, low=None, high=None):
    return ScoreRow(
        name="instability",
        value=value,
        low=low,
        high=high,
        unit="AUC",
        n=100,
        group=ScoreGroup.STABILITY,
        model=model,
        kind=ScoreKind.NOISE,
    )


def answers(**seen):
    given_ = {"classes": 10, "attacks": [], "levels": []} | seen
    return {one.access: one for one in accesses(Seen(**given_))}


def level(which, state):
    return LevelResult(which, state, [])


@pytest.mark.parametrize("access", list(ONE_OF))
@pytest.mark.parametrize(
    "word, answer",
    [
        (Verdict.RETAINED, YES),
        (Verdict.LIKE_RETRAINED, NO),
        (Verdict.BELOW_RETRAINED, NO),
        (Verdict.INCONCLUSIVE, CANNOT_TELL),
        (Verdict.NOT_MEASURABLE, CANNOT_TELL),
    ],
)
def test_the_word_of_an_attacker_answers_for_his_access(access, word, answer):
    found = answers(attacks=[attack(ONE_OF[access], word)])[access]
    assert found.answer is answer and found.basis is Basis.MEASURED
    assert found.value == 0.3 and found.guessing == 0.1 and found.n == 100
    assert found.trace is (word is Verdict.BELOW_RETRAINED)


def test_one_attacker_who_reads_more_is_enough_and_his_number_is_shown():
    found = answers(
        attacks=[
            attack(AttackKind.LINEAR, Verdict.LIKE_RETRAINED, 0.3),
            attack(AttackKind.FEW_SHOT_REFIT, Verdict.RETAINED, 0.8),
        ]
    )[Access.FEATURES]
    assert (found.answer, found.attack, found.value) == (YES, "few_shot_head_refit", 0.8)


def test_a_no_shows_the_strongest_attack_and_any_trace():
    """Else 30 % stands on the first screen where a trained probe reads 90 %."""
    found = answers(
        attacks=[
            attack(AttackKind.FEW_SHOT_REFIT, Verdict.BELOW_RETRAINED, 0.3),
            attack(AttackKind.LINEAR, Verdict.NOT_MEASURABLE, 0.9),
        ]
    )[Access.FEATURES]
    assert (found.answer, found.attack, found.value) == (NO, "linear_probe", 0.9)
    assert found.trace and found.above_guessing


def test_membership_of_single_samples_is_shown_before_other_scores():
    found = answers(
        attacks=[
            attack(AttackKind.MEMBERSHIP_LIKELIHOOD, Verdict.LIKE_RETRAINED, 0.05, "AUC"),
            attack(AttackKind.SIGNATURE, Verdict.NOT_MEASURABLE, 0.2, "AUC"),
        ]
    )
    wanted = AttackKind.MEMBERSHIP_LIKELIHOOD.value
    assert (found[Access.SCORES].answer, found[Access.SCORES].attack) == (NO, wanted)
    assert found[Access.COPIES].attack == wanted and found[Access.COPIES].value == 0.9


def test_below_retrained_is_no_trace_where_there_is_no_retrained_network():
    one = attack(AttackKind.LINEAR, Verdict.BELOW_RETRAINED)
    alone = replace(one, advantage=replace(one.advantage, low=None, high=None))
    assert not answers(attacks=[alone])[Access.FEATURES].trace


def test_a_level_that_does_not_hold_is_never_answered_with_no():
    for access, which in ((Access.NAMED, Level.L0), (Access.FEATURES, Level.L3)):
        attacks = [attack(ONE_OF[access], Verdict.LIKE_RETRAINED)]
        fails = [level(which, LevelState.FAILS)]
        assert answers(attacks=attacks)[access].answer is NO
        assert answers(attacks=attacks, levels=fails)[access].answer is CANNOT_TELL


def test_no_is_no_answer_where_level_l0_is_not_shown():
    """It may still name the class more often than chance."""
    attacks = [attack(AttackKind.OWN_ANSWER, Verdict.LIKE_RETRAINED)]
    open_ = [level(Level.L0, LevelState.NOT_SHOWN)]
    assert answers(attacks=attacks, levels=open_)[Access.NAMED].answer is CANNOT_TELL


def test_the_bound_of_level_l0_answers_where_the_references_do_not():
    attacks = [attack(AttackKind.OWN_ANSWER, Verdict.INCONCLUSIVE, 0.05)]
    holds = [level(Level.L0, LevelState.HOLDS)]
    assert answers(attacks=attacks, levels=holds)[Access.NAMED].answer is NO
    more = [attack(AttackKind.OWN_ANSWER, Verdict.RETAINED, 0.05)]
    assert answers(attacks=more, levels=holds)[Access.NAMED].answer is YES


def test_asking_twice_finds_traces_only_where_no_other_model_shows_the_same():
    after = noise("after", 0.8, 0.7, 0.9)
    calm = [noise("before", 0.5, 0.4, 0.6), noise("reference 1", 0.55, 0.5, 0.65)]
    found = answers(scores=[after, *calm])[Access.REPEATS]
    assert found.answer is YES and found.trace
    assert (found.value, found.original, found.reference) == (0.8, 0.5, 0.55)
    for other in ("before", "reference 1"):
        alike = [replace(one, value=0.8, high=0.9) if one.model == other else one for one in calm]
        found = answers(scores=[after, *alike])[Access.REPEATS]
        assert found.answer is CANNOT_TELL and not found.trace and found.value == 0.8


def test_who_holds_the_file_has_what_its_weights_keep():
    layer = attack(AttackKind.LINEAR_AT_LAYER, Verdict.RETAINED, 0.95)
    weaker = replace(layer, attack="weaker", erased=0.5)
    cases = [
        ({"recovered": 1.0}, YES, Basis.ERASER_COMES_OFF),
        ({"weights_changed": False}, YES, Basis.WEIGHTS_UNCHANGED),
        ({"weights_changed": True, "layers_word": Verdict.RETAINED}, YES, Basis.MEASURED),
        ({"weights_changed": True}, CANNOT_TELL, Basis.MEASURED),
        ({"levels": [level(Level.L4, LevelState.HOLDS)]}, NO, Basis.MEASURED),
    ]
    for seen, answer, basis in cases:
        found = answers(layers=[weaker, layer], **seen)[Access.FILE]
        assert (found.answer, found.basis, found.value) == (answer, basis, 0.95), seen
    assert answers()[Access.FILE].basis is Basis.NOT_TESTED


def test_more_access_gives_at_least_what_less_gives():
    found = answers(attacks=[attack(AttackKind.LINEAR, Verdict.RETAINED, 0.8)])
    for access in (Access.REPEATS, Access.FILE):
        assert found[access].answer is YES and found[access].basis is Basis.FROM_OTHER_ACCESS
        assert found[access].value == 0.8


def test_copies_are_never_gone_and_show_the_original():
    found = answers(attacks=[attack(AttackKind.LINEAR, Verdict.LIKE_RETRAINED)])[Access.COPIES]
    assert (found.answer, found.basis, found.value) == (YES, Basis.NOT_TOUCHED, 0.9)
    assert answers()[Access.COPIES].answer is YES


# Strength


def strength(word=Verdict.LIKE_RETRAINED, reference=RETRAINED, kinds=None, **changes):
    kinds = kinds or {AttackKind.LINEAR: word, AttackKind.OWN_ANSWER: word}
    attacks = [attack(kind, one) for kind, one in kinds.items()]
    settings_ = {"samples": STRONG_FROM, "held_out": True, "trusted": True} | changes
    return evidence(word, attacks, reference, **settings_)


def test_evidence_is_strong_only_with_all_that_it_needs():
    assert strength().strength is Strength.STRONG and strength().weaknesses == []
    fair = [
        strength(samples=STRONG_FROM - 1),
        strength(reference=replace(RETRAINED, count=2)),
        strength(held_out=False),
        strength(kinds={AttackKind.OWN_ANSWER: Verdict.LIKE_RETRAINED}),
    ]
    assert [one.strength for one in fair] == [Strength.FAIR] * len(fair)
    assert [len(one.weaknesses) for one in fair] == [1] * len(fair)


def test_evidence_that_cannot_decide_is_weak():
    weak = [
        strength(samples=WEAK_BELOW - 1),
        strength(trusted=False),
        strength(reference=replace(RETRAINED, usable=False)),
        strength(reference=replace(RETRAINED, kind=ReferenceKind.RANDOM)),
        strength(Verdict.INCONCLUSIVE),
        strength(Verdict.NOT_MEASURABLE),
    ]
    assert [one.strength for one in weak] == [Strength.WEAK] * len(weak)
    assert strength(Verdict.INCONCLUSIVE).undecided and not strength().undecided


def test_a_model_that_names_the_class_needs_no_reference():
    alone = replace(RETRAINED, kind=ReferenceKind.RANDOM)
    named = strength(Verdict.RETAINED, alone)
    assert Weakness.NO_REFERENCE not in named.weaknesses
    features = strength(Verdict.RETAINED, alone, {AttackKind.LINEAR: Verdict.RETAINED})
    assert Weakness.NO_REFERENCE in features.weaknesses


# Steps: derived from the answers, never against the levels

words = st.sampled_from([*Verdict, None])
deciding = st.lists(
    st.builds(
        attack,
        st.sampled_from([one for one in AttackKind if AttackId(one).attacker.family in NEEDS]),
        words,
        st.floats(0, 1),
        st.sampled_from(["share", "AUC"]),
    ),
    max_size=6,
)
own_heads = st.one_of(
    st.none(),
    st.floats(0, 0.9).map(lambda at: Score(name="own", value=at, low=at, high=at + 0.1, n=100)),
)
boxes = st.builds(
    WhiteBox,
    changed=st.sampled_from([None, [], ["conv"]]),
    recovered=st.sampled_from([None, 0.5, 1.0]),
    word=words,
)


@settings(max_examples=400, deadline=None)
@given(
    attacks=deciding,
    own=own_heads,
    box=boxes,
    compared=st.booleans(),
    samples=st.integers(0, 500),
    count=st.integers(1, 5),
    trusted=st.booleans(),
    verdict=st.sampled_from(Verdict),
)
def test_no_step_and_no_saying_contradicts_a_level(
    attacks, own, box, compared, samples, count, trusted, verdict
):
    changed = None if box.changed is None else bool(box.changed)
    judged = levels(
        Evidence(
            classes=10,
            compared=compared,
            own_answer=own,
            attacks=attacks,
            earlier_layers=box.word,
            weights_changed=changed,
        )
    )
    state = {one.level: one.state for one in judged}
    found = accesses(
        Seen(
            classes=10,
            attacks=attacks,
            levels=judged,
            layers_word=box.word,
            weights_changed=changed,
            recovered=box.recovered,
        )
    )
    assert [one.access for one in found] == list(Access)
    answer = {one.access: one.answer for one in found}
    kind = ReferenceKind.RETRAINED if compared else ReferenceKind.RANDOM
    reference = Reference(kind, count, True)
    carried = evidence(verdict, attacks, reference, samples=samples, held_out=True, trusted=trusted)
    planned = next_steps(verdict, found, carried, reference, samples, FOLDER)
    steps = {one.step: one.count for one in planned}
    unsaid = not_to_say(verdict, found)

    if state[Level.L0] in (LevelState.FAILS, LevelState.NOT_SHOWN):
        assert answer[Access.NAMED] is not NO
    if LevelState.FAILS in (state[Level.L2], state[Level.L3]):
        assert answer[Access.FEATURES] is not NO and Step.KEEP_FEATURES in steps
    if state[Level.L4] is not LevelState.HOLDS:
        assert answer[Access.FILE] is not NO
        assert Step.KEEP_FILE in steps and Saying.FILE_IS_SAFE in unsaid
    asked = [answer[access] for access in Access if access is not Access.COPIES]
    if any(one is not NO for one in asked):
        assert {Saying.NEVER_SEEN, Saying.FILE_IS_SAFE} <= set(unsaid)
    if Step.KEEP_SCORES in steps:  # it lets the named class out
        assert answer[Access.NAMED] is not YES
    assert (Step.KEEP_FILE in steps) is (answer[Access.FILE] is not NO)
    assert (Step.KEEP_FEATURES in steps) is (answer[Access.FEATURES] is not NO)
    assert (Step.ERASE_AGAIN in steps) >= (verdict is Verdict.RETAINED)
    assert (Step.DO_NOT_RELY in steps) is not trusted
    assert (Step.MORE_SAMPLES in steps) is (samples < STRONG_FROM)
    missing = 3 - (count if compared else 0)
    assert steps.get(Step.MORE_REFERENCES) == (missing if missing > 0 else None)
    assert Step.DELETE_COPIES in steps and planned[-1].step is Step.VERIFY
    assert Saying.DELETED in unsaid
    memory = replace(FOLDER, model=None)
    kept = next_steps(verdict, found, carried, reference, samples, memory)
    assert kept[-1].step is Step.KEEP_REPORT
    assert all(one.value is None or math.isfinite(one.value) for one in found)
