"""What one erasure did to the copy of the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from unspan.artifact.deletion import Form, Placement
from unspan.erasers import Eraser
from unspan.extraction import FeatureLayer
from unspan.extraction.stream import Seen
from unspan.methods import Fit, Outcome


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one erasure found, fitted and changed.

    Attributes:
        feature_layer: where features live and where the eraser sits.
        eraser: map of all requests so far; None where weights were trained.
        fit: figures of the method.
        placement: where the eraser was written.
        form: `projected`, `folded` or `trained`.
        seen: what was read of the forget set.
        access_paths: by each way in which people take features, whether it is covered.
        warnings: for the user.
        seconds: that the method took.
        example: two samples on the device of the model.
        undo: rows that an affine layer lost.
    """

    feature_layer: FeatureLayer
    eraser: Eraser | None
    fit: Fit | Outcome
    placement: Placement
    form: Form
    seen: Seen
    access_paths: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float
    example: Any
    undo: Tensor | None = None
