"""Second step of `erase`: check the request, and find where the features are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unspan.data.batch import Batch
from unspan.data.loading import first_and_own, two_of
from unspan.data.request import Request
from unspan.erasers import Affine
from unspan.erasure.checks import (
    check_classes,
    check_parts,
    data_notices,
    described,
    split_notices,
    unsteady,
    without_earlier,
)
from unspan.erasure.install import check_fold
from unspan.erasure.opening import Opened
from unspan.errors import UsageError
from unspan.extraction import FeatureLayer, find_feature_layer, head_parameters
from unspan.extraction.finite import check_first
from unspan.extraction.stream import example
from unspan.methods import EraserMethod
from unspan.models import check_usable


@dataclass(frozen=True, kw_only=True)
class Located:
    """Where the features are, and the forget samples about to be read.

    Attributes:
        request: the request, without what earlier requests erased.
        feature_layer: where features live and where the eraser will sit.
        head: float64 weight `[C, d]` and bias `[C]`; None where there is no linear head.
        batches: of the forget set, to be read once.
        shuffled: whether they come in a random order.
        example: two samples on the device of the model.
        steady: whether two passes over the same samples give the same features.
        notices: for the receipt.
    """

    request: Request
    feature_layer: FeatureLayer
    head: tuple[Tensor, Tensor] | None
    batches: Iterator[Batch]
    shuffled: bool
    example: Any
    steady: bool
    notices: tuple[str, ...]


def locate_features(opened: Opened, method: EraserMethod) -> Located:
    """Refuse what cannot be erased, and find the feature layer on the first samples.

    Raises:
        UsageError: the request, the form or the settings do not fit the model.
        DataError: labels beyond the outputs.
    """
    check_form(opened)
    check_usable(opened.copy_module)
    request = left_to_erase(opened, method)
    notices = notices_of(request)
    first, stream = first_and_own(request.forget, opened.run, shuffle=method.reads_shuffled)
    check_first(opened.copy_module, first, "data to forget")
    inputs = example(two_of(first, request.retain, opened.run), opened.copy_module)
    found, more = _feature_layer(opened, method, inputs)
    if method.embeddings_only and not found.embeds:
        raise UsageError(
            f"{method.name} is for embedding models, and {type(opened.copy_module).__name__} gives"
            " class scores, which would be random too. Use resample or bake for a class; where the"
            " output is an embedding, pass feature_layer='output' (--feature-layer output)."
        )
    method.check(found.dim)
    head = head_parameters(opened.copy_module, found)
    if opened.options.check_labels:
        check_classes(request, head, opened.copy_module)
    check_fold(opened.copy_module, found, opened.options.form)
    drift = described(lambda: unsteady(opened.copy_module, found, first, method), "steadiness")
    return Located(
        request=request,
        feature_layer=found,
        head=head,
        batches=stream,
        shuffled=method.reads_shuffled,
        example=inputs,
        steady=not drift,
        notices=(*notices, *more, *drift),
    )


def check_form(opened: Opened) -> None:
    """Refuse an unknown form, and one other than that of earlier requests (UsageError)."""
    form, record = opened.options.form, opened.earlier_record
    if form not in ("projected", "folded"):
        raise UsageError(f"form='{form}' is not 'projected' or 'folded'.")
    if record is not None and record.placement != "trained" and record.form != form:
        raise UsageError(
            f"The model was erased in the {record.form} form; use form='{record.form}' for further"
            " requests."
        )


def left_to_erase(opened: Opened, method: EraserMethod) -> Request:
    """The request, without what earlier requests erased where the method would move it again.

    Raises:
        UsageError: data that the method needs are missing, or a class was erased before.
    """
    request = opened.request
    check_parts(request, method.needs, method.name)
    if not method.joins_retain:
        return request
    erased = {label for one in opened.earlier_receipts for label in one["request"]["classes"]}
    again = erased & set(request.classes)
    if again:
        raise UsageError(
            f"Class {', '.join(map(str, sorted(again)))} was erased by an earlier request on this"
            " model already."
        )
    if opened.earlier_receipts and "retain" in method.needs:
        return without_earlier(request, opened.earlier_receipts)
    return request


def notices_of(request: Request) -> list[str]:
    """What the user should know of the data; a check that fails is a notice itself."""
    notices = described(lambda: data_notices(request.forget), "reading the data twice")
    return notices + described(lambda: split_notices(request), "overlap of the parts of the data")


def _feature_layer(
    opened: Opened, method: EraserMethod, inputs: Any
) -> tuple[FeatureLayer, list[str]]:
    """The feature layer, and notices; that of an earlier request stays where that is possible.

    A map that needs one vector may not find it at the place of an affine map: then the same
    features are looked up again.
    """
    asked, pool = opened.options.feature_layer, opened.options.pool
    record = opened.earlier_record if asked is None else None
    if record is not None:
        if not (method.one_vector and isinstance(opened.earlier_eraser, Affine)):
            return record.feature_layer, []
        asked = _spelled(record.feature_layer)
        pool = record.feature_layer.pool
    classes = opened.request.num_classes
    return find_feature_layer(
        opened.copy_module, inputs, asked, pool, whole=method.one_vector, classes=classes
    )


def _spelled(feature_layer: FeatureLayer) -> str:
    """The `feature_layer=` that finds this place again."""
    if feature_layer.head is not None:
        return feature_layer.head
    if feature_layer.key:
        return f"output:{feature_layer.key}"
    return f"{feature_layer.reads}:out" if feature_layer.reads else "output"
