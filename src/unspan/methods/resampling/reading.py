"""What `resample` reads: features of the request, and statistics of the retained samples."""

from __future__ import annotations

from torch import Tensor

from unspan.erasers import head_rows
from unspan.errors import DataError
from unspan.extraction.statistics import (
    Statistics,
    load_for,
    of_features,
    reservoir,
    sampled,
    without_samples,
)
from unspan.methods.base import FitContext
from unspan.methods.resampling.gate import MIN_SAMPLES

_MAX_FORGET = 20_000  # features in memory; more add nothing to a mean and a covariance


def names_classes(context: FitContext) -> bool:
    """Whether the request is of classes that a head knows."""
    return context.head is not None and bool(context.classes)


def erased_classes(context: FitContext) -> list[int]:
    """Classes that this request forgets or an earlier one did: no sample may go to them."""
    return [*context.classes, *context.earlier_classes]


def forget_features(context: FitContext) -> Tensor:
    """Features `[n, d]` of the request in float64, at most 20,000.

    Raises:
        DataError: fewer than 20.
    """
    features = reservoir(context.forget, _MAX_FORGET)[0].double()
    if len(features) < MIN_SAMPLES:
        raise DataError(
            f"resample needs at least {MIN_SAMPLES} forget samples to find where they lie, and"
            f" there are {len(features)}."
        )
    return features


def retained_statistics(
    source: str, context: FitContext, forget: Tensor
) -> tuple[Statistics, Tensor | None]:
    """Statistics of the retained samples, and their features `[n, d]` where these were read.

    Args:
        source: `retain`, or the path of a file of `unspan stats`.
        context: of the fit.
        forget: `[n, d]` features of the request.

    Raises:
        UsageError: there is no retain set, or the file is of another model.
        DataError: fewer than two clusters are left.
    """
    if source != "retain":
        return _of_file(source, context, forget), None
    features, labels = sampled(context.require_retain())
    found = of_features(features, labels, context.head)
    return found.without_classes(erased_classes(context)), features


def _of_file(path: str, context: FitContext, forget: Tensor) -> Statistics:
    """A file describes the forget samples as well: their class is left out, or they are."""
    found = load_for(path, context.head, context.earlier_eraser, context.model)
    found = found.without_classes(erased_classes(context))
    if names_classes(context):
        return found
    head = None if context.head is None else head_rows(context.head)
    return without_samples(found, forget, head)
