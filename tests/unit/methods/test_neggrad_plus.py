"""NegGrad+ descends on a weighted difference of losses."""

import copy
from dataclasses import replace

import pytest
import torch
from small_network import ONE, stacked
from torch.nn.functional import cross_entropy

import unspan
from unspan.methods.neggrad import ascent
from unspan.methods.neggrad_plus import NegGradPlus, drawn_like

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_neggrad_plus_takes_the_weighted_difference_of_gradients(case):
    net, request, _ = case
    whole = replace(ONE, batch=1000, lr=0.1)
    done = unspan.erase(
        net, request, NegGradPlus(alpha=0.7, training=whole), check_labels=False, measure=False
    )
    want = copy.deepcopy(net)
    loss = sum(
        weight * cross_entropy(want(x), y)
        for weight, (x, y) in ((0.7, stacked(request.retain)), (-0.3, stacked(request.forget)))
    )
    for one, grad in zip(
        want.parameters(), torch.autograd.grad(loss, list(want.parameters())), strict=True
    ):
        with torch.no_grad():
            one -= 0.1 * grad
    for one, other in zip(done.model.parameters(), want.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_every_sample_has_a_ceiling_from_its_own_class():
    stream = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    values, classes = torch.tensor([1.0, 2.0, 10.0, 20.0]), torch.tensor([0, 0, 1, 1])
    drawn = drawn_like(labels, values, classes, stream)
    for label, own in ((0, {1.0, 2.0}), (1, {10.0, 20.0}), (2, {1.0, 2.0, 10.0, 20.0})):
        assert set(drawn[labels == label].tolist()) == own


def test_a_sample_at_its_own_ceiling_is_left_alone_and_the_others_climb():
    scores = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = torch.arange(6) % 4
    each = cross_entropy(scores, y, reduction="none").detach()
    ceilings = each + torch.tensor([1.0, -0.1, 2.0, -1.0, 0.5, -0.2])
    ascent(scores, y, ceilings).backward()
    climbs = ceilings > each
    assert not scores.grad[~climbs].any() and scores.grad[climbs].any(1).all()
    (want,) = torch.autograd.grad(-cross_entropy(scores, y, reduction="sum") / 6, scores)
    assert torch.allclose(scores.grad[climbs], want[climbs])
