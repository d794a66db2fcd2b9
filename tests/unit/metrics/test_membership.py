"""Membership attacks: calibrated without leakage, powerful with it, and equal to independent
implementations.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from unspan.errors import DataError, UsageError
from unspan.metrics.binary_logistic import fit_logistic
from unspan.metrics.member_rate import _named_by_support, entropy, member_rate
from unspan.metrics.membership import (
    loss_attack,
    losses,
    membership_scores,
    published_loss_attack,
    tpr_at_fpr,
)
from unspan.metrics.outputs import Outputs
from unspan.metrics.rmia import rmia_leave_one_out, rmia_scores

SHIFT = 0.3583  # of a standard normal: AUC 0.60


pytestmark = pytest.mark.usefixtures("one_thread")


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def outputs(logits, labels=None):
    labels = torch.zeros(len(logits), dtype=torch.long) if labels is None else labels
    return Outputs(
        features=logits,
        logits=logits,
        labels=labels,
        forget=torch.ones(len(logits), dtype=torch.bool),
    )


# ---- the regression under the attacks ------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([1e-4, 1e-2, 1.0]))
def test_newton_reaches_the_optimum_of_scikit_learn(seed, p, ridge):
    x = draw(seed, 120, p)
    hit = x[:, 0] + draw(seed + 1, 120) > 0.5
    if not 0 < int(hit.sum()) < 120:
        return
    mine = fit_logistic(3 * x + 7, hit, ridge=ridge)
    z = ((x - x.mean(0)) / x.std(0, unbiased=False)).numpy()
    oracle = LogisticRegression(
        C=1 / (120 * ridge), tol=1e-12, max_iter=5000, solver="newton-cholesky"
    ).fit(z, hit.numpy())
    assert mine.converged and mine.gradient <= 1e-8
    np.testing.assert_allclose(mine.weight.numpy(), oracle.coef_[0], rtol=1e-5, atol=1e-6)
    assert mine.bias == pytest.approx(oracle.intercept_[0], abs=1e-5)


def test_newton_converges_on_separable_and_on_constant_columns():
    x = torch.cat(
        [torch.cat([torch.zeros(50, 1), torch.ones(50, 1)]), torch.full((100, 1), 1e9)], 1
    )
    fit = fit_logistic(x, torch.arange(100) >= 50)
    assert (
        fit.converged
        and bool((fit(x[50:]) > fit(x[:50]).max()).all())
        and float(fit.weight[1]) == 0
    )
    with pytest.raises(DataError, match="both kinds"):
        fit_logistic(x, torch.ones(100, dtype=torch.bool))
    with pytest.raises(DataError, match="NaN"):
        fit_logistic(x * torch.nan, torch.arange(100) >= 50)


# ---- loss attacks --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, 500])
def test_no_leak_is_reported_as_none(size):
    generator = torch.Generator().manual_seed(size)
    covered = wrong = 0
    areas = []
    for run in range(200):
        member, other = (torch.randn(size, generator=generator).exp() for _ in range(2))
        accuracy, area, *_ = loss_attack(member, other, "s", splits=3, seed=run)
        covered += area.low <= 0.5 <= area.high
        wrong += not accuracy.low <= 0.5 <= accuracy.high
        areas.append(area.value)
    assert covered >= 186 and wrong <= 14
    assert np.mean(areas) == pytest.approx(
        0.5, abs=0.01
    )  # an attack scored on what it was fitted on is above


@pytest.mark.parametrize("sided", ["lower losses", "two-sided"])
def test_a_planted_leak_is_found(sided):
    generator = torch.Generator().manual_seed(5)
    found = 0
    for run in range(50):
        member, other = torch.randn(500, generator=generator), torch.randn(500, generator=generator)
        member = member - SHIFT if sided == "lower losses" else 1.5 * member
        area = loss_attack(
            member.exp() if sided == "lower losses" else member + 20,
            other.exp() if sided == "lower losses" else other + 20,
            "s",
            splits=2,
            seed=run,
        )[1]
        found += area.low > 0.5
    assert found >= 45


def test_members_with_high_losses_are_found_on_both_sides_only_by_the_corrected_attack():
    member, other = (
        torch.cat([draw(1, 300).abs() * 0.01, 60 + draw(2, 300).abs()]),
        2 + draw(3, 600).abs() * 0.3,
    )
    assert loss_attack(member, other, "s")[1].value > 0.95
    assert published_loss_attack(member, other, "s").value < 0.85


def test_the_published_attack_is_the_published_protocol():
    from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

    member, other = draw(1, 200).exp() * 0.5, draw(2, 200).exp()
    mine = published_loss_attack(member, other, "s")
    generator = torch.Generator().manual_seed(0)
    order = [torch.randperm(200, generator=generator) for _ in range(2)]
    x = torch.cat([member[order[0]], other[order[1]]]).numpy()[:, None]
    y = np.r_[np.ones(200, int), np.zeros(200, int)]
    splits = StratifiedShuffleSplit(n_splits=5, random_state=0)
    assert mine.value == pytest.approx(
        cross_val_score(LogisticRegression(), x, y, cv=splits, scoring="accuracy").mean(), abs=1e-12
    )
    assert mine.value > 0.5 and mine.low < mine.value < mine.high and mine.better == "reference"


def test_unequal_groups_do_not_put_a_floor_under_the_attack():
    """The release of DLFD gets |MIA - 0.5| = 0.2297 from the counts 332 and 123 alone."""
    member, other = draw(1, 332).exp(), draw(2, 123).exp()
    assert abs(published_loss_attack(member, other, "s").value - 0.5) < 0.15
    accuracy, area, *_ = loss_attack(member, other, "s")
    assert accuracy.low <= 0.5 <= accuracy.high and area.low <= 0.5 <= area.high


def test_accuracy_is_balanced_whatever_the_counts():
    accuracy = loss_attack(20 + draw(1, 2000), 21 + draw(2, 200), "s")[0]
    assert accuracy.value == pytest.approx(0.691, abs=0.03)  # Phi(1 / 2)


def test_attacks_repeat_and_leave_inputs_and_global_state_alone():
    member, other = draw(1, 90).exp(), draw(2, 120).exp()
    kept, state = (member.clone(), other.clone()), torch.random.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    assert loss_attack(member, other, "s") == loss_attack(member, other, "s")
    assert published_loss_attack(member, other, "s") == published_loss_attack(member, other, "s")
    assert torch.equal(member, kept[0]) and torch.equal(other, kept[1])
    assert torch.equal(state, torch.random.get_rng_state()) and bool(
        (numpy_state == np.random.get_state()[1]).all()
    )


def test_infinite_losses_are_clipped_and_nan_is_refused():
    member, other = torch.cat([draw(1, 50).exp(), torch.full((50,), torch.inf)]), draw(2, 100).exp()
    assert loss_attack(member, other, "s")[1].value > 0.6
    assert published_loss_attack(member, other, "s").value is None
    with pytest.raises(DataError, match="NaN"):
        loss_attack(member * torch.nan, other, "s")
    assert [one.value for one in loss_attack(member[:5], other[:5], "s")] == [None] * 4


def test_losses_are_cross_entropies():
    logits = draw(1, 9, 4).float()
    labels = torch.arange(9) % 4
    truth = [
        -math.log(torch.softmax(row.double(), 0)[label])
        for row, label in zip(logits, labels, strict=True)
    ]
    assert losses(outputs(logits, labels)).tolist() == pytest.approx(truth, abs=1e-9)
    with pytest.raises(DataError, match="label"):
        losses(outputs(logits, labels - 1))


# ---- true positives at a low false-positive rate -------------------------------------------------


def test_a_low_rate_is_given_only_with_enough_non_members():
    short = tpr_at_fpr(draw(1, 50), draw(2, 999), "s")
    assert (
        short.value is None
        and short.note
        == "not measurable: 999 non-members, 1000 needed for a false-positive rate of 1 %."
    )
    assert tpr_at_fpr(draw(1, 50), draw(2, 1000), "s").value is not None
    assert tpr_at_fpr(draw(1, 50), draw(2, 1000), "s", fpr=0.001).value is None


def test_ties_with_non_members_are_no_detections():
    assert tpr_at_fpr(torch.ones(50), torch.ones(1000), "s").value == 0
    assert tpr_at_fpr(torch.ones(50), torch.zeros(1000), "s").value == 1


# ---- member rate ---------------------------------------------------------------------------------


def test_entropy_is_that_of_the_formula():
    logits = draw(3, 6, 5)
    for row, found in zip(torch.softmax(logits, 1).numpy(), entropy(logits), strict=True):
        assert float(found) == pytest.approx(-sum(q * math.log(q) for q in row))
    certain = torch.tensor([[1e4, 0.0], [0.0, 0.0], [-1e4, 0.0]])
    assert entropy(certain).tolist() == pytest.approx([0, math.log(2), 0])


@pytest.mark.parametrize("classifier", ["svm", "logistic"])
def test_member_rate_follows_whom_the_forget_samples_resemble(classifier):
    sure, unsure = 6 + draw(1, 400, 1), 1 + draw(2, 300, 1)
    row = lambda z: outputs(torch.cat([z, torch.zeros(len(z), 4)], 1))  # noqa: E731
    like_train = member_rate(
        row(sure), row(unsure), row(6 + draw(3, 200, 1)), "s", classifier=classifier
    )
    like_test = member_rate(
        row(sure), row(unsure), row(1 + draw(4, 200, 1)), "s", classifier=classifier
    )
    assert (
        like_train.value > 0.85
        and like_test.value < 0.25
        and like_test.low <= like_test.value <= like_test.high
    )
    assert (
        like_test.value == pytest.approx(like_test.detail["test"], abs=0.1)
        and like_test.detail["fit"] == 300
    )


@pytest.mark.parametrize("spread", [0.5, 3.0])
def test_many_entropies_are_named_as_by_the_machine_itself(spread):
    """A grid and a bound on the curvature stand for the sum over all support vectors."""
    known, unseen, asked = (
        entropy(spread * factor * draw(seed, n, 10))
        for seed, n, factor in ((1, 600, 1.0), (2, 600, 0.9), (3, 20_000, 0.95))
    )
    machine = SVC(C=3, gamma=1.0).fit(
        torch.cat([known, unseen]).numpy()[:, None], np.arange(1200) < 600
    )
    by_grid = _named_by_support(machine, asked.numpy())
    assert 0.05 < by_grid.mean() < 0.95
    assert np.array_equal(by_grid, machine.predict(asked.numpy()[:, None]))


# ---- RMIA ----------------------------------------------------------------------------------------


def privacy_meter(target, references, z, z_references, a):
    """Offline score as in Privacy Meter's `rmia.py`, written out with a loop over pairs."""
    x_ratio = target / ((1 + a) / 2 * references.mean(0) + (1 - a) / 2)
    z_ratio = z / ((1 + a) / 2 * z_references.mean(0) + (1 - a) / 2)
    return np.array([np.average(x / z_ratio > 1.0) for x in x_ratio])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([0.0, 0.3, 1.0]))
