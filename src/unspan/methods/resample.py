"""Resample: move what the request wins into the clouds of the other classes, so that a converged
probe, given one answer an image, does not find it.

Idea: no affine map hides a class, since the place where it ends is a class of its own. Here samples
that the request wins are spread over places, clusters of all other classes, each part with the
correlations, quantiles and covariance of the place it goes to; half of what distinguishes a sample
is drawn by a key, so that neighbours part. All other samples pass unchanged.
Formula: gate `max_{c in F} l_c > max_{c not in F} l_c`, place `j = argmax_c (P_c (h - m) + s l_c +
a_c)`, P keyed directions of the whitened features, a such that the places fill in proportion to
their classes; `x = h + e`, e a normal draw of covariance `q / (1 - q)` times that of h for the cell
of h (three keyed choices among 64 directions each); `t = A_j (x - m_j)`, the optimal transport `A_j
= S^-1/2 (S^1/2 C_j S^1/2)^1/2 S^-1/2` from the covariance S of x in place j to the correlations C_j
of normal scores there; every feature by an increasing piecewise linear map to its quantiles in
place j; then the optimal transport to its covariance, from that of samples simulated by the same
model.
Needs: forget samples, no labels; and data to keep, or their statistics (`unspan stats`), or only a
head (`statistics="head"`: every sample keeps its best remaining class and its margin, nothing
else). Cost: one forward pass over each; two maps of `[d, d]` for each of up to eight places a
class.
Typical: no settings; statistics from the data to keep.
Fails: whoever holds the weights takes the eraser off; samples that the model itself takes for
another class pass the gate; features of the request change more than others when an image is asked
for again mirrored or shifted, and a probe trained on pairs of answers reads most of the class again
(78 % on CIFAR-10; bake does not have this); images at another contrast are not what the map was
fitted to; with `statistics="head"` features serve no other purpose than the classes of the head.
Source: this project, docs/survive.md; transport between Gaussians: Dowson and Landau 1982.
Deviates: none.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unspan import dist
from unspan.erasers.linalg import root
from unspan.erasers.maps import (
    Affine,
    Chain,
    Narrow,
    Resampler,
    affine,
    cell,
    head_rows,
    interpolated,
    score,
)
from unspan.erasers.transport import (
    average,
    balance,
    covariance,
    gaussian_transport,
    shrunk,
    steady,
)
from unspan.errors import DataError, InconclusiveError, UsageError
from unspan.extraction.statistics import LEVELS, Statistics, load, reservoir, sampled, summed_up
from unspan.extraction.stream import FeatureStream
from unspan.methods.esc import Fit
from unspan.system.memory import require_square

_KEPT = 20_000  # forget features in memory; more add nothing to a mean and a covariance
_FEWEST = 20  # gated samples
_BALANCED_ON = 5_000  # of them, to find the offsets of the places
_NO_LESS = 1e-9  # of the mean variance
_LETTERS, _DRAWS = 64, 4096  # of a book; of all cells
_SIMULATED = 4000  # samples of the model of a place
_MOVED = 0.03  # of the samples to keep; more is worth a warning


@dataclass(frozen=True, kw_only=True)
class Resample:
    """Settings of resample.

    Attributes:
        statistics: `retain` reads the data to keep; a path is a file of `unspan stats`; `head` has
            only the head.
        meaning: how much the place of a sample follows the model's own second guess, in units of
            the keyed choice.
        drawn: share of the variance that is drawn by the key instead of following the sample. More
            hides from neighbours and calms the features under noise; less keeps other views of an
            image (mirrored, shifted) together.
        margin: how far below a win the head's gate begins, in units of its scores. More lets fewer
            forget samples pass and moves more of the others.
        false_positives: share of other samples that a fitted gate moves, where no class of a head
            is the request.
        most: samples to keep that are read, drawn at random where there are more.
    """

    statistics: str = "retain"
    meaning: float = 1.0
    drawn: float = 0.5
    margin: float = 0.0
    false_positives: float = 0.01
    most: int = 50_000
    name: ClassVar[str] = "resample"
    stronger: ClassVar[tuple[str, ...]] = ("margin",)
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"drawn": (0.2, 0.5)}
    whole: ClassVar[bool] = True  # decides for every sample by itself

    def __post_init__(self) -> None:
        if not isinstance(self.statistics, str):
            raise UsageError(
                f"statistics={self.statistics!r}: use retain, head, or a file of unspan stats."
            )
        for name, low, high in (
            ("meaning", 0.0, math.inf),
            ("drawn", 0.0, 1.0),
            ("margin", 0.0, math.inf),
            ("false_positives", 1e-6, 0.5),
        ):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not low <= value < high:
                allowed = f"a number from {low:g} to below {high:g}"
                if high == math.inf:
                    allowed = "a finite number, 0 or more"
                raise UsageError(f"{name}={value}: use {allowed}.")
        if not isinstance(self.most, int) or self.most < 1:
            raise UsageError(f"most={self.most}: use a whole number of samples, at least 1.")
        if self.statistics == "head" and self.margin:
            raise UsageError(
                "margin widens the gate in front of the places; with statistics='head' there is"
                " none: leave it out."
            )

    @property
    def needs(self) -> frozenset[str]:
        """Which data it reads."""
        return frozenset({"forget", "retain"} if self.statistics == "retain" else {"forget"})

    def check(self, dim: int) -> None:
        """Refuse a file of statistics of another width, and features so wide that `[d, d]` matrices
        do not fit, before data is read.
        """
        if self.statistics != "head":
            require_square("Resample", dim, 8)
        if self.statistics not in ("retain", "head") and load(self.statistics).mean.shape[1] != dim:
            raise UsageError(
                f"{self.statistics} is of features with d={load(self.statistics).mean.shape[1]},"
                f" the model has d={dim}: statistics of another model or layer."
            )

    def fit(self, stream: FeatureStream) -> Fit:
        """Read forget and retained samples, return the map.

        Raises:
            UsageError: several processes, no data to keep, statistics of another model, or `head`
                without a class of a head.
            InconclusiveError: the gate recognises fewer than 20 forget samples.
        """
        if dist.world() > 1:
            raise UsageError("resample reads in one process; start without torchrun.")
        by_class = stream.head is not None and bool(stream.classes)
        if self.statistics == "head" and not by_class:
            raise UsageError(
                "resample with statistics='head' needs a model with a head and a request of its"
                " classes; give data to keep, or statistics of them (unspan stats)."
            )
        if by_class and self.false_positives != Resample.false_positives:
            raise UsageError(
                "false_positives is of a gate that is fitted to samples; for a class the head is"
                " the gate, and margin widens it."
            )
        features = reservoir(stream, _KEPT)[0].double()
        if len(features) < _FEWEST:
            raise DataError(
                f"resample needs at least {_FEWEST} forget samples to find where they lie, and"
                f" there are {len(features)}."
            )
        report: dict[str, Any] = {
            "samples": len(stream.seen.digests) // 32,
            "dim": stream.dim,
            "statistics": "file" if self.statistics not in ("retain", "head") else self.statistics,
        }
        generator = torch.Generator().manual_seed(
            int.from_bytes(hashlib.sha256(stream.key + b"resample").digest()[:7], "big")
        )
        if self.statistics == "head":
            return _narrow(features, stream, generator, report)
        kept, read = self._statistics(stream)
        kept = kept.without([*stream.classes, *stream.earlier])
        if read is None and not by_class:  # a file describes the forget samples as well
            own = None if stream.head is None else head_rows(stream.head)
            kept = kept.less(features, own)
        rows = head_rows(stream.head) if stream.head is not None else kept.rows
        unit = kept.units(features)
        if by_class:
            forgotten, others = _split(rows, stream)
            forgotten[:, -1] += self.margin
        else:
            found = discriminant(features / unit, kept.divided(unit), self.false_positives)
            forgotten = _undone(found, unit)
            others = torch.zeros(1, stream.dim + 1, dtype=torch.float64)
            report["false_positives"] = self.false_positives
        gated, slipped = _recognised(features, forgotten, others)
        if read is not None:
            report["retained_read"] = len(read)
            report["moved"] = sum(
                int(holds(forgotten, others, part.double()).sum()) for part in read.split(4096)
            ) / len(read)
        gate = (forgotten, others)
        eraser = self._moving(gated / unit, slipped / unit, kept, unit, gate, generator)
        report |= {
            "forget_used": len(gated),
            "retained_used": int(kept.count.sum()),
            "fewest_retained": int(kept.count.min()),
            "places": len(kept.mean),
            "classes": len(kept.labels.unique()),
            "gated": len(gated) / len(features),
        }
        return Fit(eraser, report, _said(report))

    def _moving(
        self,
        gated: Tensor,
        slipped: Tensor,
        kept: Statistics,
        unit: Tensor,
        gate: tuple[Tensor, Tensor],
        generator: torch.Generator,
    ) -> Resampler:
        """The eraser with that gate, found in units of each feature's deviation so that the units
        of the features decide nothing.

        Args:
            gated: `[n, d]` features that the gate holds, divided by `unit`.
            slipped: `[m, d]` those of the request that pass it, divided by `unit`.
            kept: what the samples go to, in the features' own units.
            unit: `[d]`.
            gate: rows of the gate, in the features' own units.
            generator: of the keyed choices.
        """
        own = kept.divided(unit)
        shares = room(own, slipped, len(gated) + len(slipped))
        choice = places(gated, own.rows, shares, self.meaning, generator)
        letters, draws = books(gated, generator), _draws(gated, self.drawn, generator)
        x = gated + draws[cell(score(letters, gated), _DRAWS)]
        maps, offsets, knots = transport(x, score(choice, gated).argmax(1), own)
        tidy, shifts = tidied(own, knots, generator)
        return Resampler(
            *gate,
            _undone(choice, unit),
            _undone(letters, unit),
            draws * unit,
            maps / unit,
            offsets,
            knots,
            kept.quantiles,
            unit[:, None] * tidy / unit,
            shifts * unit,
            torch.tensor(kept.length, dtype=torch.float64) if kept.length > 0 else None,
        )

    def _statistics(self, stream: FeatureStream) -> tuple[Statistics, Tensor | None]:
        """Statistics of what to keep, and the features `[n, d]` they are of where those were
        read.
        """
        if self.statistics == "retain":
            if stream.retain is None:
                raise UsageError(
                    "resample moves samples to where others lie, and the request has none to keep:"
                    " give the whole data (--data), a file of unspan stats (--set statistics=FILE),"
                    " or --set statistics=head for the head alone."
                )
            z, y = sampled(stream.retain)
            return summed_up(z, y, stream.head), z
        found = load(self.statistics)
        parts = list(stream.prior) if isinstance(stream.prior, Chain) else [stream.prior]
        if any(isinstance(part, (*Affine.__args__, Narrow)) for part in parts):
            raise UsageError(
                f"{self.statistics} is of the original features, which the eraser of an earlier"
                " request has changed for all samples: give the data to keep instead."
            )
        if found.model and found.model != stream.model_digest():
            raise UsageError(
                f"{self.statistics} is of other weights than this model has; write statistics of"
                " this one with unspan stats."
            )
        if stream.head is not None and not _of_head(found, head_rows(stream.head)):
            raise UsageError(
                f"{self.statistics} is of a model with another head; write statistics of this one"
                " with unspan stats."
            )
        return found, None


def _of_head(found: Statistics, rows: Tensor) -> bool:
    """Whether places are scored by the rows `[C, d + 1]` of a head, column by column."""
    if not bool((found.labels >= 0).all()) or int(found.labels.max()) >= len(rows):
        return False
    own = rows[found.labels]
    return bool(((own - found.rows).abs() <= 1e-2 * own.abs().amax(0)).all())


def _undone(rows: Tensor, unit: Tensor) -> Tensor:
    """Affine scores `[K, d + 1]` of features, from those of features divided by `unit` `[d]`."""
    return torch.cat([rows[:, :-1] / unit, rows[:, -1:]], 1)


def holds(forgotten: Tensor, others: Tensor, z: Tensor) -> Tensor:
    """Which features `[n, d]` a gate holds, `[n]` bool."""
    return score(forgotten, z).amax(1) > score(others, z).amax(1)


def _split(rows: Tensor, stream: FeatureStream) -> tuple[Tensor, Tensor]:
    """Rows of the head that are forgotten, and those of classes to keep."""
    if max(stream.classes) >= len(rows):
        raise UsageError(
            f"resample: class {max(stream.classes)} is to be forgotten, and the head has the"
            f" classes 0 to {len(rows) - 1}."
        )
    gone = torch.isin(torch.arange(len(rows)), torch.tensor([*stream.classes, *stream.earlier]))
    asked = torch.isin(torch.arange(len(rows)), torch.tensor(stream.classes))
    return rows[asked], rows[~gone]


def _recognised(features: Tensor, forgotten: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Features of the request that the gate holds, and those it lets pass."""
    held = holds(forgotten, others, features)
    gated, slipped = features[held], features[~held]
    if len(gated) < _FEWEST:
        raise InconclusiveError(
            f"resample: {len(gated)} of {len(features)} forget samples are recognised as such; at"
            f" least {_FEWEST} are needed. Nothing was changed: the samples have too little in"
            " common (single samples), the model hardly knows them, or labels or preprocessing are"
            " wrong."
        )
    return gated, slipped


