"""What the owner of a model froze stays as it is, running statistics included."""

import copy
from dataclasses import replace

import pytest
import torch
from released import released
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.errors import UsageError
from unspan.methods import METHODS, TrainedMethod, by_name
from unspan.models.frozen_norms import frozen_norms

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]

OWN_LOOP = (
    "lau",
    "fisher",
    "svd",
    "ssd",
    "lfssd",
    "pour-p",
    "damp",
)  # methods without the shared training loop
TRAINED = [one.name for one in METHODS if issubclass(one, TrainedMethod)]


class OwnNorm(nn.Module):
    """A normalisation layer that is none of PyTorch's."""

    def __init__(self, features):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(features))
        self.scale = nn.Parameter(torch.ones(features))

    def forward(self, x):
        if self.training:
            self.running_mean.lerp_(x.detach().mean((0, 2, 3)), 0.1)
        return (x - self.running_mean[:, None, None]) * self.scale[:, None, None]


NORMS = {
    "affine": lambda: nn.BatchNorm2d(8),
    "without parameters": lambda: nn.BatchNorm2d(8, affine=False),
    "cumulative": lambda: nn.BatchNorm2d(8, momentum=None),
    "instance": lambda: nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
    "own": lambda: OwnNorm(8),
}


class Net(nn.Module):
    def __init__(self, norm="affine"):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), NORMS[norm](), nn.ReLU())
        self.free = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.flatten(self.pool(self.free(self.body(x)))))


def settings(name):
    method = by_name(name)()
    short = {
        "dlfd": {"save": 1.0, "steps": 2},
        "fisher": {"samples": 20},
        "eu-k": {"k": 1},
        "ssd": {"alpha": 2.0},
    }
    method = replace(method, **short.get(name, {}))
    if name not in OWN_LOOP:
        method = replace(method, training=replace(method.training, epochs=1, lr=0.01))
    return method


@pytest.fixture(scope="module")
def request_of_one():
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(
        torch.rand(80, 1, 8, 8, generator=generator) + torch.arange(80).view(-1, 1, 1, 1) % 4,
        torch.arange(80) % 4,
    )
    splits = unspan.Request.by_class(data, 1)
    x, y = splits.forget[:]
    return replace(splits, holdout=TensorDataset(x + 1e-6, y))  # held-out ones must be apart


def erased(model, splits, method):
    return unspan.erase(model, splits, method, check_labels=False).model


def moved(before, after, prefix):
    old, new = before.state_dict(), after.state_dict()
    return [
        name for name in old if name.startswith(prefix) and not torch.equal(old[name], new[name])
    ]


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "retrain"])
def test_frozen_parts_do_not_move(name, request_of_one):
    if name == "dlfd":
        pytest.importorskip("ot")
    torch.manual_seed(0)
    net = Net().eval()
    net.body.requires_grad_(False)
    after = erased(net, request_of_one, settings(name))
    assert moved(net, after, "body") == []
    assert moved(net, after, "head") or moved(net, after, "free")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["finetune", "bake"])
def test_every_kind_of_running_statistics(name, norm, request_of_one):
    torch.manual_seed(0)
    net = Net(norm).eval()
    net.body.requires_grad_(False)
    after = erased(net, request_of_one, settings(name))
    assert moved(net, after, "body") == []
    assert "free.1.running_mean" in moved(net, after, "free")


def test_a_layer_in_evaluation_mode_in_a_model_in_training_mode_is_frozen(request_of_one):
    torch.manual_seed(0)
    net = Net().train()
    net.body[1].eval()
    after = erased(net, request_of_one, settings("finetune"))
    statistics = [name for name in moved(net, after, "") if "running" in name or "tracked" in name]
    assert statistics and not any(name.startswith("body") for name in statistics)
    assert [module.training for module in after.modules()] == [
        module.training for module in net.modules()
    ]


def test_layers_that_may_train_follow_their_inputs(request_of_one):
    torch.manual_seed(0)
    net = Net().eval()
    after = erased(net, request_of_one, settings("finetune"))
    assert {"body.1.running_mean", "free.1.running_mean"} <= set(moved(net, after, ""))


def test_one_free_parameter_beside_it_does_not_free_a_norm_layer():
    net = Net("without parameters").eval()
    assert frozen_norms(net) == frozenset()
    net.body[0].requires_grad_(False)
    assert frozen_norms(net) == {"body.1"}
    net.free[1].requires_grad_(False)
    assert frozen_norms(net) == {"body.1", "free.1"}


@pytest.mark.parametrize(
    ("name", "part", "said"),
    [
        ("retrain", "body", "some of this model are frozen"),
        ("lau", "head", "head 'head'.*frozen"),
        ("boundary, expand", "head", "head 'head'.*frozen"),
    ],
)
def test_methods_that_would_change_a_frozen_part_refuse(name, part, said, request_of_one):
    net = Net().eval()
    net.get_submodule(part).requires_grad_(False)
    method = settings(name.partition(",")[0])
    if "expand" in name:
        method = replace(method, kind="expand")
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(UsageError, match=said):
        erased(net, request_of_one, method)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())


def test_reading_in_training_mode_keeps_frozen_statistics(request_of_one):
    """ESC as its release runs reads features in training mode."""
    torch.manual_seed(0)
    net = Net().eval()
    net.body.requires_grad_(False)
    method = released("esc").ReleasedESC(rank=1)
    assert moved(net, erased(net, request_of_one, method), "body") == []