def test_rmia_is_the_score_of_privacy_meter(seed, m, a):
    rng = np.random.default_rng(seed)
    x, refs, z, z_refs = (rng.uniform(0.01, 1, shape) for shape in ((40,), (m, 40), (60,), (m, 60)))
    mine = rmia_scores(*(torch.from_numpy(np.log(part)) for part in (x, refs, z, z_refs)), a=a)
    np.testing.assert_allclose(mine.numpy(), privacy_meter(x, refs, z, z_refs, a), atol=1e-12)


def log_p(confidence):
    return torch.nn.functional.logsigmoid(confidence)


def test_rmia_is_calibrated_and_finds_a_planted_leak():
    generator = torch.Generator().manual_seed(0)
    draw_one = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    z_hard = draw_one(500)
    z, z_refs = log_p(z_hard + draw_one(500)), log_p(z_hard + draw_one(2, 500))
    covered = found = 0
    for _ in range(200):
        groups = []
        for lift in (0.0, 0.0, 0.6):
            hard = draw_one(500)
            groups.append(
                rmia_scores(
                    log_p(hard + draw_one(500) + lift), log_p(hard + draw_one(2, 500)), z, z_refs
                )
            )
        area = membership_scores("RMIA", groups[0], groups[1], "s")[0]
        covered += area.low <= 0.5 <= area.high
        leak = membership_scores("RMIA", groups[2], groups[1], "s")[0]
        found += leak.low > 0.5
        assert leak.value < 0.75
    assert covered >= 186 and found >= 180


