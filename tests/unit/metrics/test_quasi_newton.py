"""L-BFGS ends where Newton does, and takes over where features are wide."""

import pytest
import torch
from probe_data import planted

from unspan.errors import DataError
from unspan.metrics import linear, newton, quasi_newton
from unspan.metrics.linear import fit_linear
from unspan.metrics.logistic import Problem
from unspan.metrics.probes import moments


def problem(seed, n, d, classes, *, weighted=False):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=generator)
    x = torch.randn(n, d, generator=generator) + 0.4 * torch.nn.functional.one_hot(y, d)
    weights = torch.ones(n, dtype=torch.float64)
    if weighted:
        weights = torch.rand(n, generator=generator, dtype=torch.float64)
        weights[:7] = 0
    return Problem(x, y, weights, classes, *moments(x, weights))


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_ends_where_newton_does(classes, c, weighted):
    given = problem(classes, 300, 20, classes, weighted=weighted)
    exact = newton.minimise(given, c, seed=0, tolerance=1e-9, limit=5000)
    found = quasi_newton.minimise(given, c, tolerance=1e-6, limit=5000)
    assert found.gradient <= 1e-6
    assert abs(found.objective / exact.objective - 1) <= 3e-9
    assert torch.allclose(found.theta, exact.theta, atol=1e-3)


def test_from_where_it_ended_it_goes_no_further():
    given = problem(0, 200, 12, 4)
    found = quasi_newton.minimise(given, 1.0, tolerance=1e-6, limit=1000)
    again = quasi_newton.minimise(given, 1.0, tolerance=1e-6, limit=1000, start=found.theta)
    assert again.iterations == 1 and torch.equal(again.theta, found.theta)


def test_the_limit_counts_gradients_and_the_result_says_how_far_it_came():
    given = problem(0, 200, 12, 4)
    found = quasi_newton.minimise(given, 100.0, tolerance=1e-9, limit=5)
    assert found.iterations <= 5 and 1e-9 < found.gradient < 1


def test_features_that_are_not_finite_are_refused():
    given = problem(0, 50, 5, 2)
    given.features[3, 2] = float("nan")
    with pytest.raises(DataError, match="not finite"):
        quasi_newton.minimise(given, 1.0, tolerance=1e-6, limit=10)


def test_wide_features_of_few_rows_take_it_and_the_probe_is_the_same(monkeypatch):
    fit, _ = planted(gap=1.5, n=40)
    d = fit.features.shape[1]
    before = fit_linear(fit.features, fit.labels, 5)
    used = []
    minimise = quasi_newton.minimise
    monkeypatch.setattr(
        quasi_newton, "minimise", lambda *a, **k: used.append(1) or minimise(*a, **k)
    )
    for wide, rows, taken in ((d, 4, True), (d + 1, 4, False), (d, 3, False)):
        monkeypatch.setattr(linear, "_WIDE", wide)
        monkeypatch.setattr(linear, "_ROWS", rows)
        used.clear()
        found = fit_linear(fit.features, fit.labels, 5)
        assert bool(used) == taken and found.c == before.c
        assert torch.allclose(found.weight, before.weight, atol=1e-3)
