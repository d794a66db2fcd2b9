"""What all probes share: which rows they may use, column statistics, and how predictions become a
`Reading`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unspan.errors import DataError
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading

CHUNK = 4096  # rows a matrix product: a slice of the features and its scores stay in the cache


def classes_of(fit: Outputs, test: Outputs) -> int:
    """Number of classes of both sets: of the scores, or of the labels where those name more.

    Raises:
        DataError: a set has no labelled sample, or the test data no labelled forget sample.
    """
    if not (fit.labels >= 0).any():
        raise DataError("A probe needs labels: the data it is fitted on has none.")
    if not (test.forget & (test.labels >= 0)).any():
        raise DataError("A probe needs labelled test samples of what was forgotten: there is none.")
    return max(fit.classes(), test.classes(), int(fit.labels.max()) + 1, int(test.labels.max()) + 1)


def share_reading(
    attack: str, hit: Tensor, test: Outputs, named: Tensor | None = None, **detail: Any
) -> Reading:
    """Reading of a probe from its hits.

    Args:
        attack: name.
        hit: `[n]` 1 where the label was read, or the mean of several runs; unlabelled rows are left
            out.
        test: the test set.
        named: `[n]` 1 where a forgotten class was read, right or wrong, or the mean of several
            runs; None where that is not known.
        detail: JSON values for the report.
    """
    hit = hit.double()
    labelled = test.labels >= 0
    rest = labelled & ~test.forget
    retain = float(hit[rest].mean()) if rest.any() else None
    return Reading(
        attack=attack,
        unit="share",
        forget=hit[labelled & test.forget],
        alarms=None if named is None or not rest.any() else named.double()[rest],
        retain=retain,
        detail=detail,
    )


def names_forgotten(read: Tensor, test: Outputs) -> Tensor:
    """Where labels that a probe reads are those of a forgotten class, of the shape of `read`."""
    forgotten = test.labels[test.forget & (test.labels >= 0)].unique()
    return torch.isin(read, forgotten)


def shuffled(n: int, seed: int) -> Tensor:
    """A permutation of n rows that depends on the seed only."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def stratified(labels: Tensor, cap: int, seed: int) -> Tensor:
    """At most about `cap` labelled rows, in order, with the class shares of all (at least one a
    class).

    >>> stratified(torch.tensor([0] * 60 + [1] * 30 + [-1] * 5), 30, 0).shape
    torch.Size([30])
    """
    order = shuffled(len(labels), seed)
    order = order[labels[order] >= 0]
    share = min(1.0, cap / max(len(order), 1))
    ranks = labels[order].sort(stable=True)
    counts = torch.bincount(ranks.values)
    place = torch.arange(len(order)) - (counts.cumsum(0) - counts)[ranks.values]
    kept = place < (counts * share).round().clamp_min(1)[ranks.values]
    return order[ranks.indices[kept]].sort().values


def moments(features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation `[d]` in float64; columns constant to float32 get
    deviation 1.
    """
    count = weights.sum()
    mean = torch.zeros(features.shape[1], dtype=torch.float64)
    square = mean.clone()
    for x, w in zip(features.split(CHUNK), weights.split(CHUNK), strict=True):
        mean += w @ x.double()
    mean /= count
    for x, w in zip(features.split(CHUNK), weights.split(CHUNK), strict=True):
        square += w @ (x.double() - mean).square()
    scale = (square / count).sqrt()
    return mean, scale.where(scale > 1e-6 * mean.abs(), torch.ones_like(scale))