def test_rmia_survives_underflow_and_refuses_what_is_no_log_probability():
    x, refs = torch.tensor([-1e9, -0.1]), torch.full((1, 2), -1e9)
    z, z_refs = torch.full((5,), -1.0), torch.full((1, 5), -1.0)
    assert rmia_scores(x, refs, z, z_refs, a=1.0).tolist() == [0.0, 1.0]
    assert rmia_scores(z, z_refs, z, z_refs).tolist() == [0.0] * 5
    with pytest.raises(DataError, match="log-probabilities"):
        rmia_scores(x + 2, refs, z, z_refs)
    with pytest.raises(DataError, match=r"\[n\], \[m, n\]"):
        rmia_scores(x, refs[0], z, z_refs)
    with pytest.raises(UsageError, match="gamma"):
        rmia_scores(x, refs, z, z_refs, gamma=0.5)
    assert [one.value for one in membership_scores("RMIA", x, x, "s")[1:]] == [None, None]


def test_no_model_has_an_area_where_a_group_is_empty():
    found = membership_scores("RMIA", torch.zeros(0), torch.ones(3), "s")
    assert [one.value for one in found] == [None] * 3 and "empty" in found[0].note


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([0.0, 0.3, 1.0]))
def test_each_sample_of_the_population_is_compared_with_the_others(seed, m, a):
    rng = np.random.default_rng(seed)
    parts = [np.log(rng.uniform(0.01, 1, shape)) for shape in ((9,), (m, 9), (14,), (m, 14))]
    x, refs, z, z_refs = (torch.from_numpy(part) for part in parts)
    members, others = rmia_leave_one_out((x, refs), (z, z_refs), a=a)
    assert torch.equal(members, rmia_scores(x, refs, z, z_refs, a=a))
    for place in range(14):
        rest = [i for i in range(14) if i != place]
        one = rmia_scores(z[[place]], z_refs[:, [place]], z[rest], z_refs[:, rest], a=a)
        assert float(others[place]) == pytest.approx(float(one))
    with pytest.raises(DataError, match="population of 1"):
        rmia_leave_one_out((x, refs), (z[:1], z_refs[:, :1]), a=a)


