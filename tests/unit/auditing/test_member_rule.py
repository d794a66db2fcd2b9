"""Single samples: told from samples that nobody saw, or not."""

from dataclasses import replace

import pytest
import torch

from unspan.audit_record.vocabulary import (
    BELOW_RETRAINED,
    INCONCLUSIVE,
    LIKE_RETRAINED,
    NOT_MEASURABLE,
    RETAINED,
)
from unspan.auditing.member_rule import judge_members
from unspan.metrics.identity import AttackId, AttackKind
from unspan.metrics.score import auc_reading


def membership(shift, n=2000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    members = torch.randn(n, generator=generator) + shift
    found = auc_reading("membership", members, torch.randn(n, generator=generator))
    return replace(found, identity=AttackId(AttackKind.MEMBERSHIP))


@pytest.mark.parametrize(
    ("shift", "word"), [(1.0, RETAINED), (0.0, LIKE_RETRAINED), (-1.0, BELOW_RETRAINED)]
)
def test_single_samples_are_held_against_one_half(shift, word):
    assert judge_members([membership(1.0)], [membership(shift, seed=1)]).verdict == word


def test_the_strongest_attack_on_single_samples_decides():
    weak, strong = membership(0.0, seed=1), membership(1.0, seed=2)
    found = judge_members([membership(0.0), membership(1.0)], [weak, strong])
    assert found.verdict == RETAINED and found.erased == strong.value


def test_intervals_of_single_samples_hold_for_all_attacks_together():
    """Level S rests on the interval of the result, so it may not be that of one attack alone."""
    attacks = [membership(0.0, seed=1), membership(0.0, seed=2)]
    found = judge_members([membership(1.0)] * 2, attacks)
    for one in attacks:
        low, high = one.interval(0.975)
        assert max(high - 0.5, 0.5 - low) <= max(found.erased_high - 0.5, 0.5 - found.erased_low)
    assert (
        found.erased_high - found.erased_low > attacks[0].interval()[1] - attacks[0].interval()[0]
    )


def test_one_attack_whose_interval_is_wide_keeps_the_others_from_deciding():
    """The one nearest to 1/2 is strong enough to be called harmless, the other is not."""
    sharp, wide = membership(0.06, n=4000, seed=5), membership(0.0, n=200, seed=3)
    assert sharp.advantage > wide.advantage
    assert judge_members([membership(1.0)] * 2, [sharp]).verdict == LIKE_RETRAINED
    assert judge_members([membership(1.0)] * 2, [sharp, wide]).verdict == INCONCLUSIVE


def test_an_attack_that_is_below_one_half_does_not_hide_one_above():
    above, below = membership(0.3, n=2000, seed=1), membership(-0.35, n=2000, seed=2)
    assert below.advantage > above.advantage
    assert judge_members([membership(1.0)] * 2, [above, below]).verdict == RETAINED


def test_an_original_that_gives_no_sample_away_cannot_lose_any():
    found = judge_members([membership(0.0)], [membership(0.0, 50)])
    assert found.verdict == NOT_MEASURABLE and found.rho is None


@pytest.mark.parametrize(
    ("shift", "n", "word", "networks"),
    [
        (1.0, 500, RETAINED, 0),
        (1.0, 500, RETAINED, 3),
        (0.12, 1500, INCONCLUSIVE, 0),  # told, but less than would count in the original
        (-1.0, 500, BELOW_RETRAINED, 0),
        (-1.0, 500, BELOW_RETRAINED, 3),
    ],
)
def test_what_the_erased_model_alone_gives_away_is_measured(shift, n, word, networks):
    """The original gives nothing away, and the erased model does."""
    never = [[membership(0.0, n, seed=seed)] for seed in range(2, 2 + networks)]
    found = judge_members([membership(0.0)], [membership(shift, n, seed=1)], never)
    assert found.verdict == word


def test_what_retrained_networks_give_away_as_well_is_not_measurable():
    never = [[membership(0.4, n=150, seed=seed)] for seed in (2, 3, 4)]
    found = judge_members([membership(0.0)], [membership(0.42, n=150, seed=5)], never)
    assert found.verdict == NOT_MEASURABLE


def test_networks_that_never_saw_the_samples_say_what_chance_does():
    """The samples themselves may be a little more likely than others, to any network."""
    never = [[membership(0.4, n=150, seed=seed)] for seed in (2, 3, 4)]
    erased = membership(0.42, n=150, seed=5)
    assert judge_members([membership(3.0)], [erased]).verdict == RETAINED
    found = judge_members([membership(3.0)], [erased], never)
    assert found.verdict == LIKE_RETRAINED
    assert found.reference == pytest.approx(sum(one[0].value for one in never) / 3)


def test_what_is_told_beyond_retrained_networks_is_retained():
    never = [[membership(0.1, seed=seed)] for seed in (2, 3, 4)]
    assert judge_members([membership(1.0)], [membership(0.9)], never).verdict == RETAINED


def test_training_alone_moves_an_auc_by_half_of_what_it_moves_an_advantage():
    """The smallest deviation of a band is one of advantages, which are twice as large."""
    never = [[membership(0.0, n=20_000, seed=seed)] * 2 for seed in (2, 3)]
    original, erased = membership(0.74, n=20_000), membership(0.206, n=20_000, seed=5)
    assert 0.553 < erased.value < 0.562
    assert judge_members([original] * 2, [erased] * 2, never).verdict == RETAINED


def test_a_wide_band_does_not_decide():
    never = [[membership(shift, n=60, seed=seed)] for seed, shift in enumerate((0.0, 0.5, 1.0))]
    found = judge_members([membership(0.7, n=60)], [membership(0.7, n=60, seed=9)], never)
    assert found.verdict == INCONCLUSIVE


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_networks_give_no_band(count):
    never = [[membership(0.9, seed=seed)] for seed in range(count)]
    assert judge_members([membership(1.0)], [membership(0.9)], never).verdict == RETAINED
