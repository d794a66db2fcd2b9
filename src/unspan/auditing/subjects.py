"""Models to be measured, each with the layer where a user of its features reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

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
) -> Subject:
    """A model with the feature layer it is read at: its own when it was erased, else the one that
    is found.
    """
    inner = unwrap(model)
    record = record_of(inner)
    with eval_mode(model):
        found = (
            record.feature_layer
            if record is not None and feature_layer is None
            else find_feature_layer(
                inner,
                place(first_rows(example, 2), input_like(inner, first_rows(example, 2))),
                feature_layer,
                pool,
            )[0]
        )
    return Subject(name, inner, found, state_hash(inner.state_dict()))
