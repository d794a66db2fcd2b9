"""What `redraw` reads of other people: their embeddings, or a file of their statistics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unspan.erasers.linalg import root
from unspan.erasers.two_covariance import Others, others_of_clusters, others_of_samples
from unspan.extraction.statistics import Statistics, load_for, sampled, without_samples
from unspan.methods.base import FitContext

_DRAWN = 20_000  # embeddings that stand for a file of statistics


@dataclass(frozen=True)
class Crowd:
    """Other people.

    Attributes:
        others: their moments.
        embeddings: `[n, d]` of them, or draws from a file of statistics.
        count: samples that are behind it.
    """

    others: Others
    embeddings: Tensor
    count: int


def crowd_of(statistics: str, context: FitContext, own: Tensor) -> Crowd:
    """Other people, from the retain set or from a file of `unspan stats`.

    Args:
        statistics: `retain`, or the path of a file.
        context: of the fit.
        own: `[m, d]` of the person, who is left out of the file.

    Raises:
        UsageError: there is no retain set, or the file is of another model.
        DataError: the file describes fewer than two others.
    """
    if statistics == "retain":
        embeddings, labels = sampled(context.require_retain())
        embeddings = embeddings.double()
        return Crowd(others_of_samples(embeddings, labels), embeddings, len(embeddings))
    found = load_for(statistics, context.head, context.earlier_eraser, context.model)
    gone = [*context.classes, *context.earlier_classes]
    found = found.without_classes(gone)
    if not context.classes:
        found = without_samples(found, own, None)
    others = others_of_clusters(found.labels, found.count, found.mean, found.covariance)
    return Crowd(others, drawn(found), int(found.count.sum()))


def drawn(found: Statistics) -> Tensor:
    """Normal embeddings `[20,000, d]` with the moments of each cluster, by its share of samples."""
    generator = torch.Generator().manual_seed(0)
    share = found.count.double()
    cluster = torch.multinomial(share, _DRAWN, replacement=True, generator=generator)
    dim = found.mean.shape[1]
    z = torch.randn(_DRAWN, dim, generator=generator, dtype=torch.float64)
    halves = torch.stack([root(covariance, 0.5) for covariance in found.covariance])
    for k in range(len(found.mean)):
        own = cluster == k
        z[own] = found.mean[k] + z[own] @ halves[min(k, len(halves) - 1)]
    if found.length > 0:
        z = z * (found.length / z.norm(dim=1, keepdim=True).clamp_min(1e-12))
    return z
