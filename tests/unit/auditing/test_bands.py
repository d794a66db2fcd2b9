"""Where one more retrained network would lie."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from unspan.auditing.bands import PRIOR_FREEDOM, band, own_variance
from unspan.metrics.score import Reading, auc_reading


def test_three_values_by_hand():
    values = [0.60, 0.62, 0.67]
    found = band(values, 0.0002, intervals=5)
    expected = 0.0002 + 0.02**2
    squares = sum((value - 0.63) ** 2 for value in values)
    variance = (PRIOR_FREEDOM * expected + squares) / (PRIOR_FREEDOM + 2)
    half = t.ppf(1 - 0.05 / 10, PRIOR_FREEDOM + 2) * (variance * (1 + 1 / 3)) ** 0.5
    assert found.centre == pytest.approx(0.63) and found.freedom == PRIOR_FREEDOM + 2
    assert found.half == pytest.approx(half) and found.deviation == pytest.approx(variance**0.5)


def test_one_network_has_the_expected_deviation():
    found = band([0.6], 0.0002, 1)
    assert found.freedom == PRIOR_FREEDOM
    assert found.deviation == pytest.approx((0.0002 + 0.02**2) ** 0.5)


def networks(shared, count=3, n=200, draws=1, unit="share"):
    """What an attacker reads in networks that err on the same samples, but for a part of them.

    Args:
        shared: probability that a sample is read in all networks or in none.
        count: networks.
        n: samples.
        draws: seed.
        unit: of the readings.
    """
    generator = torch.Generator().manual_seed(draws)

    def uniform():
        return torch.rand(n, generator=generator, dtype=torch.float64)

    together, same, other = uniform() < shared, uniform(), uniform()
    found = []
    for _ in range(count):
        drawn = torch.where(together, same, uniform())
        if unit == "AUC":
            found.append(auc_reading("attack", drawn + 0.3, other))
        else:
            hits = (drawn < 0.7).double()
            found.append(Reading(attack="attack", unit="share", forget=hits))
    return [[one] for one in found]


@pytest.mark.parametrize("unit", ["share", "AUC"])
@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
def test_the_part_not_shared_is_that_of_the_spread_over_draws(shared, unit):
    """Over many draws of the samples, networks differ by the variance that one draw tells."""
    spread = []
    for draws in range(300):
        values = torch.tensor(
            [one.advantage for (one,) in networks(shared, n=1000, draws=draws, unit=unit)]
        )
        spread.append(values.var().item())
    told = [own_variance(networks(shared, n=1000, draws=draws, unit=unit)) for draws in range(50)]
    assert sum(told) / 50 == pytest.approx(sum(spread) / 300, rel=0.25)


def test_of_one_network_half_of_the_variance_is_assumed():
    ((one,),) = networks(0.5, count=1)
    assert own_variance([[one]]) == pytest.approx(one.sampling_variance / 2)


@pytest.mark.parametrize("unit", ["share", "AUC"])
def test_networks_that_err_alike_leave_the_misses_that_few_samples_hide(unit):
    few, many = (own_variance(networks(1.0, n=n, unit=unit)) for n in (20, 2000))
    assert 0 < many < 1e-6 < 1e-4 < few


def test_false_positives_that_move_alone_count():
    """Also where two networks read the forgotten samples alike."""
    hits = torch.ones(100, dtype=torch.float64)
    alarms = [(torch.arange(100) % 4 == place).double() for place in (0, 1)]
    found = [[Reading(attack="a", unit="share", forget=hits, alarms=own)] for own in alarms]
    calm = [[Reading(attack="a", unit="share", forget=hits, alarms=alarms[0])]] * 2
    assert own_variance(found) > 10 * own_variance(calm)


def test_attacks_that_are_judged_on_other_samples_are_not_compared():
    """One attack reads fewer retained samples; which is the strongest differs by network."""
    hits = (torch.arange(50) < 40).double()
    few, many = torch.zeros(20, dtype=torch.float64), torch.zeros(90, dtype=torch.float64)

    def read(attack, alarms, misses=0):
        forget = hits * (torch.arange(50) >= misses)
        return Reading(attack=attack, unit="share", forget=forget, alarms=alarms)

    found = [
        [read("a", few), read("b", many, misses=3)],
        [read("a", few, misses=3), read("b", many)],
    ]
    strongest = [max(own, key=lambda one: one.advantage).attack for own in found]
    assert strongest == ["a", "b"]
    by_hand = (found[0][0].paired_variance(found[1][0]) / 2) + (
        found[1][1].paired_variance(found[0][1]) / 2
    )
    assert own_variance(found) == pytest.approx(by_hand / 2)


def test_an_attack_turned_round_is_the_same_attack():
    """An AUC below 1/2 is used the other way round, and the samples are compared so."""
    (one,), (other,) = networks(0.9, count=2, unit="AUC")
    turned = Reading(attack="a", unit="AUC", forget=1 - other.forget, rest=1 - other.rest)
    assert one.paired_variance(turned) == pytest.approx(one.paired_variance(other))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(1, 30))
@settings(deadline=None)
def test_more_intervals_are_wider_and_more_networks_narrower(values, intervals):
    found = band(values, 0.0005, intervals)
    assert found.low < found.centre < found.high
    assert band(values, 0.0005, intervals + 1).half > found.half
    twice = band(values * 2, 0.0005, intervals)
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
        found = band(values, 0.0, 1)
        inside += found.low <= one <= found.high
    assert inside / 4000 >= (0.945 if deviation == 0.02 else 0.83)


def test_so_many_samples_narrow_the_band_as_asked():
    def of(samples):
        return band([0.6, 0.6, 0.6], 0.125 / samples, 5)

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
    now = band(apart(2, 0.03), 0.0005, 5)
    wanted = 0.85 * now.half
    enough = now.networks_for(wanted)
    assert enough > 3
    around = {n: band(apart(n, 0.03), 0.0005, 5).half for n in (enough - 1, enough)}
    assert around[enough] <= wanted < around[enough - 1]
    assert now.networks_for(now.half / 100) is None
