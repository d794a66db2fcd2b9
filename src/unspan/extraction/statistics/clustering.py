"""Classes cut into clusters, by k-means or by what a head predicts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unspan.erasers.scores import affine_scores
from unspan.extraction.statistics.record import MIN_SAMPLES, deviations_of

MAX_PER_CLASS = 8  # clusters of a class
_MAX_WITHOUT_LABELS = 10  # clusters of samples that have no label
_KMEANS_STEPS = 30
_CHUNK = 4096  # samples that are scored at a time


@dataclass(frozen=True)
class Clusters:
    """Samples by cluster.

    Attributes:
        rows: `[K, d + 1]` affine scores of the clusters.
        labels: class of each, -1 for none.
        groups: K tensors `[n_k, d]` of features.
    """

    rows: Tensor
    labels: list[int]
    groups: list[Tensor]


def by_label(z: Tensor, y: Tensor) -> Clusters:
    """Every label cut into clusters; a cluster's score is largest where its centre is nearest.

    Args:
        z: `[n, d]` features.
        y: `[n]` labels, -1 where a sample has none.
    """
    labels: list[int] = []
    groups: list[Tensor] = []
    for label in y.unique().tolist():
        most = MAX_PER_CLASS if label >= 0 else _MAX_WITHOUT_LABELS
        found = k_means(z[y == label], most)
        groups += found
        labels += [label] * len(found)
    centres = z[:0].double()
    if groups:
        centres = torch.stack([group.double().mean(0) for group in groups])
    scale = torch.ones(z.shape[1], dtype=torch.float64)
    if len(z) > 1:
        scale = deviations_of(z.double().var(0))
    near = centres / scale
    rows = torch.cat([2 * near / scale, -near.square().sum(1, keepdim=True)], 1)
    return Clusters(rows, labels, groups)


def by_prediction(z: Tensor, head: Tensor, most: int) -> Clusters:
    """Every class that the head predicts cut into at most `most` clusters, scored by its row.

    Args:
        z: `[n, d]` features.
        head: `[C, d + 1]` rows of the head.
        most: clusters of a class.
    """
    predicted = torch.cat(
        [affine_scores(head, part.double()).argmax(1) for part in z.split(_CHUNK)]
    )
    labels: list[int] = []
    groups: list[Tensor] = []
    for label in range(len(head)):
        found = k_means(z[predicted == label], most)
        groups += found
        labels += [label] * len(found)
    return Clusters(head[labels], labels, groups)


def k_means(z: Tensor, most: int) -> list[Tensor]:
    """Rows `[n, d]` in up to `most` groups around nearest centres (Lloyd's k-means).

    Distances are in units of each column's deviation. There are so many groups that one has at
    least 2 d samples on average, so that a covariance means something. Groups of fewer than 20
    samples are left out.
    """
    count = min(most, len(z) // max(MIN_SAMPLES, 2 * z.shape[1]), len(z))
    if count < 2:
        return [z] if len(z) >= MIN_SAMPLES else []
    x = z / deviations_of(z.double().var(0)).to(z)
    centres = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:count]]
    for _ in range(_KMEANS_STEPS):
        nearest = torch.cdist(x, centres).argmin(1)
        centres = torch.stack([_centre(x[nearest == k], centres[k]) for k in range(count)])
    nearest = torch.cdist(x, centres).argmin(1)
    groups = [z[nearest == k] for k in range(count)]
    return [group for group in groups if len(group) >= MIN_SAMPLES]


def _centre(group: Tensor, before: Tensor) -> Tensor:
    """The mean of a group, or its centre of before where the group is empty."""
    return group.mean(0) if len(group) > 0 else before