def room(kept: Statistics, slipped: Tensor, samples: int) -> Tensor:
    """Samples of the request that each place takes `[K]`, so that with those that pass the gate
    `[n, d]` all places have a like share of them.

    Args:
        kept: of K places.
        slipped: features that pass unchanged; they lie in the place whose centre is nearest.
        samples: of the request in all.
    """
    there = torch.bincount(torch.cdist(slipped, kept.mean).argmin(1), minlength=len(kept.mean))
    return (samples * kept.count / kept.count.sum() - there).clamp_min(0.1)


def _said(report: dict[str, Any]) -> tuple[str, ...]:
    said = []
    if report["gated"] < 0.5:
        said.append(
            f"only {report['gated']:.0%} of the forget samples are recognised by the gate; the"
            " others pass it with their features unchanged"
        )
    if report.get("moved", 0) > _MOVED:
        said.append(
            f"the gate holds {report['moved']:.0%} of the samples to keep as well, and moves them"
            " too; ask for less with margin or false_positives"
        )
    if report.get("fewest_retained", math.inf) < 2 * report["dim"]:
        said.append(
            f"the statistics of a place rest on {report['fewest_retained']} samples in"
            f" {report['dim']} dimensions: what goes there can be told from real samples, and"
            " probes may read it (docs/survive.md); give more data to keep, or statistics='head'"
            " where only answers are served"
        )
    return tuple(said)


