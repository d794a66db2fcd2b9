"""Models to be measured, each with the layer where a user of its features reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from unspan import dist
from unspan.artifact.record import record_of
from unspan.data.inputs import first_rows, place
from unspan.extraction import (
    FeatureLayer,
    Pool,
    eval_mode,
    find_feature_layer,
    input_like,
    unwrap,
)
from unspan.system.digests import state_hash


@dataclass(frozen=True)
class Subject:
    """A model to be measured.

    Attributes:
        name: `before`, `after`, `reference 1`, ...
        model: unwrapped, with its own feature_layer.
        feature_layer: where a user of features reads them.
        digest: sha256 of its weights.
    """

    name: str
    model: nn.Module
    feature_layer: FeatureLayer
    digest: str


def subject(
    name: str,
    model: nn.Module,
    example: Any,
    *,
    feature_layer: str | None = None,
    pool: Pool | None = None,
    classes: int | None = None,
) -> Subject:
    """A model with the feature layer it is read at: its own when it was erased, else the one that
    is found.

    Args:
        name: for tables and messages.
        model: as it is used.
        example: inputs of the model.
        feature_layer: of the user; None to find it.
        pool: of the user.
        classes: of the data, where known. As many outputs that no linear layer gives are scores.
    """
    inner = unwrap(model)
    dist.refuse_sharded(inner)
    record = record_of(inner)
    if record is not None and feature_layer is None:
        found = record.feature_layer
    else:
        with eval_mode(model):
            rows = first_rows(example, 2)
            inputs = place(rows, input_like(inner, rows))
            found = _found(inner, inputs, feature_layer, pool, classes)
    return Subject(name, inner, found, state_hash(inner.state_dict()))


def _found(
    model: nn.Module,
    inputs: Any,
    feature_layer: str | None,
    pool: Pool | None,
    classes: int | None,
) -> FeatureLayer:
    found, _ = find_feature_layer(model, inputs, feature_layer, pool)
    if found.embeds and feature_layer is None and classes is not None:
        found, _ = find_feature_layer(
            model, inputs, None, pool, classes=classes, scores_suffice=True
        )
    return found
