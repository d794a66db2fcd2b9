"""How a model was erased: the record that travels with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from unspan.erasers import Eraser
from unspan.extraction import RECORD, FeatureLayer, unwrap

Form = Literal["projected", "folded", "trained"]


Placement = Literal["hook", "weights", "head", "trained"]


@dataclass
class Record:
    """How a model was erased; travels with the model object.

    Attributes:
        feature_layer: where features live and where the eraser sits.
        form: `projected`, `folded` or `trained`.
        placement: `hook` (an eraser module at the site), `weights` (absorbed by the affine layer
            before the head), `head` (absorbed by the head: the folded form) or `trained` (no
            eraser: the weights were changed).
        receipt: the latest receipt.
        eraser: float64 eraser of all requests where it is a module of the model; None where
            weights took it up, since it tells what was erased.
    """

    feature_layer: FeatureLayer
    form: Form
    placement: Placement
    receipt: dict[str, Any]
    eraser: Eraser | None = None


def keep_record(record: Record, model: nn.Module) -> None:
    """Let a record travel with the model it is about."""
    setattr(model, RECORD, record)


def record_of(model: nn.Module) -> Record | None:
    """How a model was erased; None for one that was not."""
    found: Record | None = vars(unwrap(model)).get(RECORD)
    return found
