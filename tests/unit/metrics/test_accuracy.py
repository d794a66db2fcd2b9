"""Accuracy scores against counting by hand and scikit-learn."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics import balanced_accuracy_score

from unspan.errors import DataError
from unspan.metrics.accuracy import (
    calibration_error,
    forget_accuracy,
    macro_accuracy,
    per_class,
    retain_accuracy,
    suppression,
    worst_drop,
)
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import share_interval


def outputs(seed=0, n=200, c=10, signal=2.0, forget=3):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, c, (n,), generator=g)
    logits = torch.randn(n, c, generator=g) + signal * torch.nn.functional.one_hot(labels, c)
    return Outputs(features=logits, logits=logits, labels=labels, forget=labels == forget)


def given_logits(logits, labels, forget):
    return Outputs(
        features=logits, logits=logits, labels=torch.tensor(labels), forget=torch.tensor(forget)
    )


def test_accuracies_are_counts_with_exact_intervals():
    out = outputs()
    right = out.logits.argmax(1) == out.labels
    for score, rows in (
        (forget_accuracy(out, "test"), out.forget),
        (retain_accuracy(out, "test"), ~out.forget),
    ):
        hits, n = int(right[rows].sum()), int(rows.sum())
        assert (score.value, score.n, (score.low, score.high)) == (
            hits / n,
            n,
            share_interval(hits, n),
        )
    assert (
        forget_accuracy(out, "test").better == "lower"
        and retain_accuracy(out, "test").better == "higher"
    )


def test_unlabelled_rows_are_not_counted_and_no_rows_is_not_zero():
    out = given_logits(torch.eye(3), [0, -1, 2], [True, True, False])
    assert forget_accuracy(out, "s").n == 1 and retain_accuracy(out, "s").value == 1
    none = out.rows(~out.forget)
    assert (
        forget_accuracy(none, "s").value is None
        and "not measurable" in forget_accuracy(none, "s").note
    )
    assert [one.value for one in suppression(none, "s")] == [None] * 3


def test_impossible_outputs_are_refused():
    with pytest.raises(DataError, match="label is 3"):
        forget_accuracy(given_logits(torch.eye(3), [3, 1, 2], [True] * 3), "s")
    with pytest.raises(DataError, match="NaN"):
        forget_accuracy(given_logits(torch.eye(3) * torch.nan, [0, 1, 2], [True] * 3), "s")
    with pytest.raises(DataError, match="embedding"):
        forget_accuracy(
            Outputs(
                features=torch.eye(3),
                logits=None,
                labels=torch.arange(3),
                forget=torch.arange(3) > 0,
            ),
            "s",
        )


def test_class_table_and_macro_agree_with_scikit_learn():
    out = outputs(1)
    table = per_class(out)
    for row in table.rows():
        mine = out.labels == row["class"]
        assert row["accuracy"] == float(
            (out.logits[mine].argmax(1) == row["class"]).double().mean()
        )
        assert row["low"] <= row["accuracy"] <= row["high"]
    kept = out.rows(~out.forget)
    assert macro_accuracy(out, "s").value == pytest.approx(
        balanced_accuracy_score(kept.labels, kept.logits.argmax(1))
    )
    assert bool(per_class(outputs(1, n=3)).accuracy.isnan().any())


def test_worst_drop_names_the_class_that_lost_most_and_not_the_forgotten_one():
    before = outputs(2, n=600, signal=8.0)
    logits = before.logits.clone()
    logits[:, 7] -= 9
    logits[:, 3] -= 1e4
    after = Outputs(features=logits, logits=logits, labels=before.labels, forget=before.forget)
    score = worst_drop(before, after, "test")
    assert (
        score.detail["class"] == 7
        and score.unit == "points"
        and score.n == int((before.labels == 7).sum())
    )
    accuracy = [float(per_class(out).accuracy[7]) for out in (before, after)]
    assert (
        score.value == pytest.approx(100 * (accuracy[0] - accuracy[1]))
        and score.low <= score.value <= score.high
    )
    assert worst_drop(before, before, "test").value == 0
    with pytest.raises(DataError, match="same samples"):
        worst_drop(before, after.rows(torch.arange(599)), "test")


def test_the_interval_of_the_worst_drop_covers_the_largest_true_drop():
    g = torch.Generator().manual_seed(0)
    lost = torch.tensor([0.02, 0.05, 0.1, 0.1])
    labels = torch.arange(4).repeat_interleave(100)
    right = torch.nn.functional.one_hot(labels, 4).float()
    covered = 0
    for _ in range(200):
        gone = torch.rand(400, generator=g) < lost[labels]
        wrong = torch.where(gone[:, None], right.roll(1, 1), right)
        forget = torch.zeros(400, dtype=torch.bool)
        score = worst_drop(
            Outputs(features=right, logits=right, labels=labels, forget=forget),
            Outputs(features=wrong, logits=wrong, labels=labels, forget=forget),
            "s",
        )
        covered += score.low <= 10 <= score.high
    assert covered >= 186


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 6, 30]))
def test_suppression_is_mean_probability_mid_rank_and_top_5(seed, c):
    g = torch.Generator().manual_seed(seed)
    logits, labels = (
        torch.randint(0, 4, (40, c), generator=g).float(),
        torch.randint(0, c, (40,), generator=g),
    )
    out = Outputs(
        features=logits, logits=logits, labels=labels, forget=torch.ones(40, dtype=torch.bool)
    )
    chance, rank, top = suppression(out, "s")
    assert chance.value == pytest.approx(
        float(logits.double().softmax(1)[torch.arange(40), labels].mean())
    )
    assert rank.value == pytest.approx(
        sum(rankdata(-row)[label] for row, label in zip(logits.numpy(), labels.tolist())) / 40
    )
    assert (
        1 <= rank.low <= rank.value <= rank.high <= c and chance.low <= chance.value <= chance.high
    )
    above = (logits > logits[torch.arange(40), labels, None]).sum(1)
    assert top.value == (None if c <= 5 else pytest.approx(float((above <= 4).double().mean())))


def test_a_head_that_gives_every_class_the_same_score_has_the_middle_rank():
    out = Outputs(
        features=torch.zeros(9, 10),
        logits=torch.zeros(9, 10),
        labels=torch.zeros(9, dtype=torch.long),
        forget=torch.ones(9, dtype=torch.bool),
    )
    chance, rank, top = suppression(out, "s")
    assert chance.value == pytest.approx(0.1) and rank.value == 5.5 and top.value == 1.0


def test_calibration_error_is_zero_for_honest_and_large_for_boastful_models():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(20000, 4, generator=g)
    labels = torch.multinomial(logits.softmax(1), 1, generator=g)[:, 0]
    out = lambda z: Outputs(  # noqa: E731
        features=z, logits=z, labels=labels, forget=torch.zeros(20000, dtype=torch.bool)
    )
    assert (
        calibration_error(out(logits), "s").value
        < 0.02
        < 0.3
        < calibration_error(out(20 * logits), "s").value
    )
    exact = given_logits(torch.tensor([[9.0, 0.0], [0.0, 9.0]]) * 10, [0, 0], [False, False])
    assert calibration_error(exact, "s").value == pytest.approx(0.5, abs=1e-6)


def test_nothing_is_written_to():
    out = outputs()
    kept = out.logits.clone()
    for score in (forget_accuracy, retain_accuracy, macro_accuracy, calibration_error, suppression):
        score(out, "s")
    worst_drop(out, out, "s")
    assert torch.equal(kept, out.logits)
