"""CF-k trains the last layers."""

from dataclasses import replace

import pytest
import torch
from small_network import ONE

import unspan
from unspan.methods.cf_k import CFk

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_cf_k_trains_the_last_layers_only(case):
    net, request, _ = case
    done = unspan.erase(
        net,
        request,
        CFk(k=2, training=replace(ONE, momentum=0.9)),
        check_labels=False,
        measure=False,
    )
    changed = {
        name.split(".")[0]
        for name, tensor in done.model.state_dict().items()
        if not torch.equal(tensor, net.state_dict()[name])
    }
    assert changed == {"norm", "head"}  # the layers with weights are first, norm, head
    assert torch.equal(done.model.norm.running_mean, net.norm.running_mean)
    assert all(one.grad is None and one.requires_grad for one in done.model.parameters())
