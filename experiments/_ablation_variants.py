"""Resample with one part taken out or made smaller, for `experiments/resample_ablation.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unspan.erasers import Resampler, affine_scores
from unspan.erasers.keyed import Cloud, draw_codebooks, draw_noise_vectors
from unspan.erasers.linalg import root
from unspan.erasers.quantiles import QUANTILE_LEVELS, interpolated
from unspan.erasers.resampler import affine_by_cluster, noise_index
from unspan.erasers.scores import undo_scale
from unspan.erasers.transport import average, mean_and_covariance
from unspan.extraction.statistics import Statistics, clustering, of_features
from unspan.methods.resampling.gate import gate_of_head
from unspan.methods.resampling.steps import assign_clusters, correct_covariance, map_to_clusters

RADIANS = 8.0  # as in redraw: by which phases of neighbours differ


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What of resample there is; the defaults are all of it."""

    clusters: int = 8  # of a class, at most
    one_map: bool = False  # for all clusters
    by_key_alone: bool = False  # no second guess of the model in the choice of the cluster
    missed_count: bool = True  # what the gate misses fills clusters, too
    draws: int = 4096
    codebooks: int = 3
    noise: str = "codes"  # codes, none, or cosines
    noise_fraction: float = 0.5
    transport: bool = True
    quantiles: bool = True
    correction: bool = True
    bounds: bool = True
    scaled: bool = True


class Altered(Resampler):
    """A resampler without bounds, or with noise by cosines."""

    bounds = True
    waves: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def erase(self, z: Tensor, x: Tensor, gated: Tensor, cluster: Tensor) -> Tensor:
        if self.bounds and self.waves is None:
            return super().erase(z, x, gated, cluster)
        t = affine_by_cluster(z + self._noise(z, x), self.maps, self.offsets, cluster)
        u = interpolated(t, self.knots, self.quantiles[cluster])
        moved = affine_by_cluster(u, self.covariance_correction, self.shifts, cluster)
        if self.bounds:
            from unspan.erasers.resampler import bounded

            low, high = self.quantiles[cluster][:, :, 0], self.quantiles[cluster][:, :, -1]
            moved = bounded(u, moved - u, low, high)
        return torch.where(gated[:, None], moved, z)

    def _noise(self, z: Tensor, x: Tensor) -> Tensor:
        if self.waves is None:
            return self.noise[noise_index(affine_scores(self.codebooks, z), len(self.noise))]
        mean, frequencies, phases, mixing = (one.to(z.dtype) for one in self.waves)
        return math.sqrt(2) * torch.cos((z - mean) @ frequencies.mT + phases) @ mixing.mT


def numbers(eraser: Resampler) -> int:
    """Numbers that an eraser stores, without those of noise that it does not use."""
    return sum(one.numel() for one in eraser.buffers()) + sum(
        one.numel() for one in getattr(eraser, "waves", None) or ()
    )


@contextmanager
def at_most(clusters: int) -> Iterator[None]:
    """Classes are cut into at most so many clusters."""
    before = clustering.MAX_PER_CLASS
    clustering.MAX_PER_CLASS = clusters
    try:
        yield
    finally:
        clustering.MAX_PER_CLASS = before


