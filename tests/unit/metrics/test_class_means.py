"""Nearest class means and their angle to the head, on features whose answers are known."""

import math

import pytest
import torch

from unspan.errors import DataError
from unspan.metrics.class_means import class_means, misalignment, nearest_mean_accuracy
from unspan.metrics.outputs import Outputs


def collapsed(classes=5, each=6, noise=0.0, seed=0):
    """Features at the corners of a simplex around 3, and their labels."""
    corners = 3 + torch.eye(classes) - 1 / classes
    labels = torch.arange(classes * each) % classes
    g = torch.Generator().manual_seed(seed)
    return corners[labels] + noise * torch.randn(len(labels), classes, generator=g), labels


def outputs(features, labels, forget):
    return Outputs(features=features, logits=None, labels=labels, forget=labels == forget)


def test_a_collapsed_simplex_is_named_by_its_means_and_its_head_points_at_them():
    features, labels = collapsed()
    part = outputs(features, labels, 2)
    assert nearest_mean_accuracy(part, part, "test forget").value == 1
    weight = torch.eye(5) - 1 / 5
    assert misalignment(features, labels, 7 * weight, "s").value == pytest.approx(0, abs=1e-6)
    assert misalignment(features, labels, -weight, "s").value == pytest.approx(2, abs=1e-6)
    other = torch.roll(weight, 1, 0)
    assert misalignment(features, labels, other, "s").value == pytest.approx(1.25, abs=1e-6)


def test_the_nearest_mean_is_the_obvious_computation():
    features, labels = collapsed(noise=0.6)
    fit, test = outputs(features, labels, 1), outputs(*collapsed(noise=0.6, seed=1), 1)
    means = [features[labels == one].double().mean(0) for one in range(5)]
    hits = [
        min(range(5), key=lambda k, x=x: float((x.double() - means[k]).norm())) == 1
        for x in test.features[test.forget]
    ]
    found = nearest_mean_accuracy(fit, test, "test forget")
    assert 0 < sum(hits) < len(hits) == found.n
    assert found.value == pytest.approx(sum(hits) / len(hits)) and found.low < found.value


def test_a_class_without_samples_is_no_answer_and_no_samples_no_score():
    features, labels = collapsed()
    kept = labels != 3
    fit = outputs(features[kept], labels[kept], 2)
    assert bool(class_means(fit.features, fit.labels, 5)[3].isnan().all())
    test = outputs(features, labels, 3)
    assert nearest_mean_accuracy(fit, test, "s").value == 0
    assert misalignment(fit.features, fit.labels, torch.eye(5), "s").n == 4
    assert nearest_mean_accuracy(fit, outputs(features, labels, 9), "s").value is None
    assert not math.isnan(misalignment(fit.features, fit.labels, torch.eye(5), "s").value)
    with pytest.raises(DataError, match="no row"):
        misalignment(features, labels, torch.eye(5)[:3], "s")
