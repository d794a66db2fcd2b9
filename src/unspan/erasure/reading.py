"""Read models that `erase` made or will work on: features, their number, and pairs of models."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from unspan.artifact.deletion import Deletion
from unspan.artifact.record import record_of
from unspan.data.inputs import place
from unspan.data.loading import batches, peek, two_of
from unspan.data.request import as_request
from unspan.erasure.predictions import Pair
from unspan.extraction import (
    Pool,
    eval_mode,
    find_feature_layer,
    input_like,
    read,
    remembered_feature_layer,
    unwrap,
)
from unspan.extraction.finite import check_first
from unspan.extraction.stream import example
from unspan.models.sentences import tokens, with_tokens
from unspan.run import Run


def features(
    model: nn.Module, inputs: Any, *, feature_layer: str | None = None, pool: Pool | None = None
) -> Tensor:
    """What a feature API of the model exposes for a batch: `[n, d]`, after the eraser if there is
    one.

    Args:
        model: erased or not; unchanged, evaluation mode is used and undone.
        inputs: tensor, tuple or dict as the model takes it; texts for a `SentenceTransformer`.
        feature_layer: as in `erase`; an erased model remembers its own.
        pool: as in `erase`.
    """
    inner = unwrap(model)
    record = record_of(inner)
    with eval_mode(model):
        inputs = tokens(inner, inputs)
        inputs = place(inputs, input_like(inner, inputs))
        found = (
            record.feature_layer
            if record is not None and feature_layer is None
            else remembered_feature_layer(inner, inputs, feature_layer, pool)
        )
        return read(inner, found, inputs)[0]


def feature_size(
    model: nn.Module | Deletion,
    data: Any,
    run: Run,
    *,
    feature_layer: str | None = None,
    pool: Pool | None = None,
) -> int:
    """D of the features that `erase` would work on, from the first samples of the request."""
    source = model.model if isinstance(model, Deletion) else model
    inner, request = unwrap(source), with_tokens(source, as_request(data))
    record = record_of(inner)
    if record is not None and feature_layer is None:
        return record.feature_layer.dim
    first, _ = peek(batches(request.forget, run, shard=False))
    check_first(inner, first, "data to forget")
    inputs = example(two_of(first, request.retain, run), inner)
    with eval_mode(source):
        return find_feature_layer(inner, inputs, feature_layer, pool)[0].dim


def pair_of(original: nn.Module, erased: nn.Module) -> Pair:
    """A model and what `erase` made of it, each with the place of its features."""
    first = record_of(original)
    second = record_of(erased)
    if second is None:
        return Pair(original, erased)
    before = second.feature_layer if first is None else first.feature_layer
    eraser = second.eraser if first is None and second.form == "projected" else None
    return Pair(unwrap(original), unwrap(erased), before, second.feature_layer, eraser)
