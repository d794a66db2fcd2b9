"""Passes over convolutional networks: channels last where it serves, and models as they were."""

import copy

import pytest
import torch
from torch import nn

from unspan.extraction import arranged, eval_mode, forward

pytestmark = pytest.mark.usefixtures("one_thread")


def _net(end=None):
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3)]
    return nn.Sequential(*convolutions, end or nn.Flatten(), nn.Linear(96, 5)).eval()


class Views(nn.Module):
    """Joins positions by `view`, which takes the usual layout only."""

    def forward(self, x):
        return x.view(len(x), -1)


class Layouts(nn.Module):
    """Notes what it was given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.is_contiguous(memory_format=torch.channels_last))
        return x.flatten(1)


def _through(net, x):
    with eval_mode(net), arranged(net, x) as inputs:
        return forward(net, inputs)


def test_a_network_of_convolutions_runs_with_channels_last_and_is_as_it_was():
    net, x = _net(Layouts()), torch.randn(4, 3, 8, 8)
    before = copy.deepcopy(net.state_dict())
    held = [(one, one.data_ptr(), one.stride()) for one in net.parameters()]
    want = net(x)
    net[4].seen.clear()
    got = _through(net, x)
    assert net[4].seen == [False, True, True]  # both layouts of the trial, then the pass
    assert float((got - want).abs().max() / want.abs().max()) < 1e-5
    assert all((one.data_ptr(), one.stride()) == (at, by) for one, at, by in held)
    assert all(torch.equal(now, before[name]) for name, now in net.state_dict().items())
    assert torch.equal(_through(net, x), got) and len(net[4].seen) == 4


def test_weights_are_put_back_after_an_error():
    net, x = _net(), torch.randn(4, 3, 8, 8)
    strides = [one.stride() for one in net.parameters()]
    with pytest.raises(RuntimeError, match="stop"), arranged(net, x):
        raise RuntimeError("stop")
    assert [one.stride() for one in net.parameters()] == strides


@pytest.mark.parametrize(
    "net, x",
    [
        (_net(Views()), torch.randn(4, 3, 8, 8)),
        (_net().train(), torch.randn(4, 3, 8, 8)),
        (nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2)), torch.randn(4, 3, 8, 8)),
        (nn.Sequential(nn.Linear(8, 3)), torch.randn(4, 8)),
        (nn.Sequential(nn.Conv1d(3, 8, 3), nn.Conv1d(8, 8, 3)), torch.randn(4, 3, 8)),
    ],
    ids=["view", "training", "patches", "linear", "sound"],
)
def test_other_models_keep_their_layout(net, x):
    counts = [one.clone() for one in net.buffers()]
    with arranged(net, x) as inputs:
        assert inputs.is_contiguous()
        assert all(one.is_contiguous() for one in net.parameters())
    assert all(torch.equal(a, b) for a, b in zip(counts, net.buffers(), strict=True))


def test_features_do_not_depend_on_who_else_is_in_the_batch():
    net, x = _net(), torch.randn(8, 3, 8, 8)
    whole = _through(net, x)
    assert torch.equal(_through(net, x.flip(0)).flip(0), whole)
