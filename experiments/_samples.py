"""Data, requests and networks of `experiments/samples.py`: small networks that remember."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from _networks import data
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from unspan.training.settings import Training

CACHE = Path("build/samples")
POOL = 20_000  # images of a large data set that requests are drawn from
FORMS = ("random", "folder")


@dataclass(frozen=True)
class Case:
    """A data set and the network that is trained on some of it.

    Attributes:
        name: of the data set.
        build: the network, untrained.
        train: samples that the originals are trained on.
        forget: samples of a request.
        unseen: samples like them that no network is trained on, for the attacks.
        holdout: the same, for the choice of settings.
        test: other samples that no network is trained on, for accuracies.
        training: settings of originals and retrained networks.
    """

    name: str
    build: Callable[[], nn.Module]
    train: int
    forget: int
    unseen: int
    holdout: int
    test: int
    training: Training


@dataclass(frozen=True)
class Parts:
    """Samples of one request, of which the originals saw `retain` and `forget` alone."""

    retain: TensorDataset
    forget: TensorDataset
    holdout: TensorDataset
    unseen: TensorDataset
    test: TensorDataset


def cnn() -> nn.Module:
    """Two convolutions and two linear layers, for images `[3, 16, 16]`."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def mlp(inputs: int, hidden: int) -> nn.Module:
    """Two hidden layers."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
    )


def _adam(epochs: int, lr: float) -> Training:
    return Training(lr=lr, epochs=epochs, batch=64, optimiser="adam", weight_decay=0.0)


CASES = {
    one.name: one
    for one in (
        Case("fashion-mnist", partial(mlp, 768, 96), 1000, 100, 400, 400, 3000, _adam(30, 1e-3)),
        Case("cifar10", cnn, 1000, 100, 400, 400, 3000, _adam(30, 2e-3)),
        Case("digits", partial(mlp, 64, 32), 700, 100, 300, 300, 397, _adam(15, 2e-3)),
    )
}


def parts(case: Case, form: str) -> Parts:
    """The samples of a request: random ones of all classes, or a folder of one class.

    A folder holds the nearest neighbours of one image of its class, by their pixels. A third of
    them is to be forgotten; of the others no network sees any.
    """
    images, labels = images_of(case.name)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(7))
    alike = order if form == "random" else _folder(images, labels, order, 3 * case.forget)
    sizes = [case.forget, case.holdout, case.unseen]
    if form == "folder":
        sizes = [case.forget] * 3
    forget, holdout, unseen = alike[: sum(sizes)].split(sizes)
    taken = torch.zeros(len(labels), dtype=torch.bool)
    taken[alike[: sum(sizes)]] = True
    rest = order[~taken[order]]
    retain, test = rest[: case.train - case.forget], rest[case.train - case.forget :][: case.test]
    return Parts(
        *(
            TensorDataset(images[rows], labels[rows])
            for rows in (retain, forget, holdout, unseen, test)
        )
    )


def _folder(images: Tensor, labels: Tensor, order: Tensor, size: int) -> Tensor:
    """Rows of the `size` samples nearest to the first of its class, in random order."""
    own = order[labels[order] == labels[order[0]]]
    small = nn.functional.adaptive_avg_pool2d(images[own], 8).flatten(1)
    near = (small - small[0]).norm(dim=1).argsort()[:size]
    return own[near[torch.randperm(size, generator=torch.Generator().manual_seed(8))]]


def images_of(name: str) -> tuple[Tensor, Tensor]:
    """Images `[n, c, h, w]` and labels `[n]`; those of large data sets are kept in `CACHE`."""
    if name == "digits":
        raw = load_digits()
        images = torch.tensor(raw.images, dtype=torch.float32)[:, None] / 8 - 1
        return images, torch.tensor(raw.target)
    kept = CACHE / f"{name}.pt"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        images, labels = data(name)["train"]
        small = nn.functional.adaptive_avg_pool2d(images[:POOL], 16)
        torch.save((small, labels[:POOL].clone()), kept)
    images, labels = torch.load(kept, weights_only=True)
    return images, labels


AUDITED = "cifar10"  # where networks remember most, so that an audit can tell


def audited_network() -> nn.Module:
    """For the command line: `--model python:_samples:audited_network`."""
    return CASES[AUDITED].build()


def audited_data() -> dict[str, TensorDataset]:
    """For the command line; the samples to forget come first in `train`."""
    found = parts(CASES[AUDITED], "random")
    whole = zip(found.forget.tensors, found.retain.tensors, strict=True)
    return {
        "train": TensorDataset(*(torch.cat(pair) for pair in whole)),
        "holdout": found.holdout,
        "test": found.unseen,
    }
