"""Goals of an audit: what counts as met, and which attack is named."""

from dataclasses import replace

import pytest

from unspan.audit_record.results import AttackResult, ScoreRow
from unspan.audit_record.vocabulary import INCONCLUSIVE, ScoreGroup
from unspan.auditing.goals import goals
from unspan.metrics.identity import AttackId, AttackKind, ScoreKind
from unspan.report.words.codes import GOAL_NAME

IDS = {
    "kNN k=1, L2": AttackId(AttackKind.NEIGHBOURS, neighbours=1, metric="L2"),
    "MLP probe": AttackId(AttackKind.MLP),
    "kNN k=20, L2, forget against rest": AttackId(AttackKind.NEIGHBOURS_AGAINST_REST),
    "output signature": AttackId(AttackKind.SIGNATURE),
    "few-shot prototype, m=10": AttackId(AttackKind.FEW_SHOT_PROTOTYPE, shots=10),
    "few-shot prototype, m=50": AttackId(AttackKind.FEW_SHOT_PROTOTYPE, shots=50),
    "few-shot head refit, m=10": AttackId(AttackKind.FEW_SHOT_REFIT, shots=10),
    "linear probe (converged)": AttackId(AttackKind.LINEAR),
    "affine predictor, forget against rest": AttackId(AttackKind.AFFINE_AGAINST_REST),
    "linear probe, ten views": AttackId(AttackKind.LINEAR_OF_VIEWS),
}
KINDS = {
    "instability": ScoreKind.NOISE,
    "retain accuracy": ScoreKind.RETAIN_ACCURACY,
}


def verdict(attack, value, unit="share", reference=0.5):
    return AttackResult(
        attack=attack,
        identity=IDS[attack],
        verdict=INCONCLUSIVE,
        unit=unit,
        original=0.9,
        erased=value,
        erased_low=value - 0.02,
        erased_high=value + 0.02,
        reference=reference,
        n=1000,
    )


def score(group, name, model, value, split="test retain", unit="share"):
    return ScoreRow(
        group=ScoreGroup(group),
        name=name,
        kind=KINDS[name],
        model=model,
        value=value,
        low=value - 0.01,
        high=value + 0.01,
        unit=unit,
        split=split,
        better="lower",
        n=9000,
    )


def by_title(found):
    return {GOAL_NAME[one.id]: one for one in found}


FINE = [
    verdict("kNN k=1, L2", 0.12),
    verdict("MLP probe", 0.03),
    verdict("linear probe, ten views", 0.12),
    verdict("kNN k=20, L2, forget against rest", 0.55, "AUC"),
    verdict("output signature", 0.57, "AUC"),
    verdict("few-shot prototype, m=10", 0.07),
    verdict("few-shot prototype, m=50", 0.95),
]
ROWS = [
    score("stability", "instability", "after", 0.52, "test", "AUC"),
    score("utility", "retain accuracy", "before", 0.85),
    score("utility", "retain accuracy", "after", 0.86),
]


def test_all_goals_met_and_sure():
    found = by_title(goals(FINE, ROWS, 10, True))
    assert len(found) == 7 and all(one.met and one.sure for one in found.values())
    assert found["strongest trained probe"].what == "kNN k=1, L2" and found[
        "strongest trained probe"
    ].bound == pytest.approx(0.15)
    assert found["taught again from 10 examples"].value == 0.07  # m=50 is another question


@pytest.mark.parametrize(
    ("worse", "title"),
    [
        (verdict("linear probe (converged)", 0.16), "strongest trained probe"),
        (
            verdict("affine predictor, forget against rest", 0.61, "AUC"),
            "forgotten against rest, from features",
        ),
        (verdict("output signature", 0.61, "AUC"), "forgotten against rest, from scores"),
        (verdict("few-shot head refit, m=10", 0.51), "taught again from 10 examples"),
    ],
)
def test_one_attack_that_reads_more_misses_its_goal_alone(worse, title):
    rest = [one for one in FINE if one.attack != worse.attack]
    found = by_title(goals([*rest, worse], ROWS, 10, True))
    assert {name for name, one in found.items() if not one.met} == {title}
    assert found[title].what == worse.attack


def test_few_examples_are_judged_against_the_reference_of_the_same_attack():
    found = by_title(
        goals(
            [
                verdict("few-shot prototype, m=10", 0.3, reference=0.5),
                verdict("few-shot head refit, m=10", 0.2, reference=0.1),
            ],
            [],
            10,
            True,
        )
    )
    assert (
        found["taught again from 10 examples"].what == "few-shot head refit, m=10"
        and not found["taught again from 10 examples"].met
    )


def test_an_interval_beyond_the_bound_is_said():
    found = by_title(goals([verdict("MLP probe", 0.14)], ROWS, 10, True))
    assert found["strongest trained probe"].met and not found["strongest trained probe"].sure


@pytest.mark.parametrize(
    ("value", "met", "sure"),
    [(0.10, True, True), (0.14, True, False), (0.16, False, False), (0.20, False, True)],
)
def test_a_goal_is_surely_missed_only_with_the_whole_interval(value, met, sure):
    """The bound is 0.15, the interval reaches 0.02 to either side."""
    (found,) = goals([verdict("MLP probe", value)], [], 10, True)
    assert (found.met, found.sure) == (met, sure)


@pytest.mark.parametrize(
    ("after", "met", "sure"), [(0.87, True, True), (0.85, True, False), (0.845, False, False)]
)
def test_accuracy_on_what_was_kept_is_surely_lost_only_with_the_whole_interval(after, met, sure):
    rows = [
        score("utility", "retain accuracy", "before", 0.85),
        score("utility", "retain accuracy", "after", after),
    ]
    (found,) = goals([], rows, 10, True)
    assert (found.met, found.sure) == (met, sure)


def test_lost_accuracy_and_movement_miss_theirs():
    rows = [
        score("stability", "instability", "after", 0.7, "test", "AUC"),
        score("utility", "retain accuracy", "before", 0.85),
        score("utility", "retain accuracy", "after", 0.84),
    ]
    assert [one.met for one in goals([], rows, 10, True)] == [False, False]
    assert goals([], [], 10, True) == []


def test_altered_copies_that_give_the_class_away_miss_theirs():
    found = by_title(goals([verdict("linear probe, ten views", 0.5)], [], 10, True))
    assert {name: one.met for name, one in found.items()} == {
        "trained probe with ten views of an image": False
    }


def test_an_area_below_a_half_is_read_the_other_way_round():
    found = by_title(
        goals(
            [verdict("output signature", 0.35, "AUC")],
            [score("stability", "instability", "after", 0.39, "test", "AUC")],
            10,
            True,
        )
    )
    assert [one.value for one in found.values()] == pytest.approx([0.65, 0.61]) and not any(
        one.met for one in found.values()
    )
    assert found["forgotten against rest, from scores"].low == pytest.approx(0.63)


def test_without_a_retrained_reference_nothing_is_said_about_teaching_again():
    assert "taught again from 10 examples" not in by_title(goals(FINE, ROWS, 10, False))


def test_goals_do_not_read_printed_names():
    renamed = [replace(one, attack="x") for one in FINE]
    rows = [replace(one, name="x", note="no reference") for one in ROWS]
    decided = [
        [(one.id, one.value, one.met, one.sure) for one in goals(*given, 10, True)]
        for given in ((FINE, ROWS), (renamed, rows))
    ]
    assert decided[0] == decided[1]
