"""`resample` without a retain set: of a sample only its best remaining class and its margin stay.

A gated sample gets a class that the key chooses instead.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from unspan.erasers import LogitMarginEraser
from unspan.erasers.gated import features_of_classes
from unspan.erasers.keyed import Cloud
from unspan.erasers.scores import undo_scale
from unspan.errors import UsageError
from unspan.methods.resampling.gate import GateRows
from unspan.methods.resampling.steps import spread_at_random


def fit_head_only(
    features: Tensor,
    head: tuple[Tensor, Tensor],
    gate: GateRows,
    erased: Collection[int],
    generator: torch.Generator,
) -> tuple[LogitMarginEraser, float]:
    """The eraser that knows only the head, and the share of the features that it gates.

    Args:
        features: `[n, d]` of the request.
        head: weight `[C, d]` and bias `[C]`.
        gate: of the classes to be forgotten.
        erased: classes that are forgotten now or were before.
        generator: keyed.

    Raises:
        UsageError: fewer than two classes are retained, or the head cannot tell them apart.
        InconclusiveError: the gate recognises fewer than 20 features.
    """
    if len(gate.others) < 2:
        raise UsageError(
            "resample with statistics='head' needs at least two retained classes; use statistics,"
            " or retrain."
        )
    gated, _ = gate.split(features)
    size = features.square().mean(0).sqrt()
    scale = size.where(size > 0, torch.ones_like(size))
    assignment = spread_at_random(Cloud.of(gated / scale), len(gate.others), generator)
    made = features_of_classes(head, erased, scale)
    if not made.are_read(gate.forgotten, gate.others):
        weight = head[0]
        raise UsageError(
            f"resample with statistics='head': the head has {len(weight)} classes on"
            f" {weight.shape[1]} features and cannot read them one by one; give a retain set, or"
            " statistics."
        )
    eraser = LogitMarginEraser(
        forgotten=gate.forgotten,
        others=gate.others,
        assignment=undo_scale(assignment, scale),
        class_features=made.of_class,
        base=made.base,
    )
    return eraser, len(gated) / len(features)
