"""LEACE: the smallest affine change of the features after which no affine probe tells the forget
samples from the rest.

Idea: remove the cross-covariance between features and membership in the request, in whitened
coordinates.
Formula: `z = 1[x in D_f]`, `W = Sigma_xx^{+1/2}`, P the projection on `W Sigma_xz`; `x -> x - W^+ P
W (x - mu)`.
Needs: forget and retain samples; no labels. Cost: one forward pass over both and an
eigendecomposition of `[d, d]`.
Typical: no settings.
Fails: guards against affine probes of this one question only. Multinomial, kNN and non-linear
probes read the class, and the boundary between retained classes is not considered.
Source: Belrose et al., "LEACE: Perfect linear concept erasure in closed form", NeurIPS 2023,
theorem 4.3.
Deviates: none; `concept-erasure` is the oracle of the tests (without shrinkage).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unspan import dist
from unspan.erasers import LinearMap
from unspan.erasers.linalg import RANK_TOLERANCE, deviations, eigh
from unspan.errors import DataError
from unspan.extraction.stream import FeatureStream
from unspan.methods.base import EraserMethod, Fit, FitContext
from unspan.system.memory import require_square

Moments = tuple[int, Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class LEACE(EraserMethod):
    """LEACE has no settings."""

    name: ClassVar[str] = "leace"
    paper: ClassVar[str] = "Belrose et al., LEACE, NeurIPS 2023, arXiv 2306.03819"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {}
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})
    stronger: ClassVar[tuple[str, ...]] = ()

    def check(self, dim: int) -> None:
        """Refuse features so wide that `[d, d]` matrices do not fit."""
        require_square("LEACE", dim, 5)

    def fit(self, context: FitContext) -> Fit:
        """Read both parts of the data, return the affine map.

        Raises:
            UsageError: no retained data.
            DataError: forget and retained samples have the same mean already.
        """
        pooled = Pooled.of(_moments(context.forget), _moments(context.require_retain()))
        matrix, offset, correlation = eraser(pooled)
        return Fit(
            LinearMap(matrix, offset=offset),
            {"r2_before": correlation},
            retained_used=pooled.retained,
        )


def _moments(stream: FeatureStream) -> Moments:
    """Count, mean `[d]` and covariance `[d, d]` (divisor n) over all processes, float64.

    The order of the samples, and how they are shared out, moves the last digits.
    """
    with dist.stopping_together():
        count, mean, scatter = _read(stream)
    parts = dist.gather((count, mean))
    total = sum(n for n, _ in parts)
    if total == 0:
        raise DataError("LEACE needs forget and retained samples; one of the two is empty.")
    if len(parts) > 1:
        centre = torch.stack([own * (n / total) for n, own in parts]).sum(0)
        scatter.addr_(mean - centre, mean - centre, alpha=count)
        dist.add_up(scatter)
        mean = centre
    return total, mean, scatter.div_(total)


def _read(stream: FeatureStream) -> Moments:
    """Count, mean `[d]` and scatter `[d, d]` of what this process reads."""
    count, mean = 0, torch.zeros(stream.dim, dtype=torch.float64)
    scatter = torch.zeros(stream.dim, stream.dim, dtype=torch.float64)
    for features, _ in stream:
        rows = features.double()
        gap = rows.mean(0) - mean
        centred = rows - rows.mean(0)
        scatter.addmm_(centred.mT, centred)
        scatter.addr_(gap, gap, alpha=count * len(rows) / (count + len(rows)))
        mean = mean + gap * (len(rows) / (count + len(rows)))
        count += len(rows)
    return count, mean, scatter


@dataclass(frozen=True)
class Pooled:
    """Forget and retained samples together.

    Attributes:
        share: of the forget samples.
        retained: how many retained samples there are.
        mean: `[d]` of all.
        gap: `[d]`, from the mean of the retained samples to that of the forget samples.
        covariance: `[d, d]` of all.
    """

    share: float
    retained: int
    mean: Tensor
    gap: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, forget: Moments, retain: Moments) -> Pooled:
        """Pool two parts; the covariance of the first one is overwritten, to hold one less."""
        share = forget[0] / (forget[0] + retain[0])
        mean = share * forget[1] + (1 - share) * retain[1]
        gap = forget[1] - retain[1]
        covariance = forget[2].lerp_(retain[2], 1 - share)
        covariance.addr_(gap, gap, alpha=share * (1 - share))
        return cls(share, retain[0], mean, gap, covariance)


def eraser(pooled: Pooled) -> tuple[Tensor, Tensor, float]:
    """Matrix A `[d, d]` and offset b `[d]` of `x -> A x + b`, and the R^2 of the best affine probe
    before.

    `A = I - s v^T` with `v = Sigma^+ s / (s^T Sigma^+ s)` and s the cross-covariance, so that
    `A s = 0` whatever directions the pseudo-inverse leaves out. It is taken in units of every
    column's deviation: the units of the columns decide nothing.

    Args:
        pooled: both parts; its covariance is overwritten.
    """
    mean, between = pooled.mean, pooled.share * (1 - pooled.share)
    cross = between * pooled.gap  # Sigma_xz of the indicator
    scale = deviations(pooled.covariance, mean)
    values, vectors = eigh(pooled.covariance.div_(scale[:, None]).div_(scale))
    kept = values > RANK_TOLERANCE**2 * values[-1].clamp_min(1e-300)
    size = values.sqrt().where(kept, torch.full_like(values, torch.inf))
    whitened = (vectors.mT @ (cross / scale)) / size
    length = float(whitened.norm())
    if length < 1e-10:
        raise DataError(
            "LEACE: forget and retained features have the same mean already; nothing was changed."
        )
    reader = vectors @ (whitened / size) / scale / length**2
    matrix = torch.eye(len(mean), dtype=torch.float64).addr_(cross, reader, alpha=-1)
    return matrix, mean - matrix @ mean, length**2 / between
