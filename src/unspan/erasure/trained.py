"""Let a method change the weights of the copy: give it the data it declared, and nothing else."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from unspan import dist
from unspan.artifact import receipt as receipts
from unspan.data.loading import first_and_own, size_of, two_of
from unspan.data.passes import read_batches
from unspan.data.request import Request, classes_in
from unspan.erasure import steps
from unspan.erasure.carrying_out import unlearned
from unspan.erasure.change import Change, figures_of
from unspan.erasure.checks import (
    check_classes,
    check_parts,
    check_recognised,
    parts_of,
    without_earlier,
)
from unspan.erasure.locating import notices_of
from unspan.erasure.opening import Opened
from unspan.errors import InconclusiveError, UsageError
from unspan.extraction import FeatureLayer, attach, find_feature_layer, head_parameters
from unspan.extraction.feature_layer import at_head_input
from unspan.extraction.finite import check_first
from unspan.extraction.model_reading import FeatureReading
from unspan.extraction.stream import ModelFeatures, Seen, example, seen_by_all
from unspan.methods import Outcome, TrainedMethod
from unspan.models import check_usable
from unspan.system.digests import state_hash
from unspan.training.checkpoint import Checkpoint
from unspan.training.context import TrainingContext, class_scores, image_layout

_FEWEST = 20  # labelled samples from which the output may tell what it is


@dataclass(frozen=True, kw_only=True)
class ForgetPass:
    """What one pass over the forget set found, for the receipt.

    Attributes:
        request: the request, without what earlier requests erased.
        feature_layer: where features and head are.
        example: two samples on the device of the model.
        seen: what all processes read.
        notices: for the user.
    """

    request: Request
    feature_layer: FeatureLayer
    example: Any
    seen: Seen
    notices: tuple[str, ...]


def train_weights(opened: Opened, method: TrainedMethod) -> Change:
    """Read the forget set once for the receipt, then let the method change the copy in place.

    Raises:
        UsageError: data that the method needs are missing, or an eraser would be trained away.
        DataError: the model does not recognise what is to be forgotten.
        InconclusiveError: weights that are not finite.
    """
    _check_request(opened, method)
    opened.run.begin(steps.READ)
    read = read_forget_set(opened)
    opened.run.begin(steps.TRAIN)
    context = _context(opened, method, read)
    frozen = not any(one.requires_grad for one in opened.copy_module.parameters())
    dist.agree(
        "the settings",
        (repr(method), read.request.kind, read.request.selector, read.request.classes),
    )
    begun = time.perf_counter()
    with image_layout(opened.copy_module), torch.enable_grad():
        outcome = unlearned(method, context)
    seconds = time.perf_counter() - begun
    _check_finite(opened, method)
    notices = list(read.notices)
    if frozen and list(opened.copy_module.parameters()):
        notices.append(
            "no parameter of the model requires gradients: methods that train had nothing to change"
        )
    if context.checkpoint.resumed:
        notices.append(
            f"the run went on after epoch {context.checkpoint.resumed} of one that was stopped; its"
            " seconds are those since then"
        )
    layer = read.feature_layer
    if outcome.head_input is not None:
        layer = at_head_input(layer)
        attach(opened.copy_module, layer, outcome.head_input)
    return Change(
        feature_layer=layer,
        eraser=outcome.head_input,
        figures=_figures(outcome, context, read),
        placement="trained" if outcome.head_input is None else "hook",
        form="trained",
        seen=read.seen,
        warnings=(*notices, *outcome.warnings),
        seconds=seconds,
        example=read.example,
    )


def _check_request(opened: Opened, method: TrainedMethod) -> None:
    record, limit = opened.earlier_record, opened.run.max_samples
    if record is not None and record.placement != "trained":
        raise UsageError(
            f"This model carries an eraser of an earlier request, which {method.name} would train"
            f" away. Give both requests together to {method.name} and start from the original, or"
            " use esc."
        )
    check_usable(opened.copy_module)
    check_parts(opened.request, method.needs, method.name)
    if limit is not None:
        raise UsageError(
            f"max_samples={limit} cuts the request, and {method.name} trains on all of it. Leave it"
            " out, or make the request smaller."
        )


def read_forget_set(opened: Opened) -> ForgetPass:
    """Read the forget set once: digests for the receipt, and whether the model recognises it."""
    request, options, model = opened.request, opened.options, opened.copy_module
    if opened.earlier_receipts:
        request = without_earlier(request, opened.earlier_receipts)
    notices = notices_of(request)
    first, stream = first_and_own(request.forget, opened.run)
    check_first(model, first, "data to forget")
    inputs = example(two_of(first, request.retain, opened.run), model)
    found, more = _feature_layer(opened, request, inputs)
    head = _read_out(model, found)
    if options.check_labels:
        check_classes(request, head, model)
    total = size_of(request.forget, opened.run)
    reading = FeatureReading(model, found)
    parts = read_batches(request.forget, opened.run, reading, begun=stream)
    features = ModelFeatures(reading, parts, opened.run, total=total, head=head)
    with dist.stopping_together():
        for _ in features:
            pass
    seen = seen_by_all(features)
    if found.embeds and options.feature_layer is None and _names_them(seen):
        found, more = replace(found, scores=True), [_TAKEN.format(kind=type(model).__name__)]
    if found.embeds:
        head, seen = None, replace(seen, hits=0, labelled=0)
    if options.check_labels and not opened.earlier_receipts:
        check_recognised(seen, head, request)
    return ForgetPass(
        request=request,
        feature_layer=found,
        example=inputs,
        seen=seen,
        notices=(*notices, *more),
    )


_TAKEN = (
    "no linear layer gives the output of {kind}: it is taken for class scores, since its largest"
    " number names the forget samples; if it is an embedding, pass feature_layer='output'"
    " (--feature-layer output)"
)


def _feature_layer(opened: Opened, request: Request, inputs: Any) -> tuple[FeatureLayer, list[str]]:
    """The feature layer, and notices; labels are counted only where they decide."""
    options = opened.options

    def searched(classes: int | None) -> tuple[FeatureLayer, list[str]]:
        return find_feature_layer(
            opened.copy_module,
            inputs,
            options.feature_layer,
            options.pool,
            classes=classes,
            scores_suffice=True,
        )

    found = searched(request.num_classes)
    unclear = found[0].embeds and options.feature_layer is None and request.num_classes is None
    return searched(classes_in(request)) if unclear else found


def _names_them(seen: Seen) -> bool:
    """Whether the largest output names most of the labelled samples, as no embedding does."""
    return seen.labelled >= _FEWEST and 2 * seen.hits > seen.labelled


def _read_out(model: nn.Module, layer: FeatureLayer) -> tuple[Tensor, Tensor] | None:
    """The head in float64; where the output is the features, the one that changes nothing."""
    if layer.head is None:
        return torch.eye(layer.dim).double(), torch.zeros(layer.dim).double()
    return head_parameters(model, layer)


def _context(opened: Opened, method: TrainedMethod, read: ForgetPass) -> TrainingContext:
    """The copy, the parts of the data that the method declared, and where its epochs are kept."""
    with torch.no_grad():
        classes = class_scores(opened.copy_module, read.example).shape[1]
    return TrainingContext(
        model=opened.copy_module,
        feature_layer=read.feature_layer,
        parts=parts_of(read.request, method.needs, method.reads_if_given),
        run=opened.run,
        checkpoint=Checkpoint(opened.options.resume, _key(opened, method, read.feature_layer)),
        classes=classes,
        forgotten=read.request.classes,
        frozen=opened.frozen_norms,
        labelled=method.labelled,
    )


def _check_finite(opened: Opened, method: TrainedMethod) -> None:
    for name, one in opened.copy_module.named_parameters():
        if not bool(torch.isfinite(one).all()):
            raise InconclusiveError(
                f"{method.name}: {name} is infinite or NaN after the method ran, so there is no"
                " erased model. Use weaker settings, such as a lower lr."
            )


def _figures(outcome: Outcome, context: TrainingContext, read: ForgetPass) -> dict[str, Any]:
    """What the receipt says of the training; what the method was given counts as used."""
    samples = read.seen.samples
    forget = samples if "forget" in context.parts else 0
    retained = len(context.parts["retain"]) if "retain" in context.parts else 0
    history = {"history": list(outcome.history)} if outcome.history else {}
    return figures_of(
        {**outcome.report, **history},
        samples=samples,
        dim=read.feature_layer.dim,
        retained_read=retained,
        forget_used=forget if outcome.forget_used is None else outcome.forget_used,
        retained_used=retained if outcome.retained_used is None else outcome.retained_used,
    )


def _key(opened: Opened, method: TrainedMethod, feature_layer: FeatureLayer) -> str:
    """Hash of what decides the result; `TrainingContext.fingerprint` adds the samples."""
    content = [
        state_hash(opened.copy_module.state_dict()),
        method.name,
        repr(method),
        feature_layer.to_dict(),
        sorted(opened.frozen_norms),
        opened.run.seed,
        dist.world(),
        receipts.versions(),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
