"""Optimal transport in closed form: between Gaussians, and from samples to clusters by shares.

Source: transport between Gaussians, Dowson and Landau 1982; Sinkhorn steps, Cuturi 2013.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unspan.erasers.linalg import Powers, root

ENOUGH = 2  # samples a dimension: a covariance that rests on so many is used as it is
_RIDGE = 1e-3  # of the mean variance
_TINY_RIDGE = 1e-9  # of the mean variance; a covariance that has no more is constant
_TEMPERATURES = (2.0, 1.0, 0.5, 0.25, 0.1, 0.05, 0.02)
_SINKHORN_STEPS = 30  # at each temperature


def mean_and_covariance(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[d]` and covariance `[d, d]` of rows `[n, d]`, shrunk to its diagonal."""
    mean = z.mean(0)
    found = (z - mean).mT @ (z - mean) / max(len(z) - 1, 1)
    return mean, shrink_covariance(found, torch.diag(found.diagonal()), len(z))


def shrink_covariance(found: Tensor, towards: Tensor, n: float) -> Tensor:
    """A covariance `[d, d]` that rests on fewer than 2 d samples, mixed with another one.

    The other one counts as `d^2 / n` samples: as many as there are at n = d, more below. With 2 d
    samples or more nothing is mixed in, so that what has enough samples depends on them alone.

    Args:
        found: `[d, d]`, of n samples.
        towards: `[d, d]`, the other one.
        n: samples behind `found`.
    """
    d = len(found)
    extra = 0.0 if n >= ENOUGH * d else d**2 / n
    return (n * found + extra * towards) / (n + extra)


def average(each: Tensor, count: Tensor) -> Tensor:
    """Mean `[d, d]` of matrices `[K, d, d]`, weighted by samples `[K]`; of `[1, d, d]` the one."""
    if len(each) == 1:
        return each[0]
    return torch.einsum("k,kij->ij", count.double() / count.sum(), each)


def with_ridge(covariance: Tensor, share: float = _RIDGE) -> Tensor:
    """A covariance `[d, d]` with a share of its mean variance added to every variance.

    Directions in which it hardly varies are then not blown up by its inverse.
    """
    eye = torch.eye(len(covariance), dtype=covariance.dtype)
    return covariance + share * covariance.diagonal().mean() * eye


def gaussian_transport(source: Tensor, target: Tensor) -> Tensor:
    """The symmetric matrix `[d, d]` from covariance `source` to `target` with least movement."""
    power = Powers(source)
    middle = root(_between(power(0.5), target), 0.5)
    return _between(power(-0.5), middle)


def _between(outer: Tensor, inner: Tensor) -> Tensor:
    """`outer inner outer`; wide matrices are let go of as soon as they are used."""
    return outer @ inner @ outer


def covariance_correction(made: Tensor, real: Tensor) -> Tensor:
    """The matrix `[d, d]` from covariance `made` to covariance `real` with least movement.

    Movement counts in units of the deviations of `real`, so that small features move little. Where
    everything is constant the matrix is the identity.
    """
    scale = real.diagonal().clamp_min(1e-12).sqrt()
    made = made / scale[:, None] / scale
    if float(made.diagonal().mean()) <= _TINY_RIDGE:
        return torch.eye(len(made), dtype=made.dtype)
    made = with_ridge(made, _TINY_RIDGE)
    return scale[:, None] * gaussian_transport(made, real / scale[:, None] / scale) / scale


def balanced_offsets(scores: Tensor, shares: Tensor) -> Tensor:
    """Offsets `[K]` with which `argmax(scores + offsets)` fills K clusters by their shares.

    This is the dual of optimal transport from rows to clusters, found by Sinkhorn steps at a
    falling temperature.

    Args:
        scores: `[n, K]` of n samples.
        shares: `[K]` that sum to 1.
    """
    offsets = torch.zeros(len(shares), dtype=torch.float64)
    for temperature in _TEMPERATURES:
        for _ in range(_SINKHORN_STEPS):
            filled = ((scores + offsets) / temperature).softmax(1).mean(0)
            offsets = offsets + temperature * (shares.log() - filled.clamp_min(1e-12).log())
            offsets = offsets - offsets.mean()
    return offsets