def test_leaving_one_out_keeps_the_area_of_no_leak_at_one_half():
    """Also of many small classes together, whose samples all reach the same few values."""
    generator = torch.Generator().manual_seed(0)
    covered, areas = 0, []
    for _ in range(200):
        groups = ([], [])
        for _ in range(5):
            draws = [torch.randn(3, size, generator=generator) - 1 for size in (12, 20)]
            parts = [(log_p(one[0]), log_p(one[1:])) for one in draws]
            for group, scores in zip(groups, rmia_leave_one_out(*parts), strict=True):
                group.append(scores)
        area = membership_scores("RMIA", *(torch.cat(group) for group in groups), "s")[0]
        areas.append(area.value)
        covered += area.low <= 0.5 <= area.high
    assert sum(areas) / 200 == pytest.approx(0.5, abs=0.01) and covered >= 186


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.01, 0.002]))
def test_scores_of_members_never_move_the_threshold(seed, rate):
    """Whether a member is found depends on its own score and on the non-members alone."""
    members, others = draw(seed, 60) * 3, draw(seed + 1, 5000)
    alone = [tpr_at_fpr(one[None], others, "s", fpr=rate).value for one in members]
    together = tpr_at_fpr(members, others, "s", fpr=rate).value
    assert together == pytest.approx(sum(alone) / len(members))
