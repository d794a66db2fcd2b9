"""Classes that a model and the erased one name for the same samples, in one reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unspan.data.batch import Batch
from unspan.data.loading import size_of
from unspan.data.passes import read_batches
from unspan.erasers import Eraser, placed
from unspan.errors import DataError
from unspan.extraction import (
    FeatureLayer,
    arranged,
    eval_mode,
    forward,
    head_parameters,
    logits_of,
    read,
    scores_at,
)
from unspan.extraction.model_reading import ModelReading
from unspan.run import Run

_SAME = 0.98  # least share of equal predictions; the rest lies at a jump of a map


@dataclass(frozen=True)
class Pair:
    """The original and the erased model, each with the place of its features.

    Without places, models are read that return class scores and nothing else.

    Attributes:
        original: the model before.
        erased: the model after.
        layer_before: where the features of the original live.
        layer_after: where those of the erased model live.
        eraser: the map that turns features of the original into those of the erased model, where
            nothing else changed but the head; None otherwise.
    """

    original: nn.Module
    erased: nn.Module
    layer_before: FeatureLayer | None = None
    layer_after: FeatureLayer | None = None
    eraser: Eraser | None = None

    @property
    def sides(
        self,
    ) -> tuple[tuple[nn.Module, FeatureLayer | None], tuple[nn.Module, FeatureLayer | None]]:
        """Either model with the place of its features."""
        return (self.original, self.layer_before), (self.erased, self.layer_after)

    @property
    def embeds(self) -> bool:
        """Whether the models give embeddings instead of class scores."""
        return self.layer_after is not None and self.layer_after.embeds


@dataclass(frozen=True)
class Predictions:
    """Classes that two models name on the same samples.

    Attributes:
        labels: `[n]`, None where a sample has none.
        before: `[n]` of the original.
        after: `[n]` of the erased model.
        outputs: number of classes; two for a model with one score, which says yes or no.
    """

    labels: Tensor | None
    before: Tensor
    after: Tensor
    outputs: int


def predictions(pair: Pair, data: Any, what: str, run: Run) -> Predictions:
    """Run both models over the same samples.

    Where an eraser and a head are all that changed, the scores of the erased model follow from the
    features of the original, and one forward pass serves both. The erased model itself answers the
    first batch; where the two disagree there, it answers every batch.

    Raises:
        DataError: a model gives no class scores, or a sample cannot be read.
    """
    labels: list[Tensor | None] = []
    before: list[Tensor] = []
    after: list[Tensor] = []
    total = size_of(data, run)
    with eval_mode(pair.original), eval_mode(pair.erased):
        for part in read_batches(data, run, _Answers(pair, what), shard=False):
            before.append(part.found[0])
            after.append(part.found[1])
            labels.append(part.batch.labels)
            run.report(f"measuring {what}", part.rows.stop, total)
    if not labels:
        none = torch.zeros(0, dtype=torch.long)
        return Predictions(None, none, none, 0)
    known = [one for one in labels if one is not None]
    complete = torch.cat(known) if len(known) == len(labels) else None
    return _named(complete, torch.cat(before), torch.cat(after))


class _Answers(ModelReading[tuple[Tensor, Tensor]]):
    """What `_decisive` gives for both models on a batch.

    Args:
        pair: the models, in evaluation mode.
        what: is measured, for messages.
    """

    def __init__(self, pair: Pair, what: str) -> None:
        self._pair = pair
        self._what = what
        self._derived = _Derived.of(pair)
        self._compared = False

    @property
    def models(self) -> Sequence[nn.Module]:
        """Both."""
        return [self._pair.original, self._pair.erased]

    def __call__(self, rows: slice, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of the original and of the erased model."""
        pair = self._pair
        features, before = class_scores(pair.original, pair.layer_before, batch, self._what)
        derived, after = self._derived, None
        if derived is not None and features is not None:
            after = derived.scores(features)
        if after is None or not self._compared:
            _, measured = class_scores(pair.erased, pair.layer_after, batch, self._what)
            if after is not None and not _agree(after, measured):
                self._derived = None
            after = measured
        self._compared = True
        return _decisive(before), _decisive(after)


@dataclass(frozen=True)
class _Derived:
    """Scores of the erased model from features of the original: its eraser, then its head."""

    eraser: Eraser
    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, pair: Pair) -> _Derived | None:
        """None where more than one score, an eraser and a head are not at hand."""
        if pair.eraser is None or pair.layer_before is None or pair.layer_after is None:
            return None
        head = head_parameters(pair.erased, pair.layer_after)
        if head is None or len(head[0]) < 2:
            return None
        return cls(pair.eraser, *head)

    def scores(self, features: Tensor) -> Tensor:
        """`[n, C]` for features `[n, d]`."""
        mapped = placed(self.eraser, "last", features)(features)
        return mapped.double().cpu() @ self.weight.mT + self.bias


def _agree(derived: Tensor, measured: Tensor) -> bool:
    """Whether two sets of scores `[n, C]` name the same classes."""
    if derived.shape != measured.shape:
        return False
    same = derived.argmax(1).cpu() == measured.argmax(1).cpu()
    return float(same.float().mean()) >= _SAME


def _named(labels: Tensor | None, before: Tensor, after: Tensor) -> Predictions:
    """Predictions from what `_decisive` gives for both models."""
    if before.shape[1] > 1:
        return Predictions(labels, before[:, 0].long(), after[:, 0].long(), int(before[0, 1]))
    chances = bool(((before >= 0) & (before <= 1)).all())
    cut = 0.5 if chances else 0.0
    return Predictions(labels, (before[:, 0] > cut).long(), (after[:, 0] > cut).long(), 2)


def class_scores(
    model: nn.Module, feature_layer: FeatureLayer | None, batch: Batch, what: str
) -> tuple[Tensor | None, Tensor]:
    """Features `[n, d]`, where their place is known, and class scores `[n, C]` of a batch; the
    scores are computed from the head's input where the model returns more than them.
    """
    features = None
    with arranged(model, batch.inputs) as inputs:
        if feature_layer is None:
            scores = logits_of(forward(model, inputs))
        else:
            features, output = read(model, feature_layer, inputs)
            scores = logits_of(output) if feature_layer.head is None else None
            scores = scores_at(model, feature_layer, features, output) if scores is None else scores
    if scores is None:
        raise DataError(
            f"{what}: the model gives no class scores, so accuracy cannot be measured. Pass --eval"
            " none."
        )
    n = len(batch)
    return None if features is None else features[:n], scores[:n].reshape(n, -1)


def _decisive(scores: Tensor) -> Tensor:
    """What a prediction depends on: the class named and the number of classes `[n, 2]`, or the only
    score `[n, 1]`.
    """
    if scores.shape[1] == 1:
        return scores.double().cpu()
    named = scores.argmax(1).cpu().double()
    return torch.stack([named, torch.full_like(named, scores.shape[1])], 1)
