"""Optimal transport in closed form: between Gaussians, and from samples to places that take a given
share of them.

Source: transport between Gaussians, Dowson and Landau 1982; Sinkhorn steps, Cuturi 2013.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unspan.erasers.linalg import root

_RIDGE = 1e-3  # of the mean variance


def covariance(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[d]` and covariance `[d, d]` of rows `[n, d]`, shrunk to its diagonal."""
    mean = z.mean(0)
    found = (z - mean).mT @ (z - mean) / max(len(z) - 1, 1)
    return mean, shrunk(found, torch.diag(found.diagonal()), len(z))


def shrunk(found: Tensor, towards: Tensor, n: float) -> Tensor:
    """A covariance `[d, d]` of n samples, with `d^2 / n` samples of another one added; from n = 2 d
    on as it is.
    """
    extra = len(found) ** 2 / n if n < 2 * len(found) else 0.0
    return (n * found + extra * towards) / (n + extra)


def average(each: Tensor, count: Tensor) -> Tensor:
    """Mean `[d, d]` of matrices `[K, d, d]`, weighted by samples `[K]`; of `[1, d, d]` the one."""
    return (
        each[0] if len(each) == 1 else torch.einsum("k,kij->ij", count.double() / count.sum(), each)
    )


def steady(covariance: Tensor) -> Tensor:
    """A covariance with a thousandth of its mean variance added, so that directions in which it
    hardly varies are not blown up.
    """
    return covariance + _RIDGE * covariance.diagonal().mean() * torch.eye(
        len(covariance), dtype=covariance.dtype
    )


def gaussian_transport(source: Tensor, target: Tensor) -> Tensor:
    """The symmetric matrix `[d, d]` that takes covariance `source` to `target` with the least
    movement.
    """
    half, back = root(source, 0.5), root(source, -0.5)
    return back @ root(half @ target @ half, 0.5) @ back


def balance(scores: Tensor, shares: Tensor) -> Tensor:
    """Offsets `[K]` so that `argmax(scores + offsets)` takes place k for a share `shares[k]` of the
    rows `[n, K]`.

    The dual of optimal transport from rows to places, by Sinkhorn steps at a falling temperature.
    """
    offsets = torch.zeros(len(shares), dtype=torch.float64)
    for temperature in (2.0, 1.0, 0.5, 0.25, 0.1, 0.05, 0.02):
        for _ in range(30):
            filled = ((scores + offsets) / temperature).softmax(1).mean(0)
            offsets = offsets + temperature * (shares.log() - filled.clamp_min(1e-12).log())
            offsets = offsets - offsets.mean()
    return offsets
