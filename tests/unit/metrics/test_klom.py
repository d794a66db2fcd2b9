"""KLoM against NumPy's histograms, at its ends, and its null."""

import math

import numpy as np
import pytest
import torch

from unspan.errors import DataError
from unspan.metrics.klom import FLOOR, divergences, klom, null_divergences

MOST = math.log(1 / FLOOR)


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(p, q):
    found = []
    for one, other in zip(p.T.numpy().clip(-100, 100), q.T.numpy().clip(-100, 100), strict=True):
        ends = (min(one.min(), other.min()), max(one.max(), other.max()))
        a, b = (np.histogram(x, 20, ends)[0] / len(x) for x in (one, other))
        found.append(sum(x * math.log(x / max(y, 1e-5)) for x, y in zip(a, b, strict=True) if x))
    return torch.tensor(found)


def test_it_is_the_definition_with_histograms_of_numpy():
    p, q = 30 * draw(0, 40, 12), 60 * draw(1, 25, 12) + 20
    found = klom(p, q)
    assert torch.allclose(found.each, slow(p, q), atol=1e-9)
    assert found.mean == pytest.approx(float(found.each.mean()))
    assert found.tail == pytest.approx(float(found.each.quantile(0.95)))
    assert found.models == (40, 25)


@pytest.mark.parametrize("far", [50.0, 1e4, math.inf])
def test_networks_that_share_no_margin_get_the_largest_divergence_also_at_the_clip(far):
    near = 0.01 * draw(0, 30, 4)  # in one bin of the range
    assert torch.allclose(divergences(near + far, near), torch.full((4,), MOST).double())
    assert torch.allclose(divergences(near - far, near), torch.full((4,), MOST).double())


def test_equal_margins_have_no_divergence():
    p = draw(0, 30, 4)
    assert float(divergences(p, p.flip(0)).abs().max()) < 1e-12
    still = torch.full((9, 2), 500.0)
    assert float(divergences(still, still).abs().max()) == 0


def test_the_null_is_what_equal_networks_get():
    null = null_divergences(100, 100)
    assert float(null.mean()) == pytest.approx(0.35, abs=0.03)
    found = klom(3 * draw(0, 100, 400) + 7, 3 * draw(1, 100, 400) + 7)
    assert found.null_mean == pytest.approx(float(null.mean()))
    assert found.mean == pytest.approx(found.null_mean, abs=0.05)
    assert found.null_tail > found.null_mean


def test_shapes_that_do_not_fit_and_nan_are_refused():
    for wrong in ((draw(0, 3, 4), draw(0, 3, 5)), (draw(0, 3), draw(0, 3)), (draw(0, 0, 4),) * 2):
        with pytest.raises(DataError, match="KLoM needs"):
            klom(*wrong)
    bad = draw(0, 3, 4)
    bad[0, 0] = math.nan
    with pytest.raises(DataError, match="numbers"):
        klom(bad, draw(0, 3, 4))
