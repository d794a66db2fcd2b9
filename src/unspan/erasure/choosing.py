"""The situation of a request, from what is asked and from what the model gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from unspan.data.loading import batches, peek, size_of, two_of
from unspan.data.request import Request
from unspan.errors import UnspanError
from unspan.extraction import Pool, eval_mode, find_feature_layer, unwrap
from unspan.extraction.stream import example
from unspan.methods import Method, Redraw, Resample, Situation
from unspan.run import Run


def situation_of(
    model: nn.Module,
    request: Request,
    run: Run,
    *,
    form: str = "projected",
    earlier: Mapping[str, Any] | None = None,
    feature_layer: str | None = None,
    pool: Pool | None = None,
    statistics: bool = False,
) -> Situation:
    """What decides which methods come into question for a model and a request.

    Args:
        model: the original, or one that was erased before.
        request: what is asked.
        run: device and batch size.
        form: as in `erase`.
        earlier: the receipt of the request before.
        feature_layer: as in `erase`.
        pool: as in `erase`.
        statistics: statistics stand for the data to keep.
    """
    keeps = request.retain is not None
    return Situation.of(
        request,
        form,
        earlier,
        statistics=statistics,
        embeds=(keeps or statistics) and gives_embeddings(model, request, run, feature_layer, pool),
        labelled=keeps and not request.classes and has_labels(request, run),
    )


def uses_statistics(method: Method | None) -> bool:
    """Whether statistics stand for the data to keep in the settings of a method."""
    return isinstance(method, (Resample, Redraw)) and method.statistics != "retain"


def default_settings(method: type[Method], request: Request) -> Mapping[str, Any]:
    """Settings that differ from the defaults of the method: those for single samples."""
    if request.classes or request.retain is None:
        return {}
    return method.for_single(size_of(request.retain, Run()), request.holdout is not None)


def has_labels(request: Request, run: Run) -> bool:
    """Whether the first samples to forget have labels."""
    try:
        first, _ = peek(batches(request.forget, run, shard=False))
    except UnspanError:
        return False
    return first.labels is not None


def gives_embeddings(
    model: nn.Module, request: Request, run: Run, feature_layer: str | None, pool: Pool | None
) -> bool:
    """Whether a model gives embeddings and no class scores, from two samples of the request, or of
    those to keep where one is to be forgotten.

    False where that cannot be told; the erasure then says what is wrong.
    """
    inner = unwrap(model)
    try:
        first, _ = peek(batches(request.forget, run, shard=False))
        with eval_mode(model):
            inputs = example(two_of(first, request.retain, run), inner)
            found, _ = find_feature_layer(
                inner, inputs, feature_layer, pool, classes=request.num_classes
            )
    except UnspanError:
        return False
    return found.embeds
