"""`unspan.features`: the place is searched once, and again when the model is another one."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

import unspan
from unspan.extraction import remembered

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))


@pytest.fixture
def searched(monkeypatch):
    """Names of the places that were searched for."""
    seen, find = [], remembered.find_feature_layer
    monkeypatch.setattr(remembered, "find_feature_layer", lambda *a: seen.append(a[2]) or find(*a))
    return seen


def test_the_place_is_searched_once_and_new_weights_do_not_matter(net, searched):
    x = torch.randn(5, 4)
    first = unspan.features(net, x)
    assert torch.equal(unspan.features(net, x), first)
    net[4].weight.data.mul_(2)
    net.train()
    # one row may be multiplied in another order than five
    assert torch.allclose(unspan.features(net, x[:1]), first[:1], rtol=1e-6)
    assert len(searched) == 1
    unspan.features(net, x, feature_layer="1:out")
    unspan.features(net, x)
    assert searched == [None, "1:out"]


def _another_head(net):
    net[4] = nn.Linear(6, 3)


def _no_head(net):
    net[4] = nn.Identity()


def _one_more(net):
    net.append(nn.Linear(3, 2))


def _hook(net):
    net[3].register_forward_hook(lambda _m, _a, out: 2 * out)


def _forward(net):
    net[3].forward = lambda x: x.square()


def _attribute(net):
    net[1].inplace = True


@pytest.mark.parametrize(
    "change", [_another_head, _no_head, _one_more, _hook, _forward, _attribute]
)
def test_a_changed_model_is_searched_again(net, searched, change):
    x = torch.randn(5, 4)
    unspan.features(net, x)
    change(net)
    found = unspan.features(net, x)
    assert len(searched) == 2
    assert torch.equal(found, unspan.features(copy.deepcopy(net), x))


def test_models_are_not_kept_alive():
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    unspan.features(net, torch.randn(5, 4))
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None
