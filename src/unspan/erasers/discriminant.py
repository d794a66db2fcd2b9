"""Fisher's linear discriminant with a threshold for a stated share of false positives."""

from __future__ import annotations

import torch
from torch import Tensor

from unspan.erasers.transport import average, mean_and_covariance

_BISECTIONS = 100
_WITHIN = 10  # deviations around the cluster means, where the threshold lies


def discriminant(
    features: Tensor, count: Tensor, mean: Tensor, covariance: Tensor, false_positives: float
) -> Tensor:
    """One affine score `[1, d + 1]`, positive for the features and for few of the clusters.

    The direction is Fisher's between the features and all clusters together. The threshold follows
    from the clusters' moments, as if they were Gaussian.

    Args:
        features: `[n, d]` that are to be recognised.
        count: `[K]` samples of K clusters.
        mean: `[K, d]` of the clusters.
        covariance: `[K, d, d]` of each cluster, or `[1, d, d]` shared by all.
        false_positives: share of the clusters' samples with a positive score.
    """
    share = count.double() / count.sum()
    own_mean, own = mean_and_covariance(features)
    centre = share @ mean
    gaps = mean - centre
    total = average(covariance, count) + (share[:, None] * gaps).mT @ gaps
    inverse = torch.linalg.pinv((own + total) / 2, rtol=1e-9, hermitian=True)
    direction = inverse @ (own_mean - centre)

    at = mean @ direction
    each = covariance.expand(len(at), -1, -1)
    variance = torch.einsum("i,kij,j->k", direction, each, direction)
    deviation = variance.clamp_min(1e-300).sqrt()
    threshold = _threshold(share, at, deviation, false_positives)
    return torch.cat([direction, torch.tensor([-threshold], dtype=torch.float64)])[None]


def _threshold(share: Tensor, at: Tensor, deviation: Tensor, above: float) -> float:
    """The value above which a mixture of normals has a share `above`, by bisection.

    Args:
        share: `[K]` of each normal.
        at: `[K]` means.
        deviation: `[K]`.
        above: share of the mixture.
    """
    low = float((at - _WITHIN * deviation).min())
    high = float((at + _WITHIN * deviation).max())
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if float(share @ torch.special.ndtr((at - middle) / deviation)) > above:
            low = middle
        else:
            high = middle
    return high
