"""The eraser of the method resample: it moves gated samples into clusters of the other classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from unspan.erasers.gated import Gate
from unspan.erasers.quantiles import interpolated
from unspan.erasers.scores import with_one

CODEBOOKS = 3  # each names one code of a sample; together they pick its noise
_SLACK = 0.9  # of the distance to a smallest value that is not 0: no two values fall on it
# by which the codes are multiplied and added: odd, so that another code is another noise vector
_STRIDES = (1, 67, 2053)


class Resampler(Gate):
    """Moves gated samples into clusters of the other classes; all others pass unchanged.

    For a gated sample z that goes to cluster j:

    1. its codes pick a noise vector e, and `t = maps[j] (z + e) + offsets[j]`, in standard units;
    2. every feature of t goes through an increasing piecewise linear map of its own, from `knots`
       to `quantiles[j]`;
    3. `covariance_correction[j]` and `shifts[j]` give the covariance and the mean of the cluster,
       within bounds that keep small values small (`bounded`).

    Standard units have no scale; all else is in the units of the features.

    Attributes:
        codebooks: `[3 M, d + 1]` affine scores; the largest of each third is one of M codes.
        noise: `[T, d]` noise vectors, which all combinations of codes share.
        maps: `[K, d, d]`, or `[1, d, d]` shared by all clusters; from features to standard units.
        offsets: `[K, d]`, in standard units.
        knots: `[d, B]` ascending, in standard units.
        quantiles: `[K, d, B]` ascending, features.
        covariance_correction: `[K, d, d]` or `[1, d, d]`, from features to features.
        shifts: `[K, d]`, features; added after the covariance correction.
        length: `[]`, the norm that outputs get, for embeddings of one length; None leaves it free.
    """

    codebooks: Tensor
    noise: Tensor
    maps: Tensor
    offsets: Tensor
    knots: Tensor
    quantiles: Tensor
    covariance_correction: Tensor
    shifts: Tensor
    length: Tensor | None

    def map_stored(self, z: Tensor) -> Tensor:
        return self.map_some(z, self.gates(with_one(z.to(self.forgotten))))

    def erase(self, z: Tensor, x: Tensor, gated: Tensor, cluster: Tensor) -> Tensor:
        noise = self.noise[noise_index(linear(x, self.codebooks), len(self.noise))]
        t = affine_by_cluster(z + noise, self.maps, self.offsets, cluster)

        quantiles = self.quantiles[cluster]
        u = interpolated(t, self.knots, quantiles)

        corrected = affine_by_cluster(u, self.covariance_correction, self.shifts, cluster)
        moved = bounded(u, corrected - u, quantiles[:, :, 0], quantiles[:, :, -1])
        if self.length is not None:
            moved = moved * (self.length / moved.norm(dim=1, keepdim=True).clamp_min(1e-12))
        return torch.where(gated[:, None], moved, z)


def noise_index(scores: Tensor, count: int) -> Tensor:
    """Which of `count` noise vectors each sample gets, `[n]`.

    Args:
        scores: `[n, 3 M]` of the samples in three codebooks; the largest score of each third is a
            code.
        count: of noise vectors.
    """
    codes = scores.unflatten(1, (CODEBOOKS, -1)).argmax(2).unbind(1)
    first, second, third = (stride * code for stride, code in zip(_STRIDES, codes, strict=True))
    return (first + second + third) % count


def affine_by_cluster(z: Tensor, maps: Tensor, offsets: Tensor, cluster: Tensor) -> Tensor:
    """`maps[j] z + offsets[j]` `[n, d]`, with the cluster j of every row of `z` `[n, d]`.

    Args:
        z: `[n, d]`.
        maps: `[K, d, d]`, or `[1, d, d]` shared by all clusters.
        offsets: `[K, d]`.
        cluster: `[n]` int64.
    """
    if len(maps) == 1:
        return torch.addmm(offsets[cluster], z, maps[0].mT)
    if z.device.type == "cpu" and not torch.compiler.is_compiling() and len(z) > 0:
        # reads each map in place: a copy of n of them takes three times as long
        rows = zip(cluster.tolist(), z)
        return torch.stack([torch.addmv(offsets[j], maps[j], row) for j, row in rows])
    return torch.baddbmm(offsets[cluster][:, :, None], maps[cluster], z[:, :, None])[:, :, 0]


def bounded(u: Tensor, change: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """`u + change`, where small values stay small and zeros stay zeros.

    No value moves by more than its distance to `low`. Outside `[low, high]` it goes on with a tenth
    of the slope, so that no other value is taken twice: equal answers to inputs that differ a
    little would be a trace.
    """
    gap = (u - low).clamp_min(0)
    moved = u + torch.clamp(change, torch.where(low == 0, -gap, -_SLACK * gap), gap)
    moved = torch.lerp(torch.clamp(moved, low, high), moved, 0.1)
    return torch.where(low >= 0, moved.clamp_min(0), moved)
