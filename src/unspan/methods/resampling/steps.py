"""Steps 2 to 5 of `resample`, in order: cluster, noise, map, covariance correction.

Features are float64 and divided by each feature's deviation, so that their units decide nothing. K
is the number of clusters, d of features.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from unspan.erasers import affine_scores
from unspan.erasers.keyed import (
    Cloud,
    balanced,
    draw_codebooks,
    draw_noise_vectors,
    random_scores,
)
from unspan.erasers.linalg import root
from unspan.erasers.quantiles import interpolated, quantiles_of
from unspan.erasers.resampler import affine_by_cluster
from unspan.erasers.transport import (
    average,
    covariance_correction,
    gaussian_transport,
    mean_and_covariance,
    shrink_covariance,
    with_ridge,
)
from unspan.extraction.statistics import Statistics

_SIMULATED = 4000  # samples of a cluster
_FEWEST = 0.1  # samples of a cluster's share: full already, and a share of none has no logarithm
# what a forget sample counts in the covariance of its own group: the map is made for later samples
# too, and a group's own covariance fits the samples of the fit better than those
_OWN = 0.5
_CHUNK = 512  # samples that go through the maps of their clusters at a time


# step 2: a cluster for each gated sample


def assign_clusters(
    gated: Cloud,
    missed: Tensor,
    retained: Statistics,
    generator: torch.Generator,
) -> Tensor:
    """Step 2: affine scores `[K, d + 1]`; a gated sample goes to the cluster with the largest.

    The clusters fill in proportion to their retained samples. What is missed by the gate stays
    where it is and counts too.

    Args:
        gated: features that move.
        missed: `[m, d]` features of the request that the gate misses.
        retained: of the K clusters.
        generator: keyed.
    """
    capacity = cluster_capacity(retained, missed, len(gated.rows) + len(missed))
    return spread_over_clusters(gated, retained.rows, capacity, generator)


def cluster_capacity(retained: Statistics, missed: Tensor, samples: int) -> Tensor:
    """How many gated samples each cluster takes, `[K]`.

    With what the gate misses, all clusters then have a like share of forgotten samples.

    Args:
        retained: of the K clusters.
        missed: `[m, d]` features that pass unchanged; each lies in the cluster of the nearest
            centre.
        samples: of the request in all.
    """
    nearest = torch.cdist(missed, retained.mean).argmin(1)
    there = torch.bincount(nearest, minlength=len(retained.mean))
    return (samples * retained.count / retained.count.sum() - there).clamp_min(_FEWEST)


def spread_over_clusters(
    gated: Cloud,
    rows: Tensor,
    shares: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Affine scores `[K, d + 1]` whose argmax spreads gated features over clusters by shares.

    They are random scores plus the standardised scores of the model.

    Args:
        gated: features that move.
        rows: `[K, d + 1]` scores of the model, one row a cluster.
        shares: `[K]` positive numbers; their proportions count.
        generator: keyed.
    """
    own = rows - rows.mean(0)
    size = affine_scores(own, gated.rows).std().clamp_min(1e-12)
    mixed = random_scores(gated, len(rows), generator) + own / size
    return balanced(mixed, gated.rows, shares, generator)


def spread_at_random(gated: Cloud, count: int, generator: torch.Generator) -> Tensor:
    """Affine scores `[count, d + 1]` whose argmax spreads gated features evenly, by the key alone.

    Args:
        gated: features that move.
        count: of clusters.
        generator: keyed.
    """
    shares = torch.ones(count)
    return balanced(random_scores(gated, count, generator), gated.rows, shares, generator)


# step 3: noise


