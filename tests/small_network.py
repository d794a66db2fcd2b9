"""A small network with a BatchNorm, and what a method that trains is given of it."""

import copy

import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from unspan.extraction import find_feature_layer
from unspan.run import Run
from unspan.training.checkpoint import Checkpoint
from unspan.training.context import TrainingContext
from unspan.training.settings import Training

# one epoch of plain steps
ONE = Training(lr=0.05, epochs=1, batch=32, momentum=0.0, weight_decay=0.0, batchnorm="frozen")


class Net(nn.Module):
    """8 inputs, 6 features behind a BatchNorm, 4 classes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 6)
        self.norm = nn.BatchNorm1d(6)
        self.relu = nn.ReLU()
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.relu(self.norm(self.first(x))))


def context_of(net, request, needs=("forget", "retain", "holdout"), seed=0):
    model = copy.deepcopy(net)
    feature_layer = find_feature_layer(model, torch.randn(2, 8))[0]
    return TrainingContext(
        model=model,
        feature_layer=feature_layer,
        parts={name: getattr(request, name) for name in needs},
        run=Run(seed=seed),
        checkpoint=Checkpoint(None, ""),
        classes=4,
        forgotten=request.classes,
    )


def stacked(data):
    """Inputs and labels of a dataset, each as one tensor."""
    return tuple(torch.stack(list(part)) for part in zip(*data, strict=True))


class Deep(nn.Module):
    """8 inputs, three linear layers with a BatchNorm after each of the first two, 4 classes."""

    def __init__(self):
        super().__init__()
        draw = torch.get_rng_state()
        torch.manual_seed(0)
        self.first = nn.Linear(8, 6)
        self.before = nn.BatchNorm1d(6)
        self.second = nn.Linear(6, 5)
        self.after = nn.BatchNorm1d(5)
        self.relu = nn.ReLU()
        self.head = nn.Linear(5, 4)
        torch.set_rng_state(draw)

    def forward(self, x):
        z = self.relu(self.before(self.first(x)))
        return self.head(self.relu(self.after(self.second(z))))


def changed_of(net, other):
    """Names of the weights and buffers that differ between two networks, to the bit."""
    new = other.state_dict()
    return {name for name, one in net.state_dict().items() if not torch.equal(one, new[name])}


class Forbidden(Dataset):
    """Data that nobody may read."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        raise AssertionError(
            "this part of the data was read although the method does not declare it"
        )


def held_out_like(data):
    """Samples as good as the same, and not the same: held-out ones must be apart."""
    x, y = stacked(data)
    return TensorDataset(x + 1e-6, y)
