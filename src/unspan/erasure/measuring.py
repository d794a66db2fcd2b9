"""Fifth step of `erase`: what the deletion costs the samples to keep."""

from __future__ import annotations

import time
from dataclasses import dataclass

from unspan.erasure import guard, steps
from unspan.erasure.change import Change
from unspan.erasure.opening import Opened
from unspan.erasure.predictions import Pair


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the guard found.

    Attributes:
        finding: figures and warnings.
        refused: why the result must not be used; None where it may.
        seconds: that measuring took.
    """

    finding: guard.Finding
    refused: str | None
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
    return Measured(finding=finding, refused=refused, seconds=time.perf_counter() - begun)


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
