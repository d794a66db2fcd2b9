"""Levels: a wide interval shows nothing, neither for a level nor against it."""

from dataclasses import replace

import pytest

from unspan.audit_record.remarks import RemarkCode
from unspan.audit_record.results import AttackResult
from unspan.audit_record.vocabulary import (
    INCONCLUSIVE,
    LIKE_RETRAINED,
    NOT_MEASURABLE,
    RETAINED,
    Level,
    LevelState,
)
from unspan.auditing.levels import Evidence, levels
from unspan.metrics.identity import AttackId, AttackKind
from unspan.metrics.score import Score

HOLDS, FAILS = LevelState.HOLDS, LevelState.FAILS
NOT_SHOWN, NOT_TESTED = LevelState.NOT_SHOWN, LevelState.NOT_TESTED


def score(low, high, unit="share"):
    return Score(name="own, int8", value=(low + high) / 2, low=low, high=high, unit=unit, n=50)


def attack(verdict, kind=AttackKind.LINEAR, low=0.4, high=0.6, unit="share"):
    return AttackResult(
        attack="attack",
        unit=unit,
        n=50,
        original=0.9,
        erased=(low + high) / 2,
        erased_low=low,
        erased_high=high,
        reference=0.5,
        identity=AttackId(kind),
        verdict=verdict,
    )


def found(level, **given):
    known = {"classes": 10, "compared": True, "weights_changed": True}
    return next(one for one in levels(Evidence(**known | given)) if one.level is level)


@pytest.mark.parametrize(
    ("low", "high", "state"), [(0.0, 0.1, HOLDS), (0.0, 0.3, NOT_SHOWN), (0.2, 0.4, FAILS)]
)
def test_own_scores_fail_only_above_the_bound(low, high, state):
    """The bound for ten classes is 0.15."""
    assert found(Level.L0, own_answer=score(low, high)).state is state
    quiet = score(0.0, 0.1)
    assert found(Level.L0, own_answer=quiet, casts=[score(low, high)]).state is state


def test_the_cast_that_names_it_is_told_not_the_one_that_is_wide():
    judged = found(Level.L0, own_answer=score(0, 0.1), casts=[score(0.0, 0.5), score(0.3, 0.4)])
    assert judged.state is FAILS
    told = next(one for one in judged.why if one.code is RemarkCode.LARGEST_AFTER_CAST)
    assert told.values["read"].low == 0.3


def test_a_class_under_a_new_name_fails_however_wide_the_interval_is():
    assert found(Level.L0, own_answer=score(0.0, 0.3), relabelled=(3, 0.9)).state is FAILS


def test_a_search_with_embeddings_is_no_edit_of_the_head():
    searched = found(Level.L0, own_answer=score(0.0, 0.05), searched=True)
    assert searched.state is HOLDS
    codes = [one.code for one in searched.why]
    assert RemarkCode.FOUND_BY_SEARCH in codes and RemarkCode.HEAD_ALONE_REACHES_IT not in codes
    by_head = [one.code for one in found(Level.L0, own_answer=score(0.0, 0.05)).why]
    assert RemarkCode.OWN_SCORES in by_head and RemarkCode.HEAD_ALONE_REACHES_IT in by_head


@pytest.mark.parametrize(
    ("r2", "low", "high", "state"),
    [
        (0.0, 0.4, 0.6, HOLDS),
        (0.3, 0.4, 0.6, NOT_SHOWN),
        (0.3, 0.6, 0.8, FAILS),
        (0.3, 0.2, 0.4, FAILS),
        (0.0, 0.6, 0.8, FAILS),
    ],
)
def test_an_affine_probe_fails_only_where_it_tells_test_samples_apart(r2, low, high, state):
    fit = Score(name="R2", value=r2, n=50)
    assert found(Level.L1, guarded=[fit, score(low, high, "AUC")]).state is state


@pytest.mark.parametrize(
    ("level", "kind"),
    [(Level.L2, AttackKind.LINEAR), (Level.L3, AttackKind.FEW_SHOT_PROTOTYPE)],
)
@pytest.mark.parametrize(
    ("verdict", "state"),
    [
        (RETAINED, FAILS),
        (INCONCLUSIVE, NOT_SHOWN),
        (NOT_MEASURABLE, NOT_SHOWN),
        (LIKE_RETRAINED, HOLDS),
    ],
)
def test_attacks_that_cannot_tell_were_tested_and_show_nothing(level, kind, verdict, state):
    assert found(level, attacks=[attack(verdict, kind)]).state is state
    assert found(level, attacks=[]).state is NOT_TESTED


@pytest.mark.parametrize(
    ("earlier", "state"),
    [(RETAINED, FAILS), (INCONCLUSIVE, NOT_SHOWN), (NOT_MEASURABLE, NOT_SHOWN)],
)
def test_earlier_layers_that_do_not_decide_show_nothing(earlier, state):
    own = [attack(LIKE_RETRAINED), attack(LIKE_RETRAINED, AttackKind.FEW_SHOT_PROTOTYPE)]
    assert found(Level.L4, attacks=own, earlier_layers=earlier).state is state


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [
        (0.46, 0.54, HOLDS),
        (0.3, 0.7, NOT_SHOWN),
        (0.45, 0.6, NOT_SHOWN),
        (0.52, 0.6, FAILS),
        (0.3, 0.4, FAILS),
    ],
)
def test_single_samples_fail_only_where_they_are_told_apart(low, high, state):
    one = attack(None, AttackKind.MEMBERSHIP, low, high, "AUC")
    assert found(Level.S, samples=replace(one, verdict=INCONCLUSIVE)).state is state
