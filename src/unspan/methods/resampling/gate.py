"""Step 1 of `resample`: the gate, which decides who is moved."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unspan.erasers.discriminant import discriminant
from unspan.erasers.gated import is_gated
from unspan.erasers.scores import undo_scale
from unspan.errors import InconclusiveError, UsageError
from unspan.extraction.statistics import Statistics

MIN_SAMPLES = 20  # that are gated
_TIMES = 5  # that a fitted gate must hold more of the forget samples than of others
_CHUNK = 4096  # samples that are scored at a time


@dataclass(frozen=True)
class GateRows:
    """Affine scores that decide who is gated, in the features' own units.

    Attributes:
        forgotten: `[F, d + 1]`, of what is forgotten.
        others: `[R, d + 1]`, of the rest.
        false_positives: share of others that a fitted gate lets in; 0 for a head.
    """

    forgotten: Tensor
    others: Tensor
    false_positives: float = 0.0

    def fewest(self, count: int) -> int:
        """How many of `count` forget samples must be gated, for the rest to be worth moving."""
        return max(MIN_SAMPLES, math.ceil(min(_TIMES * self.false_positives, 0.5) * count))

    def split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The features `[n, d]` of the request that are gated, and those that are missed.

        Raises:
            InconclusiveError: fewer than 20 are gated, or by a fitted gate fewer than five times
                the share of others that it lets in.
        """
        gated = is_gated(self.forgotten, self.others, features)
        found = int(gated.sum())
        if found < self.fewest(len(features)):
            raise InconclusiveError(
                f"resample: {found} of {len(features)} forget samples are recognised as such; at"
                f" least {self.fewest(len(features))} are needed. Nothing was changed: the samples"
                " have too little in common (single samples), the model hardly knows them, or"
                " labels or preprocessing are wrong. For single samples use a method that trains,"
                " such as finetune or retrain."
            )
        return features[gated], features[~gated]

    def share(self, features: Tensor) -> float:
        """The share of features `[n, d]` that are gated."""
        parts = features.split(_CHUNK)
        found = [int(is_gated(self.forgotten, self.others, part.double()).sum()) for part in parts]
        return sum(found) / len(features)


def gate_of_head(rows: Tensor, classes: tuple[int, ...], earlier: tuple[int, ...]) -> GateRows:
    """Step 1 for classes of a head: a sample is gated when it is predicted as one of them.

    Args:
        rows: `[C, d + 1]` of the head.
        classes: to be forgotten.
        earlier: classes that earlier requests erased; they are neither forgotten now nor others.

    Raises:
        UsageError: the head has no such class.
    """
    if max(classes) >= len(rows):
        raise UsageError(
            f"resample: class {max(classes)} is to be forgotten, and the head has the classes 0 to"
            f" {len(rows) - 1}."
        )
    every = torch.arange(len(rows))
    forgotten = rows[torch.isin(every, torch.tensor(classes))]
    others = rows[~torch.isin(every, torch.tensor([*classes, *earlier]))]
    return GateRows(forgotten, others)


def gate_of_samples(
    features: Tensor, retained: Statistics, scale: Tensor, false_positives: float
) -> GateRows:
    """Step 1 for samples of no class: a sample is gated when a linear discriminant is positive.

    Args:
        features: `[n, d]` of the request, in their own units.
        retained: in their own units.
        scale: `[d]`, by which both are divided first.
        false_positives: share of the retained samples that is gated.
    """
    own = retained.divided(scale)
    row = discriminant(features / scale, own.count, own.mean, own.covariance, false_positives)
    return GateRows(undo_scale(row, scale), torch.zeros_like(row), false_positives)
