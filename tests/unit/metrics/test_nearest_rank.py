"""The rank of the nearest retained sample against a slow computation, and at its null."""

import pytest
import torch
from torch.nn.functional import normalize

from unspan.metrics import nearest_rank as module
from unspan.metrics.nearest_rank import nearest_rank
from unspan.metrics.outputs import Outputs


def outputs(features, forget):
    mark = torch.arange(len(features)) < forget
    return Outputs(features=features, logits=None, labels=mark.long(), forget=mark)


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow(part):
    unit = normalize(part.features.double(), dim=1)
    cosine = unit @ unit.mT
    kept = (~part.forget).nonzero()[:, 0].tolist()
    own = [max(float(cosine[i, j]) for j in kept if j != i) for i in kept]
    ranks = []
    for i in part.forget.nonzero()[:, 0].tolist():
        near = max(float(cosine[i, j]) for j in kept)
        ranks.append(sum(one < near for one in own) + sum(one == near for one in own) / 2)
    return sum(ranks) / len(ranks) / len(own)


def test_it_is_the_slow_computation():
    part = outputs(draw(0, 90, 5) + 0.3, 30)
    assert nearest_rank(part, "s").value == pytest.approx(slow(part), abs=1e-9)


def test_samples_like_the_others_rank_at_a_half():
    found = [nearest_rank(outputs(draw(seed, 600, 8), 200), "s") for seed in range(6)]
    deviations = [one.detail["deviations_from_half"] for one in found]
    assert max(map(abs, deviations)) < 4 and abs(sum(deviations)) / 6**0.5 < 3
    assert found[0].high - found[0].low == pytest.approx(2 * 1.96 / (12 * 200) ** 0.5)


def test_samples_apart_rank_low_and_copies_rank_high():
    features = draw(0, 300, 8)
    features[:100] = -5 - features[:100].abs()
    features[100:] = features[100:].abs() + 1
    assert nearest_rank(outputs(features, 100), "s").value < 0.01
    copies = torch.cat([features[100:150], features[100:]])
    assert nearest_rank(outputs(copies, 50), "s").value > 0.95


def test_equal_features_tie_at_a_half_and_copies_in_the_retain_set_count():
    same = outputs(torch.ones(60, 4), 20)
    assert nearest_rank(same, "s").value == pytest.approx(0.5)
    features = draw(0, 40, 4)
    part = outputs(torch.cat([features[:10], features, features]), 10)
    assert nearest_rank(part, "s").value == pytest.approx(0.5)  # every cosine is 1


def test_at_most_so_many_samples_are_compared_and_one_kind_is_not_enough(monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 25)
    found = nearest_rank(outputs(draw(0, 200, 6), 80), "s")
    assert found.n == 25 == found.detail["retained"]
    assert nearest_rank(outputs(draw(0, 9, 6), 9), "s").value is None
    assert nearest_rank(outputs(draw(0, 9, 6), 0), "s").value is None
    assert nearest_rank(outputs(draw(0, 9, 6), 1), "s").n == 1
