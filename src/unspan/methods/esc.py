"""ESC: remove the principal directions of the forget features.

Idea: penultimate features of the forget set concentrate in few directions; project all features
onto the rest.
Formula: `Z_f = U S Vᵀ` (uncentred), `k = floor(d p / 100)`, `z -> (I - U_k U_kᵀ) z`.
Needs: forget samples, no labels. Cost: one forward pass plus O(n d^2 + d^3); memory O(d^2).
Typical: p = 1.5 (d = 96: k = 1; d = 512: 7; d = 768: 11).
Fails: an attacker who trains a probe to convergence reads the class almost as before; with the
weights the projection is simply removed. On non-negative features the first direction is nearly the
mean, shared by classes. Principal directions are those of the raw features, so columns of larger
units come first. What is below 1e-5 of the largest stays (LEACE does not depend on units).
Source: Lee, Park, Jeon, Hwang, Park, "ESC: Erasing Space Concept for Knowledge Deletion", CVPR
2025, eq. 1-3.
Deviates: see docs/paper-map.md; the released code is reproduced in experiments/released.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from unspan import dist
from unspan.erasers import Projection
from unspan.erasers.linalg import (
    RANK_TOLERANCE,
    Moments,
    Spectrum,
    asked_rank,
    check_rank,
    choose_rank,
    default_rank,
    rank_from_percent,
    spectrum,
)
from unspan.errors import DataError, UsageError
from unspan.extraction.stream import FeatureStream
from unspan.methods.base import EraserMethod, Fit, FitContext

_SAFETY = 2.0  # how much larger than its estimate the error of the moments is taken to be


@dataclass(frozen=True, kw_only=True)
class ESC(EraserMethod):
    """Settings of ESC. Give one of p, rank, energy; without any, p = 1.5.

    Attributes:
        p: percent of the d directions to remove; `k = floor(d p / 100)`. With neither p, rank nor
            energy, p = 1.5 and at least one direction.
        rank: k itself.
        energy: remove the fewest directions that hold this share of the squared norm.
        adaptive: stop reading once the span has converged to `sin theta <= tolerance`.
        tolerance: of `adaptive`.
    """

    p: float | None = None
    rank: int | None = None
    energy: float | None = None
    adaptive: bool = False
    tolerance: float = 0.05
    name: ClassVar[str] = "esc"
    paper: ClassVar[str] = "Lee et al., ESC: Erasing Space Concept, CVPR 2025, arXiv 2504.02199"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"p": (1.5, 3.0, 6.0, 12.0)}
    needs: ClassVar[frozenset[str]] = frozenset({"forget"})
    stronger: ClassVar[tuple[str, ...]] = ("rank", "p")
    projects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        alternatives = {"p": self.p, "rank": self.rank, "energy": self.energy}
        given = [name for name, value in alternatives.items() if value is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} are alternatives; give one of them.")
        if isinstance(self.energy, Real) and not 0 < self.energy < 1:
            raise UsageError(
                f"energy={self.energy} is not a share; use 0 < energy < 1, for example 0.9."
            )
        if not 0 < self.tolerance < 1:
            raise UsageError(
                f"tolerance={self.tolerance}: use a sine between 0 and 1, for example 0.05."
            )

    def check(self, dim: int) -> None:
        """Refuse impossible settings before any data is read."""
        self.rank_for(dim)

    @property
    def one_process(self) -> bool:
        """Adaptive reading decides after every batch whether it goes on."""
        return self.adaptive

    @property
    def reads_shuffled(self) -> bool:
        """Random order, so that what was read so far stands for the rest."""
        return self.adaptive

    def rank_for(self, dim: int) -> int | None:
        """Directions that the settings name for `dim` features; None where the data decide."""
        if self.rank is not None:
            return check_rank(dim, self.rank)
        if self.energy is not None:
            return None
        return default_rank(dim) if self.p is None else rank_from_percent(dim, self.p)

    def rank_of(self, found: Spectrum) -> int:
        """Directions that the settings remove of this spectrum, at least one.

        Raises:
            UsageError, DataError: an impossible rank, or a spectrum of zeros.
        """
        return choose_rank(found, p=self.p, rank=self.rank, energy=self.energy)

    def fit(self, context: FitContext) -> Fit:
        """Read the forget features and return the projection.

        Raises:
            UsageError, DataError: an impossible rank, an empty or all-zero forget set.
        """
        if self.adaptive:
            moments, bound = self._read_until_converged(context.forget)
        else:
            moments, bound = read_all(context.forget), None
        found = spectrum(moments)
        k = self.rank_of(found)
        report = report_of(found, k) | ({"sin_theta_bound": bound} if bound is not None else {})
        asked = asked_rank(found, p=self.p, rank=self.rank, energy=self.energy)
        return Fit(Projection(found.basis[:, :k].clone()), report, _warnings(found, k, asked))

    def _read_until_converged(self, stream: FeatureStream) -> tuple[Moments, float]:
        """Read in random order until the bound of `_converged` is below the tolerance."""
        halves = (Moments(stream.dim), Moments(stream.dim))
        bound, check_at = math.inf, max(64, 4 * (self.rank or 1))
        for number, (features, _) in enumerate(stream):
            halves[number % 2].update(features)
            seen = halves[0].count + halves[1].count
            if (
                seen >= check_at
                and halves[1].count
                and (stream.total is None or seen < stream.total)
            ):
                bound = self._bound(halves, stream.total)
                if bound <= self.tolerance:
                    break
                check_at = max(seen + 1, int(seen * 1.5))
        else:
            bound = 0.0  # everything was read
        halves[0].merge(halves[1].state())
        return halves[0], bound

    def _bound(self, halves: tuple[Moments, Moments], total: int | None) -> float:
        """Davis-Kahan bound on `sin theta` between the span so far and that of the full pass.

        With second moments C_a, C_b of two halves of m samples, `(C_a - C_b) / 2` is distributed
        like the error of their mean; its block between the span and the complement, over the
        eigenvalue gap, bounds the sine to first order. Without replacement the error shrinks by
        `sqrt(1 - m / n)`. A factor 2 covers the estimate.
        """
        both = Moments(halves[0].dim)
        for half in halves:
            both.merge(half.state())
        try:
            found = spectrum(both)
            k = self.rank_of(found)
        except DataError:  # too few samples so far for this rank
            return math.inf
        size = float(torch.linalg.matrix_norm(_leak(halves, found, k), 2))
        gap = float(found.sigma[k - 1].square() - found.sigma[k].square()) / found.count
        left = 1.0 if total is None else math.sqrt(max(0.0, 1 - found.count / total))
        return _SAFETY * left * size / max(gap, 1e-300)


def _leak(halves: tuple[Moments, Moments], found: Spectrum, k: int) -> Tensor:
    """The part of half the difference of two mean moments that maps the span out of itself."""
    first, second = halves
    inside, outside = found.basis[:, :k], found.basis[:, k:]
    a, b = first.rows(), second.rows()
    if a is None or b is None:
        error = (first.second() / first.count - second.second() / second.count) / 2
        return outside.mT @ error @ inside
    moved = (a.mT @ (a @ inside) / first.count - b.mT @ (b @ inside) / second.count) / 2
    return moved - inside @ (inside.mT @ moved)


def read_all(stream: FeatureStream) -> Moments:
    """Moments of the whole stream, of which every process reads its part."""
    moments = Moments(stream.dim)
    with dist.stopping_together():
        for features, _ in stream:
            moments.update(features)
    return dist.summed(moments)


def report_of(found: Spectrum, k: int) -> dict[str, Any]:
    """Figures about k directions of a spectrum, for the receipt."""
    share = found.sigma[:k].square().sum() / found.sigma.square().sum()
    return {
        "rank": k,
        "energy_removed": float(share),
        "gap": found.gap(k),
        "cos_first_direction_mean": found.cos_mean(),
        "singular_values": [float(value) for value in found.sigma[: k + 1]],
    }


def _warnings(found: Spectrum, k: int, asked: int) -> tuple[str, ...]:
    out = []
    if k < asked:
        out.append(
            f"{k} of {asked} directions were removed: {found.small} of the {len(found.sigma)}"
            f" feature columns are below {RANK_TOLERANCE:g} of the largest, where directions of the"
            " raw features cannot be told from rounding; method leace does not depend on units"
        )
    if found.gap(k) < 1e-6:
        out.append(
            f"k={k} cuts through equal singular values (gap {found.gap(k):.1e}): the removed span"
            " is not unique"
        )
    if found.cos_mean() > 0.99:
        out.append(
            f"|cos(u1, mean forget feature)| = {found.cos_mean():.4f}: the first direction is"
            " nearly the mean, which other classes may share; check the remaining accuracy"
        )
    if found.count < len(found.sigma):
        out.append(
            f"{found.count} samples in {len(found.sigma)} dimensions: at most {found.rank}"
            " directions can be found"
        )
    return tuple(out)
