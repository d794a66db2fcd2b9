"""Statistics without samples that they describe, for a request that names training samples."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from unspan.erasers.scores import affine_scores
from unspan.extraction.statistics.record import MIN_SAMPLES, Statistics, divided

_NEGATIVE = 0.1  # share of a cluster's scatter from which samples were never in it


def without_samples(found: Statistics, z: Tensor, head: Tensor | None) -> Statistics:
    """The statistics of all samples but those of a request, which were among the training data.

    Counts, means and covariances are those of the other samples. Quantiles and correlations cannot
    be recomputed and stay. A cluster with fewer than 20 others is left out. Where a covariance says
    that the samples were never in a cluster, the cluster stays as it is.

    Args:
        found: of all samples.
        z: `[n, d]` float64 features to leave out.
        head: `[C, d + 1]` rows of the head, None without one.

    Raises:
        DataError: fewer than two clusters would be left.
    """
    home = _nearest_cluster(found, z, head)
    scale = found.deviations()
    count = found.count.clone()
    mean = found.mean.clone()
    covariance = found.covariance.clone()
    shared = found.shares_covariance
    freedom = int(found.count.sum()) - len(found.count)  # of the shared covariance
    for cluster in home[home >= 0].unique().tolist():
        at = 0 if shared else cluster
        own = z[home == cluster] - found.mean[cluster]
        left = int(count[cluster]) - len(own)
        whole = (freedom if shared else int(count[cluster]) - 1) * covariance[at]
        others = whole - own.mT @ own
        if _were_never_in(divided(whole, scale), divided(others, scale)):
            continue
        count[cluster] = max(left, 0)
        if left < MIN_SAMPLES:
            continue
        shift = -own.sum(0) / left
        freedom -= len(own) if shared else 0
        scatter = _nearest_positive(divided(others - left * shift[:, None] * shift, scale))
        covariance[at] = divided(scatter, 1 / scale) / (freedom if shared else left - 1)
        mean[cluster] += shift
    kept = replace(found, count=count, mean=mean, covariance=covariance)
    return kept.only(count >= MIN_SAMPLES)


def _were_never_in(whole: Tensor, others: Tensor) -> bool:
    """Whether taking the samples out leaves a scatter `[d, d]` that no samples could have."""
    largest = float(torch.linalg.eigvalsh(whole)[-1])
    return float(torch.linalg.eigvalsh(others)[0]) < -_NEGATIVE * largest


def _nearest_cluster(found: Statistics, z: Tensor, head: Tensor | None) -> Tensor:
    """The nearest cluster of each sample's predicted class `[n]`, -1 where the class has none."""
    if head is None:
        predicted = found.labels[affine_scores(found.rows, z).argmax(1)]
    else:
        predicted = affine_scores(head, z).argmax(1)
    scale = found.deviations()
    distance = torch.cdist(z / scale, found.mean / scale)
    distance[predicted[:, None] != found.labels] = math.inf
    nearest = distance.min(1)
    return torch.where(nearest.values.isfinite(), nearest.indices, -1)


def _nearest_positive(scatter: Tensor) -> Tensor:
    """The nearest matrix without negative eigenvalues, which rounding of a stored file leaves."""
    values, vectors = torch.linalg.eigh(scatter)
    return (vectors * values.clamp_min(0)) @ vectors.mT
