"""Marginal distributions by quantiles, against SciPy and NumPy."""

import pytest
import torch

from unspan.erasers import quantiles
from unspan.erasers.quantiles import QUANTILE_LEVELS, interpolated, normal_scores, quantiles_of

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_normal_scores_are_those_of_ranks():
    from scipy.stats import norm, rankdata

    z = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).exp()
    own = torch.quantile(z, QUANTILE_LEVELS, dim=0).mT
    want = norm.ppf((rankdata(z.numpy(), axis=0) - 0.5) / len(z)).clip(-3, 3)
    assert float((normal_scores(z, own) - torch.from_numpy(want)).abs().mean()) < 0.02
    silent = torch.zeros(50, 1, dtype=torch.float64)
    assert float(normal_scores(silent, torch.zeros(1, 21, dtype=torch.float64)).std()) < 1e-9


def test_piecewise_linear_maps_are_those_of_numpy():
    import numpy as np

    knots = torch.sort(torch.randn(3, 6, dtype=torch.float64), 1).values
    levels = torch.sort(torch.randn(3, 6, dtype=torch.float64), 1).values
    t = torch.empty(40, 3, dtype=torch.float64).uniform_(
        float(knots[:, 0].max()),
        float(knots[:, -1].min()),
        generator=torch.Generator().manual_seed(0),
    )
    want = np.stack([np.interp(t[:, i], knots[i], levels[i]) for i in range(3)], 1)
    assert np.allclose(interpolated(t, knots, levels.expand(40, -1, -1)), want)
    slope = (levels[:, -1] - levels[:, -2]) / (knots[:, -1] - knots[:, -2])
    assert torch.allclose(
        interpolated(knots[:, -1][None] + 2, knots, levels[None])[0], levels[:, -1] + 2 * slope
    )


def test_parts_give_what_the_whole_gives(monkeypatch):
    z = torch.randn(500, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = quantiles_of(z)
    scores = normal_scores(z, whole)
    monkeypatch.setattr(quantiles, "_CHUNK", 900)
    assert torch.equal(quantiles_of(z), whole)
    assert torch.equal(normal_scores(z, whole), scores)
