"""Third step of `erase`: read the features once and fit the eraser."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from unspan import dist
from unspan.data.loading import size_of
from unspan.data.passes import read_batches
from unspan.erasers import Eraser, Projection, compose, kinds
from unspan.erasure.carrying_out import fitted
from unspan.erasure.locating import Located
from unspan.erasure.opening import Opened
from unspan.errors import UsageError
from unspan.extraction.model_reading import FeatureReading
from unspan.extraction.stream import ModelFeatures, Seen, seen_by_all
from unspan.methods import EraserMethod, Fit, FitContext


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a method found.

    Attributes:
        fit: its eraser and its figures.
        eraser: the map of all requests so far; None where this one adds nothing to those before.
        seen: what all processes read of the forget set.
        retained_read: samples of the retain set that they read; None where the method has none.
        seconds: that the method took.
    """

    fit: Fit
    eraser: Eraser | None
    seen: Seen
    retained_read: int | None
    seconds: float


def fit_eraser(opened: Opened, located: Located, method: EraserMethod) -> Fitted:
    """Read the features and fit.

    Raises:
        InconclusiveError: the method found no usable map.
        UsageError: nothing would be left, or the method returned no eraser of unspan.
    """
    request = located.request
    earlier = _earlier_eraser(opened, method)
    forget = _forget_features(opened, located, earlier)
    retain = _retain_features(opened, located, method, earlier)
    context = FitContext(
        forget=forget,
        retain=retain,
        head=located.head,
        classes=request.classes,
        earlier_classes=tuple(opened.earlier_classes),
        earlier_eraser=earlier,
        key=opened.key,
        seed=opened.run.seed,
        model=opened.copy_module,
        frozen_norms=opened.frozen_norms,
    )
    dist.agree("the settings", (repr(method), request.kind, request.selector, request.classes))
    begun = time.perf_counter()
    fit = fitted(method, context)
    seconds = time.perf_counter() - begun
    if not isinstance(fit.eraser, Eraser):
        raise UsageError(
            f"Method {method.name} returned a {type(fit.eraser).__name__}, which cannot be saved or"
            f" folded: give one of {', '.join(kinds())} of unspan.erasers."
        )
    seen = seen_by_all(forget)
    total = _with_earlier(opened.earlier_eraser, fit.eraser, located.feature_layer.dim)
    return Fitted(
        fit=fit,
        eraser=total,
        seen=seen,
        retained_read=None if retain is None else sum(dist.gather(retain.samples_read)),
        seconds=seconds,
    )


def _earlier_eraser(opened: Opened, method: EraserMethod) -> Eraser | None:
    """The eraser that features go through before the method sees them.

    None for two projections: their spans are found on original features, and united.
    """
    if isinstance(opened.earlier_eraser, Projection) and method.projects:
        return None
    return opened.earlier_eraser


def _forget_features(opened: Opened, located: Located, earlier: Eraser | None) -> ModelFeatures:
    data, run = located.request.forget, opened.run
    reading = FeatureReading(opened.copy_module, located.feature_layer)
    return ModelFeatures(
        reading,
        read_batches(data, run, reading, shuffle=located.shuffled, begun=located.batches),
        run,
        total=size_of(data, run),
        head=located.head,
        earlier_eraser=earlier,
    )


def _retain_features(
    opened: Opened, located: Located, method: EraserMethod, earlier: Eraser | None
) -> ModelFeatures | None:
    """Features of the retain set, in random order where only a part may be read."""
    if "retain" not in method.needs:
        return None
    data = located.request.retain
    limit = opened.run.max_samples if method.retain_limit is None else method.retain_limit
    run = replace(opened.run, max_samples=limit)
    reading = FeatureReading(opened.copy_module, located.feature_layer)
    return ModelFeatures(
        reading,
        read_batches(data, run, reading, shuffle=limit is not None),
        opened.run,
        total=size_of(data, run),
        head=None,
        earlier_eraser=earlier,
        says="reading data to keep",
    )


def _with_earlier(earlier: Eraser | None, fitted: Eraser, dim: int) -> Eraser | None:
    """The map of all requests; None where a projection adds no direction to those before."""
    total = compose(earlier, fitted)
    if not isinstance(total, Projection):
        return total
    gone = earlier.basis.shape[1] if isinstance(earlier, Projection) else 0
    rank = total.basis.shape[1]
    if isinstance(earlier, Projection) and rank == gone:
        return None
    if rank >= dim:
        raise UsageError(
            f"The requests together would remove all {dim} directions; {gone} are gone already. Use"
            " a lower rank, or retrain."
        )
    return total
