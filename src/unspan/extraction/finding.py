"""Find the features of a model, its head, and the site where an eraser can sit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unspan.errors import DataError, UsageError
from unspan.extraction.feature_layer import FeatureLayer, Pool
from unspan.extraction.locating import Located, locate
from unspan.extraction.reading import logits_of, read
from unspan.extraction.returned import tensors_in
from unspan.extraction.score_relations import constant_shift, follow, picks_a_token
from unspan.extraction.sites import absorbs, most_upstream
from unspan.extraction.tracing import Trace, trace_calls


def find_feature_layer(
    model: nn.Module,
    inputs: Any,
    feature_layer: str | None = None,
    pool: Pool | None = None,
    *,
    whole: bool = False,
    classes: int | None = None,
    scores_suffice: bool = False,
) -> tuple[FeatureLayer, list[str]]:
    """Head, features and site of an (unwrapped, evaluation-mode) model, from one small batch.

    Args:
        model: any module; hooks are removed again.
        inputs: a batch of one or more samples on the model's device.
        feature_layer: None to search; a head's name; `NAME:out` for the output of a module;
            `output` for an embedding model's own output, `output:KEY` for one entry of it.
        pool: needed when the features are tokens or maps.
        whole: the eraser needs one vector a sample, so it sits where the features are complete.
        classes: how many classes the labels of the data have, None where they have none.
        scores_suffice: class scores without a linear head will do, since no map is to be placed.

    Returns:
        The feature layer and notices for the user.

    Raises:
        UsageError: no head or several, an unknown name, or features that need pooling.
        ModelError: the features cannot be mapped anywhere.
    """
    if pool not in (None, "cls", "mean", "gap", "last"):
        raise UsageError(f"pool='{pool}' is not cls, mean, gap or last.")
    trace = trace_calls(model, inputs)
    located = locate(model, trace, feature_layer, classes, scores_suffice=scores_suffice)
    head = located.head
    shift: tuple[float, ...] = ()
    if head is not None:
        pool = _token_pool(model, trace, head, pool)
        shift = _shift(model, trace, head, pool, classes)
    draft = _unplaced(located, pool, trace)
    features, _ = read(model, draft, inputs)
    if not bool(features.any()):
        raise DataError(
            f"The features at {located.reads or 'the output'} are all zero on the first samples;"
            " wrong layer? Choose another with feature_layer=."
        )
    site, before, layout = most_upstream(model, inputs, trace, draft, features, whole=whole)
    given = trace.linear[head][0] if before and head in trace.linear else None
    found = replace(
        draft,
        site=site,
        before=before,
        layout=layout,
        dim=features.shape[1],
        affine=not before and not whole and absorbs(model, site, layout),
        whole=whole,
        shift=shift,
        returned=_handed_out(trace, given),
    )
    return found, [*located.notices, *_shared_with(trace, head)]


def _unplaced(located: Located, pool: Pool | None, trace: Trace) -> FeatureLayer:
    """A feature layer that can be read; its site is not known yet."""
    return FeatureLayer(
        head=located.head,
        reads=located.reads,
        output=located.output,
        key=located.key,
        pool=pool,
        site=located.reads,
        before=not located.output,
        layout="last",
        dim=0,
        affine=False,
        keyword=trace.keywords.get(located.head or ""),
        scores=located.scores,
    )


def _handed_out(trace: Trace, given: Tensor | None) -> tuple[tuple[str | int, ...], ...]:
    """Where the output holds the tensor that the head is given."""
    if given is None or isinstance(trace.output, Tensor):
        return ()
    return tuple(
        path
        for path, tensor in tensors_in(trace.output)
        if tensor is given or (tensor.shape == given.shape and torch.equal(tensor, given))
    )


def _token_pool(model: nn.Module, trace: Trace, head: str, pool: Pool | None) -> Pool | None:
    """`last` where the head scores every token and the model returns the scores of one of them.

    Raises:
        UsageError: another pooling was asked for than the scores are made of.
    """
    if head not in trace.linear:
        return pool
    scores, logits = trace.linear[head][1], logits_of(trace.output)
    if logits is None or not picks_a_token(scores, logits):
        return pool
    if pool not in (None, "last"):
        raise UsageError(
            f"pool='{pool}': the scores of {type(model).__name__} are those of one token, the last"
            " one that is not padding. Leave pool out, or pass pool='last'."
        )
    return "last"


def _shift(
    model: nn.Module, trace: Trace, head: str, pool: Pool | None, classes: int | None
) -> tuple[float, ...]:
    """What the model adds to the score of each class behind the head; empty for nothing.

    Raises:
        UsageError: the model's scores do not follow from those of the head.
    """
    logits = logits_of(trace.output)
    if head not in trace.linear or logits is None or pool == "last":
        return ()
    out = trace.linear[head][1]
    if out.shape[0] != logits.shape[0] or out.numel() != logits.numel():
        return ()  # a head of its own, beside the scores: named by the user
    if follow(out, logits):
        return ()
    shift = constant_shift(out, logits)
    if shift is not None:
        return tuple(shift.double().tolist())
    if classes is None:
        return ()
    raise UsageError(
        f"The scores of {type(model).__name__} are not those of '{head}': a layer behind it changes"
        " them sample by sample. Fold it into the head, or name another head with"
        " feature_layer='NAME'."
    )


def _shared_with(trace: Trace, head: str | None) -> list[str]:
    """A notice where other linear layers read the same features as the head."""
    if head is None or head not in trace.linear:
        return []
    own = trace.linear[head][0]
    linear = trace.linear.items()
    others = [name for name, (given, _) in linear if name != head and given is own]
    return [f"the features also feed {', '.join(others)}: changed as well"] if others else []
