"""SalUn trains the salient weights and no other."""

import copy

import pytest
import torch
from small_network import ONE, stacked
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import unspan
from unspan.methods import salun
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_salun_moves_nothing_outside_its_mask_not_even_by_weight_decay(case):
    net, request, _ = case
    method = salun.SalUn(
        rho=0.3,
        training=Training(lr=0.1, epochs=3, momentum=0.9, weight_decay=0.1, batchnorm="frozen"),
    )
    done = unspan.erase(net, request, method, check_labels=False, measure=False)
    x, y = stacked(request.forget)
    reference = copy.deepcopy(net)
    grads = torch.autograd.grad(
        cross_entropy(reference(x), y, reduction="sum"), list(reference.parameters())
    )
    sizes = torch.cat([grad.abs().flatten() for grad in grads])
    least = sizes.sort(descending=True).values[round(0.3 * len(sizes)) - 1]
    old, new = (
        torch.cat([one.detach().flatten() for one in model.parameters()])
        for model in (net, done.model)
    )
    inside = sizes >= least * (1 + 1e-5)
    outside = sizes < least * (1 - 1e-5)
    assert torch.equal(old[outside], new[outside]) and (old[inside] != new[inside]).all()
    assert done.receipt["method"]["fit"]["share_trained"] == pytest.approx(0.3, abs=0.01)
    dead = copy.deepcopy(net)
    with torch.no_grad():
        dead.norm.bias[:5] = -100  # little passes the ReLU, so most gradients are exactly 0
    few = unspan.erase(
        dead, request, salun.SalUn(rho=0.5, training=ONE), check_labels=False, measure=False
    )
    assert few.receipt["method"]["fit"]["share_trained"] == pytest.approx(0.5, abs=0.01)


def test_two_classes_are_enough_for_salun(case):
    net, _, data = case
    x, y = stacked(data)
    two = TensorDataset(x[y < 2], y[y < 2])
    request = unspan.Request.by_class(two, 1)
    done = unspan.erase(net, request, salun.SalUn(training=ONE), check_labels=False, measure=False)
    assert done.receipt["method"]["fit"]["forget_used"] == 60
