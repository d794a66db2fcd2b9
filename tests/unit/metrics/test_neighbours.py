"""Neighbours are those of brute force in float64, and the vote is the documented one."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from probe_data import planted, small
from sklearn.neighbors import KNeighborsClassifier

from unspan.metrics import neighbours as module
from unspan.metrics.neighbours import nearest, neighbours, queries, vote
from unspan.metrics.outputs import Outputs

quick = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(st.integers(0, 2**31), st.integers(3, 40), st.booleans(), st.sampled_from([0.0, 300.0]))
def test_neighbours_are_those_of_brute_force(seed, k, cosine, shift):
    generator = torch.Generator().manual_seed(seed)
    x, q = (
        torch.randn(200, 6, generator=generator) + shift,
        torch.randn(30, 6, generator=generator) + shift,
    )
    a, b = x.double().numpy(), q.double().numpy()
    if cosine:
        a, b = (
            a / np.linalg.norm(a, axis=1, keepdims=True),
            b / np.linalg.norm(b, axis=1, keepdims=True),
        )
    distance = np.square(a[None] - b[:, None]).sum(2)
    found = neighbours(x, torch.arange(200), q, k, cosine=cosine).numpy()
    expected = np.sort(distance, 1)[:, :k]
    slack = (
        1e-6 if shift and cosine else 1e-12
    )  # cosines of far-off points differ by less than float32 keeps
    assert np.abs(np.take_along_axis(distance, found, 1) - expected).max() <= slack * max(
        1, expected.max()
    )


@quick
@given(st.integers(0, 2**31))
def test_blocks_do_not_change_the_neighbours(seed):
    generator = torch.Generator().manual_seed(seed)
    x, q, rows = (
        torch.randn(300, 5, generator=generator),
        torch.randn(40, 5, generator=generator),
        torch.arange(10, 290),
    )
    whole = neighbours(x, rows, q, 20, cosine=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROWS", 64)
        patch.setattr(module, "_QUERIES", 16)
        assert torch.equal(neighbours(x, rows, q, 20, cosine=False), whole)
    assert int(whole.min()) >= 10 and int(whole.max()) < 290


@pytest.mark.parametrize("metric", ["L2", "cosine"])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_hits_are_those_of_scikit_learn_where_no_vote_is_tied(metric, k):
    fit, test = planted(gap=1.2, n=800)
    reading = next(r for r in nearest(fit, test) if r.attack == f"kNN k={k}, {metric}")
    theirs = KNeighborsClassifier(
        k, metric="cosine" if metric == "cosine" else "minkowski", algorithm="brute"
    )
    theirs.fit(fit.features.double().numpy(), fit.labels.numpy())
    chance = np.sort(theirs.predict_proba(test.features[test.forget].double().numpy()), 1)
    clear = chance[:, -1] > chance[:, -2]
    hit = theirs.predict(test.features[test.forget].double().numpy()) == 1
    assert clear.sum() > 50
    assert (reading.forget.numpy()[clear] == hit[clear]).all()


@quick
@given(st.integers(0, 2**31), st.integers(1, 25))
def test_vote_is_a_majority_and_ties_go_to_the_nearest(seed, k):
    labels = torch.randint(4, (50, k), generator=torch.Generator().manual_seed(seed))
    for row, won in zip(labels.tolist(), vote(labels, 4).tolist(), strict=True):
        most = max(row.count(c) for c in set(row))
        assert won == next(c for c in row if row.count(c) == most)


def test_equal_points_are_taken_in_order_and_zero_features_are_allowed():
    x = torch.zeros(6, 3)
    for cosine in (False, True):
        assert neighbours(x, torch.arange(6), x[:2], 3, cosine=cosine).tolist() == [[0, 1, 2]] * 2


def test_scale_of_all_features_changes_nothing():
    pair = planted(gap=1.5)
    first, second = nearest(*pair), nearest(*(small(part, 2.0**-10) for part in pair))
    assert all(
        torch.equal(a.forget, b.forget) and a.retain == b.retain
        for a, b in zip(first, second, strict=True)
    )


def test_a_planted_class_is_read_and_permuted_labels_are_not():
    for reading in nearest(*planted(gap=5.0)):
        assert reading.value >= 0.95
    for reading in nearest(*planted(gap=5.0, permute=True, n=3000)):
        low, high = reading.interval(0.999)
        assert low <= (0.5 if reading.unit == "AUC" else 0.2) <= high


def test_retained_queries_are_capped_and_the_same_for_every_model(monkeypatch):
    monkeypatch.setattr(module, "RETAINED", 40)
    _, test = planted()
    asked = queries(test, 3)
    assert int((~test.forget[asked]).sum()) == 40 and test.forget[asked].sum() == test.forget.sum()
    assert torch.equal(asked, queries(small(test, 5.0), 3))


def test_unlabelled_rows_do_not_vote_and_small_sets_use_all_rows():
    fit, test = planted(n=30)
    near = Outputs(
        features=torch.cat([fit.features, test.features]),
        logits=None,
        labels=torch.cat([fit.labels, torch.full((len(test),), -1)]),
        forget=torch.cat([fit.forget, torch.zeros(len(test), dtype=torch.bool)]),
    )
    for a, b in zip(nearest(fit, test, ks=(1, 100)), nearest(near, test, ks=(1, 100)), strict=True):
        assert torch.equal(a.forget, b.forget)
