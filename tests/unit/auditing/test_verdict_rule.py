"""The words of an audit: against retrained networks, and by absolute bounds without them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unspan.audit_record.remarks import Remark, RemarkCode
from unspan.audit_record.vocabulary import (
    BELOW_RETRAINED,
    INCONCLUSIVE,
    LIKE_RETRAINED,
    NOT_MEASURABLE,
    RETAINED,
)
from unspan.auditing.bands import Band
from unspan.auditing.verdict_rule import (
    GUESSING,
    ROOM,
    judge,
    judge_alone,
    overall,
    together,
)
from unspan.metrics.identity import AttackId, AttackKind
from unspan.metrics.score import Reading, auc_reading

CHANCE = 0.15


def flags(share, n, seed):
    found = torch.zeros(n, dtype=torch.float64)
    found[torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: round(share * n)]] = 1
    return found


def hits(share, n=1000, *, alarms=0.0, kind=AttackKind.LINEAR, seed=0, **identity):
    """A probe that recognises this share, and takes `alarms` of the others for the forgotten."""
    return Reading(
        attack=f"probe {share}",
        unit="share",
        forget=flags(share, n, seed),
        alarms=flags(alarms, 9 * n, seed),
        retain=0.9,
        identity=AttackId(kind, **identity),
    )


def judged(original, erased, references, *, retrained=True):
    return overall([original], [erased], [references], retrained=retrained, chance=CHANCE)


NEVER = [hits(share, seed=number) for number, share in enumerate((0.60, 0.62, 0.63))]


@pytest.mark.parametrize(
    ("erased", "word"),
    [(0.85, RETAINED), (0.74, RETAINED), (0.615, LIKE_RETRAINED), (0.30, BELOW_RETRAINED)],
)
def test_the_word_follows_from_where_the_erased_model_lies(erased, word):
    found = judged(hits(0.85), hits(erased, seed=9), NEVER)
    assert found.verdict == found.attacks[0].verdict == word


def test_an_original_that_retrained_networks_equal_cannot_be_measured():
    assert judged(hits(0.62), hits(0.62, seed=9), NEVER).verdict == NOT_MEASURABLE


def test_an_untouched_model_is_not_below_networks_that_read_more_than_it():
    never = [hits(0.99, seed=seed) for seed in range(3)]
    assert judged(hits(0.85), hits(0.85), never).verdict == NOT_MEASURABLE


def test_what_does_not_decide_says_how_many_samples_would():
    never = [hits(share, 40, seed=seed) for seed, share in enumerate((0.6, 0.65, 0.6))]
    (row,) = judged(hits(0.85, 40), hits(0.62, 40, seed=9), never).attacks
    assert row.verdict == NOT_MEASURABLE and row.notes[-1].values["tested"] == 40
    n = row.notes[-1].values["samples"]
    never = [hits(share, 2 * n, seed=seed) for seed, share in enumerate((0.6, 0.65, 0.6))]
    assert judged(hits(0.85, 2 * n), hits(0.62, 2 * n, seed=9), never).verdict == LIKE_RETRAINED


def test_three_images_decide_nothing():
    few = [hits(share, 3) for share in (0.0, 1 / 3, 0.0)]
    assert judged(hits(1.0, 3), hits(1 / 3, 3), few).verdict in (NOT_MEASURABLE, INCONCLUSIVE)


def test_who_calls_everything_forgotten_has_no_strong_attack():
    """A collapsed model is named "deer" for every image: its recall is 1 and says nothing."""
    collapsed = hits(1.0, alarms=1.0)
    assert collapsed.advantage == 0
    assert judged(hits(0.85), collapsed, NEVER).verdict == BELOW_RETRAINED


def test_an_auc_below_one_half_is_as_strong_as_one_above():
    generator = torch.Generator().manual_seed(0)
    low = auc_reading(
        "x", torch.randn(500, generator=generator) - 3, torch.randn(500, generator=generator)
    )
    high = replace(low, forget=1 - low.forget, rest=1 - low.rest)
    assert low.advantage == pytest.approx(high.advantage) and low.advantage > 0.9


def test_of_each_attacker_the_strongest_counts_in_every_model_its_own():
    weak, strong = AttackKind.LINEAR, AttackKind.MLP
    original = [hits(0.2, kind=weak), hits(0.85, kind=strong)]
    erased = [hits(0.85, kind=weak, seed=3), hits(0.1, kind=strong)]
    never = [[hits(0.6, kind=weak)] * 3, [hits(0.3, kind=strong)] * 3]
    found = overall(original, erased, never, retrained=True, chance=CHANCE)
    first, second = found.attacks
    assert found.verdict == first.verdict == RETAINED and first.identity.kind == weak
    assert second.verdict is None and second.advantage is None
    assert first.advantage.original == pytest.approx(0.85)
    assert first.advantage.reference == pytest.approx(0.6)


def test_attackers_with_more_examples_are_others():
    kind = AttackKind.FEW_SHOT_PROTOTYPE
    each = [hits(0.85, kind=kind, shots=shots) for shots in (1, 10)]
    never = [[hits(0.6, kind=kind, shots=shots)] * 3 for shots in (1, 10)]
    found = overall(each, each, never, retrained=True, chance=CHANCE)
    assert [one.verdict for one in found.attacks] == [RETAINED, RETAINED]


def test_useless_features_are_not_called_an_erasure():
    erased = replace(hits(0.1, seed=9), retain=0.2)
    found = judged(hits(0.85), erased, NEVER)
    assert found.verdict == INCONCLUSIVE and found.attacks[0].notes == [
        Remark(RemarkCode.FAILS_ON_RETAINED)
    ]


def test_what_only_the_erased_model_gives_away_is_not_called_unmeasurable():
    never = [hits(0.1, seed=seed) for seed in range(3)]
    assert judged(hits(0.1), hits(0.9), never).verdict == INCONCLUSIVE


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 0.5))
@settings(deadline=None, max_examples=200)
def test_the_words_are_in_order_of_what_is_left(original, erased, centre, half):
    """More left never gives a weaker word, and inside the band nothing is RETAINED."""
    around = Band(centre=centre, half=half, deviation=half / 4, freedom=10, networks=3, intervals=5)
    order = [BELOW_RETRAINED, LIKE_RETRAINED, NOT_MEASURABLE, INCONCLUSIVE, RETAINED]
    words = [judge(original, value, around).verdict for value in (erased, min(1, erased + 0.1))]
    assert order.index(words[0]) <= order.index(words[1])
    if around.low <= erased <= around.high:
        assert words[0] not in (RETAINED, BELOW_RETRAINED)
    is_less = erased <= original - ROOM / 2
    assert (words[0] == BELOW_RETRAINED) == (erased < around.low and is_less)


# ---- without retrained networks ------------------------------------------------------------------


def test_comparing_with_random_weights_decides_nothing():
    """Untrained features tell classes apart as well: nothing follows from reading more."""
    random = [hits(0.2)]
    for erased in (0.85, 0.5, 0.2):
        found = judged(hits(0.85), hits(erased, seed=9), random, retrained=False)
        assert found.verdict == INCONCLUSIVE and found.attacks[0].notes == [
            Remark(RemarkCode.ONLY_RETRAINED_TELL)
        ]


def test_a_model_that_names_the_class_itself_has_retained_it_without_any_reference():
    own = hits(0.5, kind=AttackKind.OWN_ANSWER)
    assert judged(own, own, [hits(0.1)], retrained=False).verdict == RETAINED
    few = hits(0.5, 4, kind=AttackKind.OWN_ANSWER)
    assert judged(few, few, [few], retrained=False).verdict == INCONCLUSIVE


def test_nothing_beyond_guessing_is_below_any_retrained_network():
    guess = hits(0.1, alarms=0.1)
    assert judged(hits(0.85), guess, [guess], retrained=False).verdict == BELOW_RETRAINED


def test_few_samples_do_not_show_that_nothing_is_read():
    """0 of 10 may be 30 %: a share below chance decides by its upper bound."""
    assert judge_alone(hits(0.0, 10), CHANCE, 1).verdict == INCONCLUSIVE
    assert judge_alone(hits(0.0, 200), CHANCE, 1).verdict == BELOW_RETRAINED
    assert GUESSING < 0.3


def test_more_families_need_more_evidence():
    some = hits(0.06, 200)
    assert judge_alone(some, CHANCE, 1).verdict == INCONCLUSIVE
    less = hits(0.05, 200)
    words = [judge_alone(less, CHANCE, families).verdict for families in (1, 1000)]
    assert words == [BELOW_RETRAINED, INCONCLUSIVE]


# ---- single samples ------------------------------------------------------------------------------


def membership(shift, n=2000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    members = torch.randn(n, generator=generator) + shift
    found = auc_reading("membership", members, torch.randn(n, generator=generator))
    return replace(found, identity=AttackId(AttackKind.MEMBERSHIP))


def words(**given):
    """The word for all, from words of single attackers."""
    row = judged(hits(0.85), hits(0.6), NEVER).attacks[0]
    kinds = {
        "answers": AttackKind.OWN_ANSWER,
        "scores": AttackKind.SIGNATURE,
        "probes": AttackKind.LINEAR,
        "features": AttackKind.LINEAR_AGAINST_REST,
    }
    return together(
        [replace(row, verdict=word, identity=AttackId(kinds[who])) for who, word in given.items()]
    )


def test_the_word_for_all_is_the_gravest():
    assert together([]) == NOT_MEASURABLE
    like, below = LIKE_RETRAINED, BELOW_RETRAINED
    assert words(probes=like, features=NOT_MEASURABLE) == like
    assert words(probes=like, features=below) == below
    assert words(probes=INCONCLUSIVE, features=below) == INCONCLUSIVE
    assert words(probes=INCONCLUSIVE, features=RETAINED) == RETAINED


def test_an_edited_head_alone_is_never_called_an_erasure():
    """Answers and scores fall silent; features that cannot be judged may hold everything."""
    silent = {"answers": LIKE_RETRAINED, "scores": BELOW_RETRAINED}
    assert words(**silent, probes=NOT_MEASURABLE) == INCONCLUSIVE
    assert words(**silent) == INCONCLUSIVE
    assert words(**silent, probes=LIKE_RETRAINED) == BELOW_RETRAINED
