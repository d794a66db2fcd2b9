"""The interval of a paired loss: against brute force, and how often it is wrong."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, binomtest, norm

from unspan.metrics.paired import lowest_share, paired_bounds, score


def by_brute_force(lost, gained, n, loss):
    """The score statistic with the nuisance rate that makes the counts most likely."""

    def unlikely(only_gained):
        rates = only_gained + loss, only_gained, 1 - 2 * only_gained - loss
        counts = lost, gained, n - lost - gained
        terms = zip(counts, rates, strict=True)
        return -sum(k * np.log(max(rate, 1e-300)) for k, rate in terms if k)

    bounds = max(0.0, -loss), (1 - loss) / 2
    best = minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-10}).x
    variance = n * (2 * best + loss - loss**2)
    return (lost - gained - n * loss) / variance**0.5


@pytest.mark.parametrize(
    ("lost", "gained", "n"), [(20, 4, 200), (3, 1, 20), (60, 10, 1000), (5, 5, 50), (1, 9, 40)]
)
@pytest.mark.parametrize("loss", [-0.1, 0.0, 0.02, 0.15])
def test_the_statistic_is_the_score_at_the_most_likely_nuisance(lost, gained, n, loss):
    found = score(lost, gained, n, loss)
    assert found == pytest.approx(by_brute_force(lost, gained, n, loss), abs=2e-4)


@pytest.mark.parametrize(("lost", "gained", "n"), [(20, 4, 200), (2, 7, 30), (9, 0, 9), (0, 0, 5)])
def test_bounds_enclose_the_estimate_and_mirror_each_other(lost, gained, n):
    low, high = paired_bounds(lost, gained, n)
    assert -1 <= low <= (lost - gained) / n <= high <= 1
    assert paired_bounds(gained, lost, n) == pytest.approx((-high, -low))


def test_the_lower_bound_solves_for_the_level_or_is_the_exact_one():
    low, _ = paired_bounds(60, 10, 1000, 0.95)
    assert score(60, 10, 1000, low) == pytest.approx(norm.ppf(0.95), abs=1e-6)
    low, _ = paired_bounds(9, 0, 300, 0.95)
    assert low == pytest.approx(binomtest(9, 300).proportion_ci(0.90, "exact").low)
    assert lowest_share(9, 300) == pytest.approx(low)
    assert paired_bounds(0, 0, 0) == (-1.0, 1.0)


@pytest.mark.parametrize(("n", "level"), [(30, 0.95), (100, 0.995), (200, 0.95)])
@pytest.mark.parametrize("gained", [0.0, 0.01, 0.1])
def test_a_loss_at_the_limit_is_found_too_high_in_few_samples(n, level, gained):
    """All outcomes are counted, with their exact probability."""
    limit = 0.02
    chances = binom.pmf(np.arange(n + 1), n, limit + gained)
    wrong = 0.0
    for lost in np.flatnonzero(chances > 1e-9).tolist():
        others = binom.pmf(np.arange(n - lost + 1), n - lost, gained / (1 - limit - gained))
        for more in range(n - lost + 1):  # the bound falls with every gained sample
            if paired_bounds(lost, more, n, level)[0] <= limit:
                break
            wrong += chances[lost] * others[more]
    assert wrong <= 1.4 * (1 - level)


@pytest.mark.parametrize("classes", [1, 10])
@pytest.mark.parametrize("churn", [0.005, 0.05])
def test_a_harmless_change_is_refused_in_at_most_one_run_of_twenty(classes, churn):
    """As many samples turn wrong as turn right, in every class; 2 points may be lost."""
    random = np.random.default_rng(0)
    n, level, runs = 200, 1 - 0.05 / classes, 200
    refused = 0
    for _ in range(runs):
        lost, gained = random.binomial(n, churn, (2, classes))
        pairs = zip(lost.tolist(), gained.tolist(), strict=True)
        refused += any(paired_bounds(a, b, n, level)[0] > 0.02 for a, b in pairs)
    assert refused <= 0.05 * runs


def test_a_class_that_is_lost_is_seen_with_twenty_samples_of_each_of_ten():
    assert paired_bounds(16, 0, 20, 1 - 0.05 / 10)[0] > 0.3
