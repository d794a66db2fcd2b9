"""LAU moves the head only."""

import pytest
import torch
from small_network import stacked
from torch.nn.functional import cross_entropy

import unspan
from unspan.methods import lau

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_lau_changes_the_head_and_nothing_else(case):
    net, request, _ = case
    done = unspan.erase(net, request, lau.LAU(), check_labels=False, measure=False)
    changed = {
        name
        for name, tensor in done.model.state_dict().items()
        if not torch.equal(tensor, net.state_dict()[name])
    }
    assert changed == {"head.weight", "head.bias"}
    x, y = stacked(request.forget)
    assert torch.equal(unspan.features(done.model, x), unspan.features(net, x))
    assert float((done.model(x).argmax(1) == y).double().mean()) < float(
        (net(x).argmax(1) == y).double().mean()
    )
    z = unspan.features(net, x)
    moved = lau.attacked(z, y, (net.head.weight.detach(), net.head.bias.detach()), 0.25, 10)
    assert float((moved - z).abs().max()) <= 0.25 + 1e-6
    assert cross_entropy(net.head(moved), y) > cross_entropy(net.head(z), y)
