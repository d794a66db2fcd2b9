"""Fifth step of `erase`: what the deletion costs the samples to keep, and what was remembered."""

from __future__ import annotations

import time
from dataclasses import dataclass

from unspan.erasure import guard, steps
from unspan.erasure.change import Change
from unspan.erasure.opening import Opened
from unspan.erasure.predictions import Pair
from unspan.erasure.remembering import Remembered, remembered


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the guard found.

    Attributes:
        finding: figures and warnings.
        refused: why the result must not be used; None where it may.
        before: whether the original remembered single samples; None where that was not measured.
        after: the same of the erased model.
        seconds: that measuring took.
    """

    finding: guard.Finding
    refused: str | None
    before: Remembered | None
    after: Remembered | None
    seconds: float


def measure_damage(opened: Opened, change: Change) -> Measured | None:
    """Compare the model before and after; None where `measure=False` was asked for."""
    if not opened.options.measure:
        return None
    opened.run.begin(steps.MEASURE)
    begun = time.perf_counter()
    finding = guard.measured(
        _pair(opened, change),
        opened.full_request,
        opened.held,
        opened.run,
        opened.limit,
        opened.full_request.class_names,
        opened.earlier_classes,
    )
    resume = opened.options.resume if opened.trains else None
    refused = guard.refusal(finding, opened.method, resume, change.figures)
    before, after = _remembered(opened, change)
    return Measured(
        finding=finding,
        refused=refused,
        before=before,
        after=after,
        seconds=time.perf_counter() - begun,
    )


def _remembered(opened: Opened, change: Change) -> tuple[Remembered | None, Remembered | None]:
    """The attack on single samples, before and after; None without held-out samples."""
    record = opened.earlier_record
    layer = change.feature_layer if record is None else record.feature_layer
    before = remembered(opened.original_module, opened.full_request, opened.run, layer)
    if before is None:
        return None, None
    request, run = opened.full_request, opened.run
    return before, remembered(opened.copy_module, request, run, change.feature_layer)


def _pair(opened: Opened, change: Change) -> Pair:
    """Both models; with the eraser, where scores after follow from features before."""
    record = opened.earlier_record
    before = change.feature_layer if record is None else record.feature_layer
    derived = record is None and opened.options.form == "projected" and not opened.trains
    return Pair(
        opened.original_module,
        opened.copy_module,
        before,
        change.feature_layer,
        change.eraser if derived else None,
    )
