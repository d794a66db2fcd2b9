"""NG climbs the forget loss, up to its ceiling."""

from dataclasses import replace

import pytest
import torch
from small_network import ONE, stacked
from torch.nn.functional import cross_entropy

import unspan
from unspan.methods import neggrad

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_neggrad_raises_the_forget_loss_and_leaves_samples_at_the_ceiling_alone(case):
    net, request, _ = case
    x, y = stacked(request.forget)
    done = unspan.erase(
        net,
        request,
        neggrad.NegGrad(training=replace(ONE, lr=0.01, epochs=2)),
        check_labels=False,
        measure=False,
    )
    assert cross_entropy(done.model(x), y) > cross_entropy(net(x), y)
    scores = torch.randn(5, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(
        neggrad.ascent(scores, torch.zeros(5, dtype=torch.long), 1.0), scores
    )
    above = cross_entropy(scores, torch.zeros(5, dtype=torch.long), reduction="none") > 1.0
    assert above.any() and not above.all()
    assert (grad[above] == 0).all() and (grad[~above] != 0).any(1).all()


def test_neggrad_keeps_running_statistics_and_stops_when_nothing_is_recognised(case):
    net, request, _ = case
    done = unspan.erase(
        net,
        request,
        neggrad.NegGrad(training=replace(neggrad.NegGrad().training, lr=0.05, epochs=200)),
        check_labels=False,
        measure=False,
    )
    history = done.receipt["method"]["fit"]["history"]
    assert len(history) < 200 and history[-1]["forget_accuracy"] == 0 and history[-1]["stopped"]
    assert torch.equal(done.model.norm.running_mean, net.norm.running_mean)
