"""Marginal distributions of features by a few quantiles, and the maps between them."""

from __future__ import annotations

import torch
from torch import Tensor

# shares at which quantiles are taken, B = 21
QUANTILE_LEVELS = torch.tensor(
    [0.004, *(part / 20 for part in range(1, 20)), 0.996], dtype=torch.float64
)

_CHUNK = 2**21  # numbers that are sorted or mapped at a time; each takes about a hundred bytes


def quantiles_of(z: Tensor) -> Tensor:
    """Quantiles `[d, B]` of every feature of `z` `[n, d]`, at the shares `QUANTILE_LEVELS`."""
    parts = z.split(max(1, _CHUNK // max(1, len(z))), 1)
    return torch.cat([torch.quantile(part, QUANTILE_LEVELS, dim=0).mT for part in parts])


def interpolated(t: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear maps of `t` `[n, d]`, feature by feature, continued beyond the ends.

    Args:
        t: `[n, d]`.
        knots: `[d, B]` ascending.
        values: `[n, d, B]`, of the maps at the knots.
    """
    part = (t[:, :, None] >= knots[:, 1:-1]).sum(2, keepdim=True)
    around = torch.cat([part, part + 1], 2)
    start, end = knots.expand(t.shape[0], -1, -1).gather(2, around).unbind(2)
    low, high = values.gather(2, around).unbind(2)
    return torch.lerp(low, high, (t - start) / (end - start).clamp_min(1e-6))


def normal_scores(z: Tensor, quantiles: Tensor) -> Tensor:
    """Features `[n, d]` mapped to standard normals, feature by feature, by their quantiles.

    Args:
        z: `[n, d]`.
        quantiles: `[d, B]` of each feature.
    """
    width = quantiles[:, -1] - quantiles[:, 0]
    width = width.where(width > 0, torch.ones_like(width))  # else units would decide what is a tie
    knots = quantiles / width[:, None]
    normal = torch.special.ndtri(QUANTILE_LEVELS)
    parts = [
        interpolated(part / width, knots, normal.expand(*part.shape, -1)).clamp(-3, 3)
        for part in z.split(max(1, _CHUNK // z.shape[1]))
    ]
    return torch.cat(parts)
