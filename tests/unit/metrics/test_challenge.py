"""The score of the unlearning challenge against its rules written out, and what it says of models
that are equal, disjoint, or drawn alike.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unspan.errors import DataError
from unspan.metrics.challenge import CAP, challenge_score, forgetting_quality


def draws(seed, models, samples):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(models, samples, generator=generator, dtype=torch.float64)


def epsilon_written_out(unlearned, retrained):
    """Best epsilon over every rule of the release, each with what it says of every model."""
    is_higher = np.median(retrained) > np.median(unlearned)
    higher, lower = (retrained, unlearned) if is_higher else (unlearned, retrained)
    both = np.concatenate([higher, lower])
    steps = np.linspace(both.min(), both.max(), math.ceil(np.ptp(both) * 100))[:, None]
    rules = [(higher >= steps, lower >= steps)]
    narrow, wide = sorted((unlearned, retrained), key=np.ptp)
    width = np.ptp(narrow)
    for right in np.linspace(narrow.max() - 2, narrow.max() + 2, 400):
        left = np.linspace(right - width - 2, right - width + 2, 400)[:, None]
        rules.append(tuple((left <= kind) & (kind <= right) for kind in (narrow, wide)))
    best = -math.inf
    for positive, negative in rules:
        for missed, false in zip(1 - positive.mean(1), negative.mean(1), strict=True):
            if missed == false == 0:
                return CAP
            if missed == 0 or false == 0:
                continue
            for one, other in ((missed, false), (false, missed)):
                if 1 - 1e-5 - one > 0:
                    best = max(best, math.log(1 - 1e-5 - one) - math.log(other))
    return min(max(best, 0.0), CAP)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.7]), st.sampled_from([0.5, 1.0]))
def test_epsilon_is_the_best_over_all_rules_written_out(seed, shift, scale):
    unlearned, retrained = draws(seed, 8, 1) * scale + shift, draws(seed + 1, 8, 1)
    wanted = epsilon_written_out(unlearned[:, 0].numpy(), retrained[:, 0].numpy())
    assert forgetting_quality(unlearned, retrained).epsilons[0] == pytest.approx(wanted)


def test_the_same_models_twice_score_one_and_disjoint_ones_nothing():
    models = draws(0, 40, 6)
    assert forgetting_quality(models, models).value == 1
    assert forgetting_quality(models, models + 100).value == 0
    constant = torch.ones(40, 6)
    assert forgetting_quality(constant, constant).value == 1
    assert forgetting_quality(constant, constant + 1).value == 0
    assert forgetting_quality(constant, models).value == 0


def test_models_drawn_alike_score_far_below_one():
    """Perfect unlearning is told from retraining a little, by chance: the null has to be shown."""
    found = forgetting_quality(draws(1, 512, 60), draws(2, 512, 60)).value
    assert 0.13 < found < 0.23
    shifted = forgetting_quality(draws(1, 512, 60) + 1, draws(2, 512, 60)).value
    assert shifted < found / 2


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(-50, 50))
def test_what_must_not_change_the_score(seed, shift):
    unlearned, retrained = draws(seed, 12, 3), draws(seed + 1, 12, 3) + 0.5
    kept = unlearned.clone(), retrained.clone()
    found = forgetting_quality(unlearned, retrained)
    assert torch.equal(unlearned, kept[0]) and torch.equal(retrained, kept[1])
    order = torch.randperm(12)
    again = forgetting_quality(unlearned[order], retrained[order.flip(0)])
    np.testing.assert_array_equal(found.epsilons, again.epsilons)
    assert 0 <= found.value <= 1
    moved = forgetting_quality(unlearned + 100, retrained + 100 + shift)
    assert (moved.value == 0) if abs(shift) > 20 else 0 <= moved.value <= 1


def test_epsilons_become_points_in_halves():
    """One of four samples is told apart, three are not: the mean of 0, 1, 1 and 1."""
    models = draws(3, 20, 4)
    other = models.clone()
    other[:, 2] += 100
    assert forgetting_quality(models, other).value == 0.75


def test_ratios_of_accuracy_multiply():
    assert challenge_score(0.5, (0.9, 0.9), (0.8, 0.8)) == pytest.approx(0.5)
    assert challenge_score(0.5, (0.45, 0.9), (0.8, 0.4)) == pytest.approx(0.5)
    with pytest.raises(DataError, match="no ratio"):
        challenge_score(0.5, (0.9, 0.0), (0.8, 0.8))


def test_what_does_not_fit_is_refused():
    models = draws(0, 5, 4)
    for pair in ((models, models[:4]), (models[:, :0], models[:, :0]), (models[0], models[0])):
        with pytest.raises(DataError, match="needs"):
            forgetting_quality(*pair)
    with pytest.raises(DataError, match="3 models"):
        forgetting_quality(models[:2], models[:2])
    with pytest.raises(DataError, match="finite"):
        forgetting_quality(models * torch.nan, models)
