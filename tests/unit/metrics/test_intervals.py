"""Intervals of the audit cover the truth as often as they say, over simulated draws with a known
truth.
"""

import math

import numpy as np
import pytest
import torch
from scipy.stats import beta, binomtest, norm

from unspan.metrics.membership import tpr_at_fpr
from unspan.metrics.score import auc_interval, auc_reading, mean_interval, share_interval

DRAWS = 1000


pytestmark = pytest.mark.usefixtures("one_thread")


def scores(generator, n, m, area, shape):
    """Scores of two groups whose true AUC is `area`."""
    draw = lambda size: torch.randn(size, generator=generator)  # noqa: E731
    if shape == "equal spread":
        return draw(n) + math.sqrt(2) * norm.ppf(area), draw(m)
    if shape == "wide":
        return 3 * draw(n) + math.sqrt(10) * norm.ppf(area), draw(m)
    return draw(n) + 50 * (torch.rand(n, generator=generator) < 2 * area - 1), draw(
        m
    )  # some far away, others alike


def auc_coverage(n, m, area, shape, interval=auc_interval, draws=DRAWS):
    generator = torch.Generator().manual_seed(n * 7 + m)
    hits = 0
    for _ in range(draws):
        reading = auc_reading("x", *scores(generator, n, m, area, shape))
        low, high = interval(reading.forget, reading.rest)
        hits += low <= area <= high
    return hits / draws


@pytest.mark.parametrize("n", [10, 50, 100, 1000])
@pytest.mark.parametrize("truth", [0.001, 0.05, 0.5, 0.9, 1.0])
def test_exact_share_intervals_never_cover_less_than_promised(n, truth):
    hits = np.random.default_rng(n).binomial(n, truth, DRAWS)
    ends = {k: share_interval(k, n) for k in np.unique(hits).tolist()}
    covered = np.mean([ends[k][0] - 1e-12 <= truth <= ends[k][1] + 1e-12 for k in hits.tolist()])
    assert covered >= 0.93


def test_share_intervals_are_those_of_scipy():
    for n in (1, 3, 50, 1000):
        for k in {0, 1, n // 3, n - 1, n}:
            for level in (0.95, 0.975):
                exact = binomtest(k, n).proportion_ci(level)
                assert share_interval(k, n, level) == pytest.approx(
                    (exact.low, exact.high), abs=1e-9
                )


@pytest.mark.parametrize(("n", "m"), [(50, 50), (50, 500), (500, 50), (100, 100), (1000, 1000)])
@pytest.mark.parametrize("area", [0.5, 0.75, 0.9])
def test_auc_intervals_cover_between_93_and_97_5_percent(n, m, area):
    assert 0.93 <= auc_coverage(n, m, area, "equal spread") <= 0.975


@pytest.mark.parametrize("shape", ["wide", "mixture"])
@pytest.mark.parametrize("area", [0.5, 0.75, 0.9])
def test_auc_intervals_hold_for_other_shapes_of_scores(shape, area):
    assert 0.93 <= auc_coverage(60, 200, area, shape) <= 0.98


@pytest.mark.parametrize(("n", "m"), [(10, 10), (10, 500), (50, 500), (500, 50), (100, 900)])
@pytest.mark.parametrize("shape", ["equal spread", "wide"])
def test_auc_intervals_of_few_samples_near_1_err_on_the_wide_side(n, m, shape):
    assert auc_coverage(n, m, 0.98, shape) >= 0.93


def test_the_plain_delong_interval_would_fail_there():
    def plain(forget, rest):
        area = float(forget.mean())
        variance = float(forget.var()) / len(forget) + float(rest.var()) / len(rest)
        if not 0 < area < 1 or variance == 0:
            return share_interval(area * min(len(forget), len(rest)), min(len(forget), len(rest)))
        step, middle = 1.96 * math.sqrt(variance) / (area * (1 - area)), math.log(area / (1 - area))
        return 1 / (1 + math.exp(step - middle)), 1 / (1 + math.exp(-step - middle))

    assert auc_coverage(50, 500, 0.98, "equal spread", plain) < 0.93


def test_auc_intervals_are_symmetric_and_inside_0_and_1():
    forget, rest = torch.arange(40.0), torch.arange(30.0) + 5.5
    low, high = auc_reading("x", forget, rest).interval()
    other = auc_reading("x", -forget, -rest).interval()
    assert 0 < low < high < 1 and other == pytest.approx((1 - high, 1 - low))
    perfect = auc_reading("x", forget + 100, rest).interval()
    assert perfect == share_interval(30, 30)


def test_auc_equals_scikit_learn_with_ties():
    from sklearn.metrics import roc_auc_score

    generator = torch.Generator().manual_seed(3)
    forget, rest = (
        torch.randint(0, 9, (70,), generator=generator),
        torch.randint(0, 8, (90,), generator=generator),
    )
    reading = auc_reading("x", forget, rest)
    truth = roc_auc_score([1] * 70 + [0] * 90, torch.cat([forget, rest]).numpy())
    assert reading.value == pytest.approx(truth, abs=1e-12) and float(
        reading.rest.mean()
    ) == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("n", [10, 50, 100, 1000])
@pytest.mark.parametrize(("a", "b"), [(0.02, 1.0), (0.3, 0.3), (1.0, 8.0)])
def test_intervals_of_mean_probabilities_cover(n, a, b):
    draws = beta(a, b).rvs((DRAWS, n), random_state=n)
    truth = a / (a + b)
    ends = [mean_interval(torch.from_numpy(row)) for row in draws[:: 4 if n == 1000 else 1]]
    assert np.mean([low <= truth <= high for low, high in ends]) >= 0.93


def test_intervals_of_means_round_outwards():
    assert mean_interval(torch.tensor([0.5])) == (0.0, 1.0)
    assert mean_interval(torch.tensor([0.5, 1.0, 1.0])) == (share_interval(2, 3)[0], 1.0)


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_intervals_of_tpr_at_1_percent_fpr_cover(shift):
    generator = torch.Generator().manual_seed(1)
    truth = float(norm.sf(norm.isf(0.01) - shift))
    found = [
        tpr_at_fpr(
            torch.randn(300, generator=generator) + shift,
            torch.randn(1000, generator=generator),
            "s",
        )
        for _ in range(DRAWS)
    ]
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.93
    assert np.mean([one.value for one in found]) == pytest.approx(truth, abs=0.015)
    assert all(one.low <= one.value <= one.high for one in found)
