"""l1-sparse: a penalty that fades, or thresholds."""

from dataclasses import replace

import pytest
import torch
from small_network import ONE
from torch import nn

import unspan
from unspan.methods import l1_sparse

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_l1_penalises_weights_and_fades(case):
    net, request, _ = case
    method = l1_sparse.L1Sparse(gamma=0.4, free=1, training=replace(ONE, epochs=5))
    assert [round(method.strength(epoch), 6) for epoch in range(1, 6)] == [0.4, 0.3, 0.2, 0.1, 0.0]
    weights = [nn.Parameter(torch.tensor([0.5, -2.0])), nn.Parameter(torch.tensor([[3.0]]))]
    assert float(l1_sparse.l1_norm(weights).detach()) == 5.5
    grads = torch.autograd.grad(l1_sparse.l1_norm(weights), weights)
    assert grads[0].tolist() == [1.0, -1.0] and grads[1].item() == 1.0
    size = lambda model: sum(float(one.abs().sum()) for one in model.parameters())  # noqa: E731
    plain, sparse = (
        unspan.erase(
            net,
            request,
            l1_sparse.L1Sparse(gamma=gamma, training=replace(ONE, epochs=5)),
            check_labels=False,
            measure=False,
        ).model
        for gamma in (0.0, 0.2)
    )
    assert size(sparse) < 0.9 * size(plain)
    proximal = unspan.erase(
        net,
        request,
        l1_sparse.L1Sparse(gamma=0.2, proximal=True, training=replace(ONE, epochs=5)),
        check_labels=False,
        measure=False,
    )
    assert proximal.receipt["method"]["fit"]["weights_below_1e-8"] > 0.05
