"""NegGrad+ descends on a weighted difference of losses."""

import copy
from dataclasses import replace

import pytest
import torch
from small_network import ONE, stacked
from torch.nn.functional import cross_entropy

import unspan
from unspan.methods.neggrad_plus import NegGradPlus

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
