"""What one erasure did to the copy of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from unspan.artifact.record import Form, Placement
from unspan.erasers import Eraser
from unspan.extraction import FeatureLayer
from unspan.extraction.stream import Seen


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one erasure found, fitted and changed.

    Attributes:
        feature_layer: where features live and where the eraser sits.
        eraser: map of all requests so far; None where weights were trained.
        figures: what the receipt says of the fit, see `figures_of`.
        placement: where the eraser was written.
        form: `projected`, `folded` or `trained`.
        seen: what was read of the forget set.
        access_paths: by each way in which people take features, whether it is covered.
        warnings: for the user.
        seconds: that the method took.
        example: two samples on the device of the model.
        undo: what weights lost, see `install`.
    """

    feature_layer: FeatureLayer
    eraser: Eraser | None
    figures: dict[str, Any]
    placement: Placement
    form: Form
    seen: Seen
    access_paths: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float
    example: Any
    undo: Tensor | None = None

    @property
    def eraser_as_module(self) -> Eraser | None:
        """The eraser where the copy carries it as a module; None where weights took it up."""
        return self.eraser if self.placement == "hook" else None


def figures_of(
    report: Mapping[str, Any],
    *,
    samples: int,
    dim: int,
    retained_read: int | None,
    forget_used: int | None,
    retained_used: int | None,
) -> dict[str, Any]:
    """What the receipt says of a fit: numbers of samples, then the figures of the method.

    Args:
        report: figures of the method; they change no number that is counted here.
        samples: of the forget set that were read.
        dim: of the features.
        retained_read: samples of the retain set that were read; None leaves it out, as below.
        forget_used: as in `Fit` and `Outcome`.
        retained_used: likewise.
    """
    counted = {
        "samples": samples,
        "dim": dim,
        "retained_read": retained_read,
        "forget_used": forget_used,
        "retained_used": retained_used,
    }
    known = {name: number for name, number in counted.items() if number is not None}
    of_method = {name: value for name, value in report.items() if name not in known}
    return known | of_method