def places(
    gated: Tensor, rows: Tensor, shares: Tensor, meaning: float, generator: torch.Generator
) -> Tensor:
    """Affine scores `[K, d + 1]` whose argmax spreads gated features `[n, d]` over K places in
    proportion to `shares` `[K]`.

    Keyed directions of the whitened features, plus `meaning` times the standardised scores `rows`
    `[K, d + 1]` of the places.
    """
    own = rows - rows.mean(0)
    made = _keyed(gated, len(rows), generator) + meaning * own / score(own, gated).std().clamp_min(
        1e-12
    )
    return _balanced(made, gated, shares, generator)


def books(gated: Tensor, generator: torch.Generator) -> Tensor:
    """Three times 64 affine scores `[192, d + 1]`; the argmax of each third is a letter, equally
    often each for gated features `[n, d]`.
    """
    return torch.cat(
        [
            _balanced(_keyed(gated, _LETTERS, generator), gated, torch.ones(_LETTERS), generator)
            for _ in range(3)
        ]
    )


def _keyed(gated: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Affine scores `[count, d + 1]`: random directions of the whitened features, each of variance
    1.
    """
    mean, spread = covariance(gated)
    keyed = torch.randn(len(mean), count, generator=generator, dtype=torch.float64)
    keyed = torch.linalg.qr(keyed)[0] if count <= len(mean) else keyed / keyed.norm(dim=0)
    keyed = (root(spread, -0.5) @ keyed).mT
    return torch.cat([keyed, -(keyed @ mean)[:, None]], 1)


def _balanced(rows: Tensor, gated: Tensor, shares: Tensor, generator: torch.Generator) -> Tensor:
    some = gated[torch.randperm(len(gated), generator=generator)[:_BALANCED_ON]]
    offsets = balance(score(rows, some), shares.double() / shares.sum())
    return torch.cat([rows[:, :-1], rows[:, -1:] + offsets[:, None]], 1)


def _draws(gated: Tensor, drawn: float, generator: torch.Generator) -> Tensor:
    """Draws `[4096, d]` that make a share `drawn` of the variance where they are added to gated
    features `[n, d]`.
    """
    draws = torch.randn(_DRAWS, gated.shape[1], generator=generator, dtype=torch.float64)
    return (drawn / (1 - drawn)) ** 0.5 * draws @ root(covariance(gated)[1], 0.5)


def transport(x: Tensor, place: Tensor, kept: Statistics) -> tuple[Tensor, Tensor, Tensor]:
    """From features `[n, d]` of places `[n]` to normal scores with the correlations there.

    Returns:
        Maps `[K, d, d]` (or `[1, d, d]`), offsets `[K, d]`, and the quantiles `[d, B]` of what they
        give, over all places.
    """
    overall = x.mean(0)
    groups = [x[place == one] for one in range(len(kept.mean))]
    means = torch.stack([(group.sum(0) + overall) / (len(group) + 1) for group in groups])
    within = covariance(x - means[place])[1]
    if len(kept.correlation) == 1:
        maps = gaussian_transport(steady(within), kept.correlation[0])[None]
    else:
        usual, made = average(kept.correlation, kept.count), []
        for group, target, n in zip(groups, kept.correlation, kept.count.tolist()):
            source = (
                shrunk(group.mT.cov(), within, len(group) / 2) if len(group) > 1 else within
            )  # their own covariance holds for them alone
            made.append(gaussian_transport(steady(source), shrunk(target, usual, n)))
        maps = torch.stack(made)
    every = torch.arange(len(means))
    offsets = -affine(means, maps, torch.zeros_like(means), every)
    given = torch.cat(
        [affine(part, maps, offsets, there) for part, there in zip(x.split(512), place.split(512))]
    )
    return maps, offsets, torch.quantile(given, LEVELS, dim=0).mT.contiguous()


def tidied(kept: Statistics, knots: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """From samples with the normal-score correlations and quantiles of a place to its covariance
    and mean.

    Features are near linear dependence, which a map feature by feature breaks; who whitens would
    see it. The optimal transport between Gaussians, in units of each feature's deviation, with the
    first covariance from simulated samples.

    Returns:
        Maps `[K, d, d]` (or `[1, d, d]`) and shifts `[K, d]`.
    """
    shared = len(kept.covariance) == 1
    usual = average(kept.covariance, kept.count)
    n = max(_SIMULATED // len(kept.mean), 100) if shared else _SIMULATED
    means, maps, rests = [], [], []
    for one, made in enumerate(_simulated(kept, knots, n, generator)):
        means.append(made.mean(0))
        if shared:
            rests.append(made - made.mean(0))
        else:
            maps.append(
                _tidy(made.mT.cov(), shrunk(kept.covariance[one], usual, int(kept.count[one])))
            )
    tidy = _tidy(torch.cat(rests).mT.cov(), usual)[None] if shared else torch.stack(maps)
    return tidy, kept.mean - affine(
        torch.stack(means), tidy, torch.zeros_like(kept.mean), torch.arange(len(means))
    )


def _simulated(
    kept: Statistics, knots: Tensor, n: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """For each place `[n, d]` samples with its correlations and quantiles."""
    usual = average(kept.correlation, kept.count)
    half = root(usual, 0.5)
    for one, levels in enumerate(kept.quantiles):
        if len(kept.correlation) > 1:
            half = root(shrunk(kept.correlation[one], usual, int(kept.count[one])), 0.5)
        t = torch.randn(n, len(half), generator=generator, dtype=torch.float64) @ half
        yield torch.cat(
            [interpolated(part, knots, levels.expand(len(part), -1, -1)) for part in t.split(512)]
        )


def _tidy(made: Tensor, real: Tensor) -> Tensor:
    """The map `[d, d]` from covariance `made` to `real` that moves least in units of the deviations
    of `real`.
    """
    unit = real.diagonal().clamp_min(1e-12).sqrt()
    made = made / unit[:, None] / unit
    if float(made.diagonal().mean()) <= _NO_LESS:  # all features are constant there
        return torch.eye(len(made), dtype=made.dtype)
    made = made + _NO_LESS * made.diagonal().mean() * torch.eye(len(made), dtype=made.dtype)
    return unit[:, None] * gaussian_transport(made, real / unit[:, None] / unit) / unit


def discriminant(features: Tensor, kept: Statistics, false_positives: float) -> Tensor:
    """One affine score `[1, d + 1]`, positive for the request and for a share `false_positives` of
    Gaussian clouds to keep.

    Fisher's direction between the forget features and all places, with the threshold from the
    places' moments.
    """
    share = kept.count.double() / kept.count.sum()
    mean, own = covariance(features)
    centre = share @ kept.mean
    gaps = kept.mean - centre
    total = average(kept.covariance, kept.count) + (share[:, None] * gaps).mT @ gaps
    direction = torch.linalg.pinv((own + total) / 2, rtol=1e-9, hermitian=True) @ (mean - centre)
    at = kept.mean @ direction
    wide = (
        torch.einsum("i,kij,j->k", direction, kept.covariance.expand(len(at), -1, -1), direction)
        .clamp_min(1e-300)
        .sqrt()
    )
    low, high = float((at - 10 * wide).min()), float((at + 10 * wide).max())
    for _ in range(100):
        middle = (low + high) / 2
        above = float(share @ torch.special.ndtr((at - middle) / wide))
        low, high = (middle, high) if above > false_positives else (low, middle)
    return torch.cat([direction, torch.tensor([-high], dtype=torch.float64)])[None]


def _narrow(
    features: Tensor, stream: FeatureStream, generator: torch.Generator, report: dict[str, Any]
) -> Fit:
    """The eraser that has only the head: every sample keeps its best remaining class and the
    margin.
    """
    assert stream.head is not None
    weight, bias = stream.head
    forgotten, others = _split(head_rows(stream.head), stream)
    if len(others) < 2:
        raise UsageError(
            "resample with statistics='head' needs at least two classes to keep; use statistics, or"
            " retrain."
        )
    gated, _ = _recognised(features, forgotten, others)
    size = features.square().mean(0).sqrt()
    unit = size.where(size > 0, torch.ones_like(size))
    choice = places(gated / unit, others, torch.ones(len(others)), 0.0, generator)
    choice = _undone(choice, unit)
    back = unit[:, None] * torch.linalg.pinv(weight * unit)
    gone = [*stream.classes, *stream.earlier]
    decode = back[:, [one for one in range(len(weight)) if one not in gone]].mT
    base = -back @ bias
    read = (
        score(others, base + 10 * decode)
        - score(forgotten, base + 10 * decode).amax(1, keepdim=True).clamp_min(0)
    ).argmax(1)
    if not bool((read == torch.arange(len(others))).all()):
        raise UsageError(
            f"resample with statistics='head': the head has {len(weight)} classes on {len(base)}"
            " features and cannot read them one by one; give data to keep, or statistics."
        )
    report |= {"places": len(others), "gated": len(gated) / len(features)}
    return Fit(Narrow(forgotten, others, choice, decode, base), report, _said(report))
