import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unspan.audit_record.vocabulary import ERASED, INCONCLUSIVE, NOT_MEASURABLE, RETAINED
from unspan.auditing.verdict_rule import judge, overall, verdict
from unspan.metrics.score import Reading, auc_reading


def hits(share, n=1000, seed=0):
    forget = torch.zeros(n, dtype=torch.float64)
    forget[torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: round(share * n)]] = 1
    return Reading(attack="probe", unit="share", forget=forget)


def test_an_untouched_model_is_retained_with_a_fraction_of_one():
    o = hits(0.84)
    found = verdict(o, o, [hits(0.1, seed=1)])
    assert (found.verdict, found.rho, found.rho_low, found.rho_high) == (RETAINED, 1.0, 1.0, 1.0)


def test_a_model_like_the_reference_is_erased():
    found = verdict(hits(0.9), hits(0.1, seed=1), [hits(0.1, seed=1)])
    assert found.verdict == ERASED and abs(found.rho) < 1e-12


def test_no_room_between_original_and_reference_is_not_measurable():
    found = verdict(hits(0.9), hits(0.1), [hits(0.85, seed=1)])
    assert found.verdict == NOT_MEASURABLE and found.rho is None


def test_three_images_decide_nothing():
    found = verdict(hits(1.0, 3), hits(0.0, 3), [hits(0.0, 3)])
    assert found.verdict == INCONCLUSIVE and found.rho_high > 0.7


def test_far_below_the_reference_is_called_a_trace():
    found = verdict(hits(0.84), hits(0.05, seed=1), [hits(0.6, seed=2)])
    assert found.verdict == ERASED and "trace" in found.note


def test_one_strong_attack_decides_and_comes_first():
    original, reference = [hits(0.9)] * 3, [[hits(0.1, seed=1)]] * 3
    erased = [hits(0.1, seed=1), hits(0.8, seed=2), hits(0.1, seed=1)]
    word, each = overall(original, erased, reference)
    assert (
        word == RETAINED
        and each[0].erased == 0.8
        and [one.verdict for one in each[1:]] == [ERASED, ERASED]
    )


def test_an_attack_that_cannot_tell_does_not_hide_the_others():
    word, each = overall(
        [hits(0.9), hits(0.9)], [hits(0.9), hits(0.9)], [[hits(0.9)], [hits(0.1, seed=1)]]
    )
    assert word == RETAINED and [one.verdict for one in each].count(NOT_MEASURABLE) == 1


def test_what_only_the_erased_model_gives_away_is_not_called_unmeasurable():
    word, each = overall([hits(0.1)], [hits(0.9)], [[hits(0.1, seed=1)]])
    assert each[0].verdict == NOT_MEASURABLE and each[0].exceeds and word == INCONCLUSIVE


def test_references_spread_the_interval():
    o, e = hits(0.9), hits(0.3, seed=1)
    narrow = verdict(o, e, [hits(0.3, seed=1)] * 3)
    wide = verdict(o, e, [hits(0.1, seed=2), hits(0.3, seed=1), hits(0.5, seed=3)])
    assert wide.rho_high - wide.rho_low > narrow.rho_high - narrow.rho_low


@given(st.floats(0.2, 0.95), st.floats(0.0, 1.0), st.integers(0, 5))
@settings(deadline=None, max_examples=10)
def test_interval_holds_the_fraction(original, erased, seed):
    found = verdict(hits(original), hits(erased, seed=seed + 1), [hits(0.05, seed=9)])
    if found.rho is not None:
        assert found.rho_low <= found.rho + 1e-9 and found.rho - 1e-9 <= found.rho_high
        assert found.rho_low_corrected <= found.rho_low + 1e-9
        assert found.verdict == judge(found.rho_low_corrected, found.rho_high)


def test_no_attack_says_retained_where_all_attacks_together_do_not():
    """What one attack of forty reads too much may be chance: no row says more than the page."""
    o, reference, unclear = hits(0.9, 200), hits(0.1, 200, seed=1), hits(0.38, 200, seed=2)
    alone = verdict(o, unclear, [reference])
    word, each = overall([o] * 40, [unclear] * 40, [[reference]] * 40)
    assert alone.verdict == RETAINED and word == INCONCLUSIVE
    assert {one.verdict for one in each} == {INCONCLUSIVE}


def test_the_end_for_many_attacks_is_steady():
    """With 40 attacks 0.06 % of the resamples lie beyond an end; two thousand hold one of them."""
    o, e, r = hits(0.9, 200), hits(0.5, 200, seed=1), hits(0.1, 200, seed=2)
    seeds = range(0, 36, 3)
    lows = [verdict(o, e, [r], attacks=40, seed=seed).rho_low_corrected for seed in seeds]
    assert torch.tensor(lows).std() < 0.006


def test_auc_interval_of_the_fraction_matches_a_direct_bootstrap():
    generator = torch.Generator().manual_seed(0)

    def scores(shift):
        return torch.randn(200, generator=generator) + shift, torch.randn(300, generator=generator)

    raw = {name: scores(shift) for name, shift in (("o", 2.0), ("e", 1.0), ("r", 0.2))}
    readings = {name: auc_reading("x", *pair) for name, pair in raw.items()}
    found = verdict(readings["o"], readings["e"], [readings["r"]])

    def area(pair, i, j):
        return float((pair[0][i][:, None] > pair[1][j][None]).double().mean())

    rows = []
    for _ in range(400):
        i, j = (
            torch.randint(200, (200,), generator=generator),
            torch.randint(300, (300,), generator=generator),
        )
        o, e, r = (area(raw[name], i, j) for name in "oer")
        rows.append((e - r) / (o - r))
    direct = torch.tensor(rows).quantile(torch.tensor([0.025, 0.975]))
    assert found.rho_low == pytest.approx(float(direct[0]), abs=0.05)
    assert found.rho_high == pytest.approx(float(direct[1]), abs=0.05)