def fitted(
    variant: Variant,
    forget: Tensor,
    retained: Tensor,
    head: tuple[Tensor, Tensor],
    classes: tuple[int, ...],
    seed: int,
) -> Altered:
    """The five steps of the method with what the variant leaves of them.

    Args:
        variant: what there is.
        forget: `[n, d]` of the request.
        retained: `[m, d]`.
        head: weight `[C, d]` and bias `[C]`.
        classes: to be forgotten.
        seed: of the key.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.cat([head[0], head[1][:, None]], 1)
    forget = forget.double()
    with at_most(variant.clusters):
        found = of_features(retained, torch.zeros(len(retained)).long(), head)
    found = found.without_classes(classes)
    if variant.one_map:
        found = _sharing(found)
    gate = gate_of_head(rows, classes, ())
    gated, missed = gate.split(forget)
    scale = found.deviations(forget) if variant.scaled else torch.ones(forget.shape[1]).double()
    clusters, gated, missed = found.divided(scale), gated / scale, missed / scale
    if not variant.quantiles:
        clusters = _gaussian(clusters)

    counted = missed if variant.missed_count else missed[:0]
    if variant.by_key_alone:
        clusters = replace(clusters, rows=torch.zeros_like(clusters.rows))
    assignment = assign_clusters(Cloud.of(gated), counted, clusters, generator)
    chosen = affine_scores(assignment, gated).argmax(1)

    codebooks, noise, waves, noisy = _noise(variant, gated, generator)
    maps, offsets, knots = map_to_clusters(noisy, chosen, clusters)
    if not variant.transport:
        maps, offsets, knots = _by_feature(noisy, chosen, clusters)
    corrections, shifts = correct_covariance(clusters, knots, generator)
    if not variant.correction:
        corrections, shifts = torch.eye(len(scale)).double()[None], torch.zeros_like(clusters.mean)

    eraser = Altered(
        forgotten=gate.forgotten,
        others=gate.others,
        assignment=undo_scale(assignment, scale),
        codebooks=undo_scale(codebooks, scale),
        noise=noise * scale,
        maps=maps / scale,
        offsets=offsets,
        knots=knots,
        quantiles=clusters.quantiles * scale[:, None],
        covariance_correction=scale[:, None] * corrections / scale,
        shifts=shifts * scale,
    )
    eraser.bounds = variant.bounds
    if waves is not None:
        mean, frequencies, phases, mixing = waves
        eraser.waves = (mean * scale, frequencies / scale, phases, mixing * scale[:, None])
    return eraser


def _sharing(found: Statistics) -> Statistics:
    return replace(
        found,
        covariance=average(found.covariance, found.count)[None],
        correlation=average(found.correlation, found.count)[None],
    )


def _gaussian(found: Statistics) -> Statistics:
    """Normal features: quantiles that follow from means and variances."""
    each = found.covariance.diagonal(dim1=1, dim2=2).sqrt()
    normal = torch.special.ndtri(QUANTILE_LEVELS)
    return replace(found, quantiles=found.mean[:, :, None] + each[:, :, None] * normal)


Waves = tuple[Tensor, Tensor, Tensor, Tensor]


def _noise(
    variant: Variant, gated: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Waves | None, Tensor]:
    """Codebooks, noise vectors, waves, and the features `[n, d]` with their noise."""
    codebooks = draw_codebooks(Cloud.of(gated), generator)
    codebooks[64 * variant.codebooks :] = 0
    fraction = 0.0 if variant.noise == "none" else variant.noise_fraction
    noise = draw_noise_vectors(Cloud.of(gated), fraction, generator)[: variant.draws]
    if variant.noise != "cosines":
        index = noise_index(affine_scores(codebooks, gated), len(noise))
        return codebooks, noise, None, gated + noise[index]
    dim = gated.shape[1]
    mean, spread = mean_and_covariance(gated)
    drawn = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    frequencies = RADIANS / math.sqrt(2 * dim) * drawn @ root(spread, -0.5)
    phases = 2 * math.pi * torch.rand(dim, generator=generator, dtype=torch.float64)
    turned = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))[0]
    mixing = (fraction / (1 - fraction)) ** 0.5 * root(spread, 0.5) @ turned
    added = math.sqrt(2) * torch.cos((gated - mean) @ frequencies.mT + phases) @ mixing.mT
    return codebooks[:3], noise[:1], (mean, frequencies, phases, mixing), gated + added


def _by_feature(
    noisy: Tensor, chosen: Tensor, clusters: Statistics
) -> tuple[Tensor, Tensor, Tensor]:
    """Step 4 without transport: every feature is standardised by itself."""
    scale = noisy.std(0).clamp_min(1e-9)
    standard = clusters.correlation[:1] * 0 + torch.eye(len(scale)).double()
    maps = standard / scale
    offsets = -(noisy.mean(0) / scale).expand(len(clusters.mean), -1)
    from unspan.erasers.quantiles import quantiles_of

    return maps, offsets, quantiles_of(noisy / scale - noisy.mean(0) / scale).contiguous()