def draw_noise(
    gated: Cloud, noise_fraction: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Step 3: codebooks `[3 * 64, d + 1]`, and the noise vectors `[T, d]` that codes choose.

    Args:
        gated: features, whose covariance the noise has.
        noise_fraction: share of the variance of features and noise together that is noise.
        generator: keyed.
    """
    codebooks = draw_codebooks(gated, generator)
    noise = draw_noise_vectors(gated, noise_fraction, generator)
    return codebooks, noise


# step 4: a map to each cluster


def map_to_clusters(
    x: Tensor, cluster: Tensor, retained: Statistics
) -> tuple[Tensor, Tensor, Tensor]:
    """Step 4: maps from noisy features to normal scores with the correlations of their cluster.

    Args:
        x: `[n, d]` gated features with noise.
        cluster: `[n]` int64, where each goes.
        retained: of the K clusters.

    Returns:
        Maps `[K, d, d]` (or `[1, d, d]`), offsets `[K, d]`, and knots `[d, B]`: the quantiles of
        what the maps give, over all clusters.
    """
    groups = [x[cluster == k] for k in range(len(retained.mean))]
    means = torch.stack([_mean_with_one_more(group, x.mean(0)) for group in groups])
    within = mean_and_covariance(x - means[cluster])[1]
    if retained.shares_covariance:
        maps = gaussian_transport(with_ridge(within), retained.correlation[0])[None]
    else:
        maps = _maps_of_groups(groups, within, retained)
    every = torch.arange(len(means))
    offsets = -affine_by_cluster(means, maps, torch.zeros_like(means), every)
    parts = zip(x.split(_CHUNK), cluster.split(_CHUNK))
    given = torch.cat([affine_by_cluster(part, maps, offsets, there) for part, there in parts])
    return maps, offsets, quantiles_of(given).contiguous()


def _mean_with_one_more(group: Tensor, sample: Tensor) -> Tensor:
    """Mean `[d]` of a group `[n, d]` and one more sample `[d]`; the group may be empty."""
    return (group.sum(0) + sample) / (len(group) + 1)


def _maps_of_groups(groups: list[Tensor], within: Tensor, retained: Statistics) -> Tensor:
    """Transport `[K, d, d]` from the covariance of each group to the correlations of its cluster.

    Covariances of few samples are mixed with the one `within` all groups `[d, d]`.
    """
    usual = average(retained.correlation, retained.count)
    maps = []
    for group, target, n in zip(groups, retained.correlation, retained.count.tolist()):
        source = within
        if len(group) > 1:
            source = shrink_covariance(group.mT.cov(), within, _OWN * len(group))
        maps.append(gaussian_transport(with_ridge(source), shrink_covariance(target, usual, n)))
    return torch.stack(maps)


# step 5: the covariance of each cluster


def correct_covariance(
    retained: Statistics, knots: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Step 5: maps from what steps 3 and 4 give to the covariance and mean of each cluster.

    What they give is simulated, cluster by cluster. Features are near linear dependence, which maps
    feature by feature break, and who whitens them would see it. The covariance is met before the
    eraser keeps small values small (`bounded`), and after it about.

    Args:
        retained: of the K clusters.
        knots: `[d, B]` of step 4.
        generator: keyed.

    Returns:
        Matrices `[K, d, d]` (or `[1, d, d]`) and shifts `[K, d]`.
    """
    shared = retained.shares_covariance
    usual = average(retained.covariance, retained.count)
    means, centred, matrices = [], [], []
    for k, made in enumerate(_simulate(retained, knots, generator)):
        means.append(made.mean(0))
        if shared:
            centred.append(made - made.mean(0))
            continue
        real = shrink_covariance(retained.covariance[k], usual, int(retained.count[k]))
        matrices.append(covariance_correction(made.mT.cov(), real))
    if shared:
        matrices = [covariance_correction(torch.cat(centred).mT.cov(), usual)]
    corrections = torch.stack(matrices)
    before = torch.stack(means)
    every = torch.arange(len(before))
    zero = torch.zeros_like(retained.mean)
    return corrections, retained.mean - affine_by_cluster(before, corrections, zero, every)


def _simulate(retained: Statistics, knots: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """For each cluster `[n, d]` samples with its correlations and quantiles, as of step 4."""
    n = _SIMULATED
    if retained.shares_covariance:
        n = max(_SIMULATED // len(retained.mean), 100)
    usual = average(retained.correlation, retained.count)
    half = root(usual, 0.5)
    for k, quantiles in enumerate(retained.quantiles):
        if not retained.shares_covariance:
            own = shrink_covariance(retained.correlation[k], usual, int(retained.count[k]))
            half = root(own, 0.5)
        t = torch.randn(n, len(half), generator=generator, dtype=torch.float64) @ half
        parts = [
            interpolated(part, knots, quantiles.expand(len(part), -1, -1))
            for part in t.split(_CHUNK)
        ]
        yield torch.cat(parts)
