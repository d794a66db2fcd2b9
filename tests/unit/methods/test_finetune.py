"""Finetune descends on the retained data only."""

import copy
from dataclasses import replace

import pytest
import torch
from small_network import ONE, stacked
from torch.nn.functional import cross_entropy

import unspan
from unspan.methods import Finetune

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_a_step_of_finetune_is_one_of_descent_on_the_retained_data(case):
    net, request, _ = case
    method = Finetune(training=replace(ONE, batch=1000, lr=0.1))
    done = unspan.erase(net, request, method, check_labels=False, measure=False)
    want = copy.deepcopy(net)
    x, y = stacked(request.retain)
    gradients = torch.autograd.grad(cross_entropy(want(x), y), list(want.parameters()))
    for got, start, gradient in zip(
        done.model.parameters(), want.parameters(), gradients, strict=True
    ):
        assert torch.allclose(got, start - 0.1 * gradient, atol=1e-6)
