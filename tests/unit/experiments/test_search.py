"""What a search found is counted as by hand, and the page says which goals are missed."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

sys.path.append(str(Path(__file__).resolve().parents[3] / "experiments"))
import _search_galleries
import _search_measures
import _search_table

KIND = 2


@pytest.fixture
def searches():
    """Ids `[m, k]` now, before and by exact search, labels `[n]` and kinds of the queries."""
    draw = np.random.default_rng(0)
    labels, truth = draw.integers(0, 4, 60), draw.integers(0, 4, 30)
    now, before, exact = (np.array([draw.permutation(60)[:10] for _ in range(30)]) for _ in "abc")
    return now, before, exact, labels, truth


def test_every_measure_is_the_one_counted_by_hand(searches):
    now, before, exact, labels, truth = searches
    found = _search_measures.measured(now, before, exact, labels, truth, KIND)
    by_hand = {name: [] for name in found}
    for row, kind in enumerate(truth):
        same = sum(labels[one] == kind for one in now[row]) / 10
        by_hand["recall"].append(len(set(now[row]) & set(exact[row])) / 10)
        if kind == KIND:
            by_hand["erased"].append(same)
            continue
        stay = {one for one in before[row] if labels[one] != KIND}
        by_hand["others"].append(same)
        by_hand["change"].append(same - sum(labels[one] == kind for one in before[row]) / 10)
        by_hand["answered"].append(float(same > 0))
        by_hand["in others"].append(sum(labels[one] == KIND for one in now[row]) / 10)
        by_hand["kept"].append(len(stay & set(now[row])) / len(stay))
    for name, values in by_hand.items():
        assert found[name]["mean"] == pytest.approx(np.mean(values)), name
        assert found[name]["n"] == len(values), name
        assert found[name]["low"] <= found[name]["mean"] <= found[name]["high"], name


def test_a_query_that_found_only_the_erased_kind_has_nothing_to_keep():
    wanted, found = np.array([[0, 1], [2, 3]]), np.array([[0, 1], [3, 0]])
    stays = np.array([False, False, True, True])
    shares = _search_measures.found_again(found, wanted, stays)
    assert np.isnan(shares[0]) and shares[1] == 0.5
    assert _search_measures.mean_of(shares)["n"] == 1


def test_the_page_says_which_goals_are_missed():
    def state(erased, change):
        of = {key: {"mean": 0.5, "low": 0.4, "high": 0.6} for key in _search_table.HEADS}
        for key, mean in (("erased", erased), ("change", change)):
            of[key] = {"mean": mean, "low": mean - 0.04, "high": mean + 0.04}
        return {"S": of}

    cell = {"gallery": "faces", "way": "default", "method": "redraw", "rows": 9, "dim": 2}
    cell |= {"queries": {"erased": 1, "others": 2}, "chance": 0.1}
    cell["states"] = {"rows kept": state(0.3, -0.03), "rows dropped": state(0.0, -0.01)}
    page = _search_table.page([cell])
    kept = "S, rows kept: of the erased kind missed (30.0 %, chance 10.0 %); others met within"
    assert kept in page
    assert "S, rows dropped: of the erased kind met (0.0 %, chance 10.0 %); others met" in page
    cell["states"]["rows kept"] = state(0.12, -0.06)
    page = _search_table.page([cell])
    assert "rows kept: of the erased kind met within the interval (12.0 %" in page
    assert "; others missed (-6.0 points)" in page
    refused = {"gallery": "faces", "way": "default", "kind": 1, "refused": "Too few."}
    assert "Refused: 1 of 1. Too few." in _search_table.page([refused])


def test_a_request_and_its_queries_have_all_of_the_kind_and_some_of_the_others(monkeypatch):
    monkeypatch.setattr(_search_galleries, "OTHERS", 7)
    labels = torch.arange(40) % 4
    inputs = torch.arange(40.0)[:, None]
    gallery = _search_galleries.Gallery(
        name="counted",
        model=torch.nn.Identity(),
        data=TensorDataset(inputs, labels),
        inputs=inputs,
        labels=labels,
        asked=inputs,
        truth=labels,
        erased=(KIND,),
        references={},
        kept=5,
    )
    request = gallery.request(KIND)
    kept = [int(label) for _, label in request.retain]
    assert len(request.forget) == 10 and len(kept) == 5 and KIND not in kept
    rows = gallery.queries(KIND)
    found = gallery.asked_at(rows)[:, 0] % 4 == KIND
    assert len(set(rows.tolist())) == 17 and int(found.sum()) == 10
