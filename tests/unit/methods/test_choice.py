"""The method of a request that names none: from the situation, and from whom it is to hold off."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.errors import UsageError
from unspan.methods import (
    ESC,
    Bake,
    NegGradPlus,
    Redraw,
    Resample,
    Retrain,
    Situation,
    registered,
)
from unspan.system.against import Against, as_against

SITUATIONS = [
    Situation(
        classes=classes,
        keeps=keeps,
        embeds=embeds and (keeps or statistics),
        labelled=labelled,
        one_pass=one_pass,
        mapped=mapped,
        statistics=statistics,
    )
    for classes, keeps, embeds, labelled, one_pass, mapped, statistics in product(
        [True, False], repeat=7
    )
]


def test_statistics_stand_for_the_data_to_keep():
    for classes, embeds, method in (
        (True, False, Resample),
        (False, False, Resample),
        (True, True, Redraw),
        (False, True, Redraw),
    ):
        alone = Situation(classes=classes, keeps=False, embeds=embeds, statistics=True)
        assert alone.recommended() is method


@pytest.mark.parametrize("against", Against)
def test_what_is_chosen_holds_against_whom_was_asked_or_nothing_is(against):
    for situation in SITUATIONS:
        candidates = situation.candidates()
        assert situation.recommended() is candidates[0].method
        if any(one.holds(against) for one in candidates):
            chosen = situation.recommended(against)
            situation.check(chosen, against)
            held = situation.held_by(chosen)
            assert held is not None and held.covers(against)
        else:
            with pytest.raises(UsageError, match="train the network again"):
                situation.recommended(against)
        situation.check(Retrain, against)


def test_each_attacker_has_what_those_before_have():
    order = list(Against)
    for i, j in product(range(len(order)), repeat=2):
        assert order[i].covers(order[j]) == (i >= j)
    with pytest.raises(UsageError, match="use outputs, features, queries, weights"):
        as_against("everybody")


def test_the_situation_decides(digits_request):
    assert Situation.of(digits_request).recommended() is Resample
    assert Situation.of(digits_request).recommended(Against.QUERIES) is Bake
    assert Situation.of(digits_request, embeds=True).recommended() is Redraw
    for other in (
        Situation.of(replace(digits_request, retain=None)),
        Situation.of(digits_request, "folded"),
        Situation.of(
            digits_request,
            "projected",
            {"method": {"name": "esc"}, "placement": {"kind": "hook"}},
        ),
    ):
        assert other.recommended() is ESC


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_baseline_is_not_known_to_hold_against_anybody(situation):
    candidates = [one.method for one in situation.candidates()]
    for kind in registered():
        if kind not in (*candidates, Retrain):
            with pytest.raises(
                UsageError, match=f"{kind.name} was measured to hold against nobody"
            ):
                situation.check(kind, Against.OUTPUTS)


def test_single_labelled_samples_in_a_classifier_are_trained_away(digits_request):
    single = replace(digits_request, classes=(), kind="samples")
    assert Situation.of(single, labelled=True).recommended() is NegGradPlus
    assert Situation.of(single).recommended() is ESC
    erased = {"method": {"name": "resample"}, "placement": {"kind": "hook"}}
    assert Situation.of(single, earlier=erased, labelled=True).recommended() is ESC


def test_the_receipt_says_against_whom(digits_net, digits_request):
    by_default = unspan.erase(digits_net, digits_request, measure=False)
    assert by_default.receipt["against"] == "features"
    asked = unspan.erase(digits_net, digits_request, measure=False, against="outputs")
    assert asked.receipt["against"] == "outputs"
    assert asked.receipt["method"]["name"] == by_default.receipt["method"]["name"]
    weaker = replace(digits_request, retain=None)
    assert unspan.erase(digits_net, weaker, measure=False).receipt["against"] is None
    named = unspan.erase(digits_net, weaker, ESC(rank=2), measure=False)
    assert named.receipt["against"] is None
    with pytest.raises(UsageError, match="esc was measured to hold against nobody"):
        unspan.erase(digits_net, digits_request, ESC(rank=2), against="queries")
    with pytest.raises(UsageError, match="only those to forget"):
        unspan.erase(digits_net, weaker, against="queries")


def test_who_may_alter_inputs_gets_a_network_that_was_trained():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    data = TensorDataset(torch.randn(60, 6), torch.arange(60) % 3)
    request = unspan.Request.by_class(data, 0)
    done = unspan.erase(
        net, request, against="queries", check_labels=False, measure=False, max_drop=None
    )
    assert done.receipt["method"]["name"] == "bake" and done.receipt["form"] == "trained"
