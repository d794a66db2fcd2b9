"""Features of two networks for `experiments/resample_ablation.py`, each read once and kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Subset

from unspan.data.loading import batches
from unspan.data.opening import open_data
from unspan.data.preprocess import Preprocess
from unspan.extraction import find_feature_layer, read
from unspan.run import Run
from unspan.zoo import AllCNN
from unspan.zoo.resnet import CifarResNet, resnet20

SHARED = Path(os.environ.get("UNSPAN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
OTHERS = 2_000  # samples of other classes that are asked


@dataclass(frozen=True)
class Network:
    """A network of the shared checkpoints, the data it was trained on, and the request.

    Attributes:
        data: folder.
        weights: of the shared checkpoints.
        build: the network.
        preprocess: of the images.
        classes: to be forgotten.
        fit: training samples that erasers are fitted to.
        held: of these, whose answers attackers hold.
        label: column of the labels, None for the only one.
    """

    data: str
    weights: str
    build: Callable[[], nn.Module]
    preprocess: dict
    classes: tuple[int, ...]
    fit: int
    held: int
    label: str | None = None


NETWORKS = {
    "cifar10-allcnn": Network(
        "cifar10", "allcnn-cifar10-original", AllCNN, AllCNN.preprocess, (4,), 20_000, 10_000
    ),
    "cifar100-resnet20": Network(
        "cifar100-avif",
        "cifar100_resnet20",
        resnet20,
        CifarResNet.preprocess,
        (4, 30, 55, 72, 95),
        20_000,
        10_000,
        "fine_label",
    ),
}


@dataclass(frozen=True)
class Part:
    """Samples: features `[n, d]`, those of the mirror images, and labels `[n]`."""

    plain: Tensor
    mirrored: Tensor
    labels: Tensor

    def rows(self, index: Tensor | slice) -> Part:
        """Some of the samples; mirror images may be of the first ones alone."""
        return Part(self.plain[index], self.mirrored[index], self.labels[index])


def network(name: str) -> nn.Module:
    """The trained network, in evaluation mode."""
    asked = NETWORKS[name]
    model = asked.build()
    model.load_state_dict(load_file(SHARED / "checkpoints" / f"{asked.weights}.safetensors"))
    return model.eval()


def head_of(name: str) -> tuple[Tensor, Tensor]:
    """Weight `[C, d]` and bias `[C]` of the head, float64."""
    model = network(name)
    head = model.head if isinstance(model, AllCNN) else model.fc
    return head.weight.detach().double(), head.bias.detach().double()


def parts(name: str, folder: Path) -> dict[str, Part]:
    """`fit`, and what is asked: `training` (held out) and `test`."""
    file = folder / f"{name}.safetensors"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_file(_read(name), file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    kept = load_file(file)
    return {
        part: Part(*(kept[f"{part} {kind}"] for kind in ("plain", "mirrored", "labels")))
        for part in ("fit", "training", "test")
    }


def _read(name: str) -> dict[str, Tensor]:
    asked = NETWORKS[name]
    source = open_data(
        str(SHARED / "data" / asked.data),
        transform=Preprocess.from_dict(asked.preprocess),
        label_column=asked.label,
    )
    labels = {split: torch.tensor(source[split].labels) for split in ("train", "test")}
    order = torch.randperm(len(labels["train"]), generator=torch.Generator().manual_seed(1))
    rest = order[asked.fit : asked.fit + 10_000]
    chosen = {
        "fit": ("train", order[: asked.fit], asked.held),
        "training": ("train", _asked(labels["train"], rest, asked.classes), None),
        "test": (
            "test",
            _asked(labels["test"], torch.arange(len(labels["test"])), asked.classes),
            None,
        ),
    }
    model = network(name).to(memory_format=torch.channels_last)
    found: dict[str, Tensor] = {}
    for part, (split, index, mirrored) in chosen.items():
        data = Subset(source[split], index.tolist())
        found |= {f"{part} {kind}": z for kind, z in _views(model, data, mirrored).items()}
    return found


def _asked(labels: Tensor, rows: Tensor, classes: tuple[int, ...]) -> Tensor:
    """All rows of the classes, and some of the others."""
    gone = torch.isin(labels[rows], torch.tensor(classes))
    return torch.cat([rows[gone], rows[~gone][:OTHERS]])


def _views(model: nn.Module, data: Subset, mirrored: int | None) -> dict[str, Tensor]:
    """Features of samples, and of the mirror images of the first ones."""
    rows: dict[str, list[Tensor]] = {"plain": [], "mirrored": [], "labels": []}
    layer, seen = None, 0
    for batch in batches(data, Run(batch_size=500)):
        x = batch.inputs[: len(batch)].contiguous(memory_format=torch.channels_last)
        layer = layer or find_feature_layer(model, x[:2])[0]
        with torch.no_grad():
            rows["plain"].append(read(model, layer, x)[0])
            if mirrored is None or seen < mirrored:
                rows["mirrored"].append(read(model, layer, x.flip(3))[0])
        rows["labels"].append(batch.labels)
        seen += len(batch)
    return {kind: torch.cat(own) for kind, own in rows.items()}
