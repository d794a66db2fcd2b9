"""What is read of models in a forward pass: features and scores, of a batch or of its views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unspan.auditing.subjects import Subject
from unspan.auditing.views import VIEWS, mean_of
from unspan.data.batch import Batch
from unspan.errors import NotFinite
from unspan.extraction import EqualModules, arranged, eval_mode, read, scores_at

Read = tuple[Tensor, Tensor | None]
"""`[n, d]` and scores `[n, C]` or None, float32 on the CPU."""


@dataclass(frozen=True)
class Reader:
    """What is read of models in a pass.

    Attributes:
        name: tells it apart in the cache; empty for features and scores.
        read: of each model on one batch. Models read the same inputs one after the other, so that
            modules they have in common run once.
    """

    name: str
    read: Callable[[Sequence[Subject], Batch, EqualModules], list[Read]]


def _outputs(subjects: Sequence[Subject], batch: Batch, together: EqualModules) -> list[Read]:
    return _answers(subjects, batch, batch.inputs, together)


def _over_views(subjects: Sequence[Subject], batch: Batch, together: EqualModules) -> list[Read]:
    views = [_answers(subjects, batch, change(batch.inputs), together) for change in VIEWS]
    found = []
    for own in zip(*views, strict=True):
        scores = [told for _, told in own if told is not None]
        found.append(mean_of([features for features, _ in own], scores))
    return found


def _answers(
    subjects: Sequence[Subject], batch: Batch, given: Any, together: EqualModules
) -> list[Read]:
    """Features and scores of the inputs of a batch, or of altered ones, by every model."""
    with together.one_batch():
        return [_answer(one, batch, given) for one in subjects]


def _answer(one: Subject, batch: Batch, given: Any) -> Read:
    with eval_mode(one.model), arranged(one.model, given) as inputs:
        features, output = read(one.model, one.feature_layer, inputs)
    features = features[: len(batch)].float().cpu()
    if not bool(torch.isfinite(features).all()):
        row = int((~torch.isfinite(features).all(1)).nonzero()[0])
        raise NotFinite(
            f"Features of the {one.name} model are NaN or infinite at {batch.names[row]}. Check"
            " that sample; run a half-precision model in float32."
        )
    scores = scores_at(one.model, one.feature_layer, features, output)
    return features, None if scores is None else scores[: len(batch)].float().cpu()


OUTPUTS = Reader("", _outputs)
"""Features and scores."""
OVER_VIEWS = Reader("ten views of an image", _over_views)
"""Means over ten views of each image, see `auditing.views`."""
