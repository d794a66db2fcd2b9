"""Networks of `experiments/survive.py`, and their outputs, each read once and kept in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _attacks import FORGET
from _networks import SHARED, ResNet, Split, data, network
from torch import Tensor, nn

from unspan.extraction import FeatureLayer, find_feature_layer, head_parameters, read
from unspan.metrics.outputs import Outputs
from unspan.metrics.stability import disturbed
from unspan.zoo import AllCNN

NOISY = 500
NETWORKS: dict[str, tuple[str, Callable[[], nn.Module], int, str | None]] = {
    "cifar10-allcnn": ("cifar10", AllCNN, 0, "allcnn-cifar10-original.safetensors"),
    "cifar10-allcnn-retrained": ("cifar10", AllCNN, 0, "allcnn-cifar10-without-deer.safetensors"),
    "fashion-mnist-allcnn": ("fashion-mnist", AllCNN, 3, None),
    "cifar10-resnet": ("cifar10", ResNet, 8, None),
    "fashion-mnist-groups": ("fashion-mnist", lambda: AllCNN(5), 3, None),
}
GROUPS = {
    "fashion-mnist-groups": (0, 1, 0, 2, 0, 3, 0, 3, 4, 3)
}  # what a network answers for each class, where that is not the class


def features(name: str, folder: Path) -> dict[str, Any]:
    """Outputs of a network on train and test, its head, and clean and noisy outputs of some test
    samples.
    """
    kept = folder / f"{name}-features.pt"
    if kept.exists() and "moved, 5 %" in (found := torch.load(kept, weights_only=False)):
        return found
    parts = data(NETWORKS[name][0])
    answers = torch.tensor(GROUPS.get(name, tuple(range(10))))
    x, y = parts["train"]
    model, feature_layer = _opened(name, (x, answers[y]), folder)
    found: dict[str, Any] = {"head": head_parameters(model, feature_layer), "answers": answers}
    with torch.no_grad():
        for split, part in parts.items():
            found[split] = _outputs(model, feature_layer, part)
        found |= _moved(model, feature_layer, parts["test"])
    torch.save(found, kept)
    return found


def views(name: str, folder: Path) -> dict[str, Any]:
    """Features of some training images and all test images, mirrored and at half contrast."""
    kept = folder / f"{name}-views.pt"
    if kept.exists():
        return torch.load(kept, weights_only=False)
    parts = data(NETWORKS[name][0])
    model, feature_layer = _opened(name, parts["train"], folder)
    x = parts["train"][0]
    some = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:20_000]
    images = {"train": x[some], "test": parts["test"][0]}
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "mirrored": lambda x: x.flip(3),
        "half contrast": lambda x: 0.5 * x,
    }
    found: dict[str, Any] = {"some": some}
    with torch.no_grad():
        for view, change in changes.items():
            found[view] = {
                split: torch.cat(
                    [read(model, feature_layer, change(part))[0] for part in x.split(250)]
                )
                for split, x in images.items()
            }
    torch.save(found, kept)
    return found


def _opened(name: str, fit: Split, folder: Path) -> tuple[nn.Module, FeatureLayer]:
    """The trained network and where its features are."""
    _, build, epochs, weights = NETWORKS[name]
    file = SHARED / "checkpoints" / weights if weights else None
    model = network(name, build, fit, folder, epochs=epochs, weights=file)
    return model, find_feature_layer(model, fit[0][:2])[0]


def _outputs(model: nn.Module, feature_layer: FeatureLayer, part: Split) -> Outputs:
    x, y = part
    both = [read(model, feature_layer, images) for images in x.split(250)]
    return Outputs(
        features=torch.cat([z for z, _ in both]),
        logits=torch.cat([out for _, out in both]),
        labels=y,
        forget=y == FORGET,
    )


def _moved(model: nn.Module, feature_layer: FeatureLayer, test: Split) -> dict[str, Any]:
    """Features of some test images, and the same with noise on the pixels."""
    x, y = test
    masks = (y == FORGET, y != FORGET)
    places = [torch.nonzero(mask)[:, 0] for mask in masks]
    steps = [max(1, int(mask.sum()) // NOISY) for mask in masks]
    some = torch.cat([own[::step][:NOISY] for own, step in zip(places, steps, strict=True)])

    def seen(images: Tensor) -> Tensor:
        return read(model, feature_layer, images)[0]

    return {
        "moved": (*disturbed(seen, x[some]), y[some] == FORGET),
        "moved 20": [disturbed(seen, x[some], seed=seed)[1] for seed in range(20)],
        "moved, 5 %": disturbed(seen, x[some], noise=0.05)[1],
    }
