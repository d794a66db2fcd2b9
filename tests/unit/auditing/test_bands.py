"""Where one more retrained network would lie."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from unspan.auditing.bands import PRIOR_FREEDOM, band


def test_three_values_by_hand():
    values, sampling = [0.60, 0.62, 0.67], [0.0004, 0.0004, 0.0004]
    found = band(values, sampling, intervals=5)
    expected = 0.5 * 0.0004 + 0.02**2
    squares = sum((value - 0.63) ** 2 for value in values)
    variance = (PRIOR_FREEDOM * expected + squares) / (PRIOR_FREEDOM + 2)
    half = t.ppf(1 - 0.05 / 10, PRIOR_FREEDOM + 2) * (variance * (1 + 1 / 3)) ** 0.5
    assert found.centre == pytest.approx(0.63) and found.freedom == PRIOR_FREEDOM + 2
    assert found.half == pytest.approx(half) and found.deviation == pytest.approx(variance**0.5)


def test_one_network_has_the_expected_deviation():
    found = band([0.6], [0.0004], 1)
    assert found.freedom == PRIOR_FREEDOM
    assert found.deviation == pytest.approx((0.5 * 0.0004 + 0.02**2) ** 0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(1, 30))
@settings(deadline=None)
def test_more_intervals_are_wider_and_more_networks_narrower(values, intervals):
    sampling = [0.001] * len(values)
    found = band(values, sampling, intervals)
    assert found.low < found.centre < found.high
    assert band(values, sampling, intervals + 1).half > found.half
    twice = band(values * 2, sampling * 2, intervals)
    if max(values) == min(values):
        assert twice.half < found.half


@pytest.mark.parametrize("networks", [1, 2, 3, 5])
@pytest.mark.parametrize("deviation", [0.02, 0.03])
def test_one_more_network_is_inside_as_often_as_said(networks, deviation):
    """Also where the deviation is half as large again as the samples let expect."""
    generator = torch.Generator().manual_seed(networks)
    draws = 0.6 + deviation * torch.randn(
        4000, networks + 1, generator=generator, dtype=torch.float64
    )
    inside = 0
    for one, *values in draws.tolist():
        found = band(values, [0.0] * networks, 1)
        inside += found.low <= one <= found.high
    assert inside / 4000 >= (0.945 if deviation == 0.02 else 0.83)


def test_so_many_samples_narrow_the_band_as_asked():
    def of(samples):
        return band([0.6, 0.6, 0.6], [0.25 / samples] * 3, 5)

    now = of(50)
    wanted = now.half / 2
    enough = now.samples_for(wanted, 50)
    assert of(enough).half == pytest.approx(wanted, rel=0.1)
    assert now.samples_for(now.half / 100, 50) is None


def apart(networks, deviation):
    """So many values with that deviation."""
    values = torch.arange(networks, dtype=torch.float64)
    return (0.6 + deviation * (values - values.mean()) / values.std()).tolist()


def test_so_many_networks_narrow_the_band_as_asked():
    now = band(apart(2, 0.03), [0.001] * 2, 5)
    wanted = 0.85 * now.half
    enough = now.networks_for(wanted)
    assert enough > 3
    around = {n: band(apart(n, 0.03), [0.001] * n, 5).half for n in (enough - 1, enough)}
    assert around[enough] <= wanted < around[enough - 1]
    assert now.networks_for(now.half / 100) is None
