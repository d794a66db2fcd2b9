"""Retraining starts from weights of its own."""

import copy

import pytest
import torch

import unspan
from unspan.methods.retrain import Retrain
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_retrain_owes_nothing_to_the_original(case):
    net, request, _ = case
    other = copy.deepcopy(net)
    with torch.no_grad():
        for one in other.parameters():
            one.add_(torch.randn_like(one))
        other.norm.running_mean.add_(5)
    method = Retrain(training=Training(lr=0.05, epochs=3))
    states = [
        unspan.erase(one, request, method, check_labels=False, measure=False).model.state_dict()
        for one in (net, other)
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
