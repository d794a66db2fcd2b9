"""Resample: move what the request wins into the clouds of the other classes, so that not even a converged probe finds it.

Idea: no affine map hides a class, since the place where it ends is a class of its own. Here samples that the request wins are spread
over places, clusters of all other classes, each part with the mean and covariance of the place it goes to; all other samples pass unchanged.
Formula: gate `max_{c in F} l_c > max_{c not in F} l_c`, place `j = argmax_c (P_c (h - m) + s l_c + a_c)`, P keyed directions of the
whitened features, a such that the places fill in proportion to their classes; `h -> A_j (h - m_j)`, the optimal transport
`A_j = S^-1/2 (S^1/2 S_j S^1/2)^1/2 S^-1/2` between Gaussians of covariance S (gated samples of place j) and S_j (place j); then every feature
by an increasing piecewise linear map to its quantiles in place j.
Needs: forget samples, no labels; and data to keep, or their statistics (`unspan stats`), or only a head (`statistics="head"`: every
sample keeps its best remaining class and its margin, nothing else). Cost: one forward pass over each; a map of `[d, d]` for each of up to eight places a class.
Typical: no settings; statistics from the data to keep.
Fails: whoever holds the weights takes the eraser off; samples that the model itself takes for another class pass the gate; features of
the request change more than others when an image is asked for again mirrored or shifted; neighbours find some of what was moved; with `statistics="head"` features serve no other purpose than the classes of the head.
Source: this project, docs/survive.md; transport between Gaussians: Dowson and Landau 1982.
Deviates: none.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unspan import dist
from unspan.erasers import Affine, Chain, Narrow, Resampler, head_rows, score
from unspan.errors import DataError, InconclusiveError, UsageError
from unspan.linalg import root
from unspan.methods.esc import Fit
from unspan.statistics import LEVELS, Statistics, gather, load, reservoir
from unspan.stream import FeatureStream

_KEPT = 20_000  # forget features in memory; more add nothing to a mean and a covariance
_FEWEST = 20  # gated samples
_BALANCED_ON = 5_000  # of them, to find the offsets of the places
_RIDGE = 1e-3  # of the mean variance


@dataclass(frozen=True, kw_only=True)
class Resample:
    """Settings of resample.

    Attributes:
        statistics: `retain` reads the data to keep; a path is a file of `unspan stats`; `head` has only the head.
        meaning: how much the place of a sample follows the model's own second guess, in units of the keyed choice.
        false_positives: share of other samples that a fitted gate moves, where no class of a head is the request.
        most: samples to keep that are read, drawn at random where there are more.
    """

    statistics: str = "retain"
    meaning: float = 1.0
    false_positives: float = 0.01
    most: int = 50_000
    name: ClassVar[str] = "resample"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"meaning": (0.0, 1.0, 2.0)}
    whole: ClassVar[bool] = True  # decides for every sample by itself

    def __post_init__(self) -> None:
        if not isinstance(self.statistics, str):
            raise UsageError(f"statistics={self.statistics!r}: use retain, head, or a file of unspan stats.")
        if not (self.meaning >= 0 and 0 < self.false_positives < 0.5 and self.most >= 1):
            raise UsageError(f"meaning={self.meaning}, false_positives={self.false_positives}, most={self.most}: use meaning >= 0, 0 < false_positives < 0.5 and most >= 1.")

    @property
    def needs(self) -> frozenset[str]:
        """Which data it reads."""
        return frozenset({"forget", "retain"} if self.statistics == "retain" else {"forget"})

    def check(self, dim: int) -> None:
        """Refuse a file of statistics of another width before data is read."""
        if self.statistics not in ("retain", "head") and load(self.statistics).mean.shape[1] != dim:
            raise UsageError(f"{self.statistics} is of features with d={load(self.statistics).mean.shape[1]}, the model has d={dim}: statistics of another model or layer.")

    def fit(self, stream: FeatureStream) -> Fit:
        """Read forget and retained samples, return the map.

        Raises:
            UsageError: several processes, no data to keep, statistics of another model, or `head` without a class of a head.
            InconclusiveError: the gate recognises fewer than 20 forget samples.
        """
        if dist.world() > 1:
            raise UsageError("resample reads in one process; start without torchrun.")
        by_class = stream.head is not None and bool(stream.classes)
        if self.statistics == "head" and not by_class:
            raise UsageError("resample with statistics='head' needs a model with a head and a request of its classes; give data to keep, or statistics of them (unspan stats).")
        features = reservoir(stream, _KEPT)[0].double()
        if len(features) < _FEWEST:
            raise DataError(f"resample needs at least {_FEWEST} forget samples to find where they lie, and there are {len(features)}.")
        report: dict[str, Any] = {"samples": len(stream.seen.digests) // 32, "dim": stream.dim, "statistics": "file" if self.statistics not in ("retain", "head") else self.statistics}
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(stream.key + b"resample").digest()[:7], "big"))
        if self.statistics == "head":
            return _narrow(features, stream, generator, report)
        kept = self._statistics(stream).without([*stream.classes, *stream.earlier])
        rows = head_rows(stream.head) if stream.head is not None else kept.rows
        if by_class:
            forgotten, others = _split(rows, stream)
        else:
            forgotten, others = discriminant(features, kept, self.false_positives), torch.zeros(1, stream.dim + 1, dtype=torch.float64)
            report["false_positives"] = self.false_positives
        gated = _recognised(features, forgotten, others)
        choice = places(gated, kept.rows, kept.count, self.meaning, generator)
        maps, offsets, knots = transport(gated, score(choice, gated).argmax(1), kept)
        report |= {"retained": int(kept.count.sum()), "fewest_retained": int(kept.count.min()), "places": len(kept.mean), "classes": len(kept.labels.unique()), "gated": len(gated) / len(features)}
        return Fit(Resampler(forgotten, others, choice, maps, offsets, knots, kept.quantiles, _scalar(kept.length, kept.length > 0), _scalar(0.0, kept.nonnegative)), report, _said(report))

    def _statistics(self, stream: FeatureStream) -> Statistics:
        if self.statistics == "retain":
            if stream.retain is None:
                raise UsageError("resample moves samples to where others lie, and the request has none to keep: give the whole data (--data), a file of unspan stats (--set statistics=FILE), or --set statistics=head for the head alone.")
            return gather(stream.retain, stream.head)
        found = load(self.statistics)
        parts = list(stream.prior) if isinstance(stream.prior, Chain) else [stream.prior]
        if any(isinstance(part, (*Affine.__args__, Narrow)) for part in parts):
            raise UsageError(f"{self.statistics} is of the original features, which the eraser of an earlier request has changed for all samples: give the data to keep instead.")
        if found.model and found.model != stream.model_digest():
            raise UsageError(f"{self.statistics} is of other weights than this model has; write statistics of this one with unspan stats.")
        same = stream.head is None or bool((found.labels >= 0).all()) and torch.allclose(head_rows(stream.head)[found.labels], found.rows, rtol=1e-2, atol=1e-3)
        if not same:
            raise UsageError(f"{self.statistics} is of a model with another head; write statistics of this one with unspan stats.")
        return found


def _scalar(value: float, there: bool) -> Tensor | None:
    return torch.tensor(value, dtype=torch.float64) if there else None


def _split(rows: Tensor, stream: FeatureStream) -> tuple[Tensor, Tensor]:
    """Rows of the head that are forgotten, and those of classes to keep."""
    if max(stream.classes) >= len(rows):
        raise UsageError(f"resample: class {max(stream.classes)} is to be forgotten, and the head has the classes 0 to {len(rows) - 1}.")
    gone = torch.isin(torch.arange(len(rows)), torch.tensor([*stream.classes, *stream.earlier]))
    asked = torch.isin(torch.arange(len(rows)), torch.tensor(stream.classes))
    return rows[asked], rows[~gone]


def _recognised(features: Tensor, forgotten: Tensor, others: Tensor) -> Tensor:
    gated = features[score(forgotten, features).amax(1) > score(others, features).amax(1)]
    if len(gated) < _FEWEST:
        raise InconclusiveError(f"resample: {len(gated)} of {len(features)} forget samples are recognised as such; at least {_FEWEST} are needed. Nothing was changed: the samples have too little in common (single samples), the model hardly knows them, or labels or preprocessing are wrong.")
    return gated


def _said(report: dict[str, Any]) -> tuple[str, ...]:
    said = []
    if report["gated"] < 0.5:
        said.append(f"only {report['gated']:.0%} of the forget samples are recognised by the gate; the others pass it with their features unchanged")
    if report.get("fewest_retained", report["dim"]) < report["dim"]:
        said.append(f"the statistics of a place rest on {report['fewest_retained']} samples in {report['dim']} dimensions: what goes there can be told from real samples, and probes may read it (docs/survive.md); give more data to keep")
    return tuple(said)


def covariance(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[d]` and covariance `[d, d]` of rows `[n, d]`, shrunk to its diagonal."""
    mean = z.mean(0)
    found = (z - mean).mT @ (z - mean) / max(len(z) - 1, 1)
    return mean, shrunk(found, torch.diag(found.diagonal()), len(z))


def shrunk(found: Tensor, towards: Tensor, n: int) -> Tensor:
    """A covariance `[d, d]` of n samples, with `d^2 / n` samples of another one added: little from n = 5 d on."""
    extra = len(found) ** 2 / n
    return (n * found + extra * towards) / (n + extra)


def places(gated: Tensor, rows: Tensor, shares: Tensor, meaning: float, generator: torch.Generator) -> Tensor:
    """Affine scores `[K, d + 1]` whose argmax spreads gated features `[n, d]` over K places in proportion to `shares` `[K]`.

    Keyed directions of the whitened features, plus `meaning` times the standardised scores `rows` `[K, d + 1]` of the places.
    """
    mean, spread = covariance(gated)
    keyed = torch.randn(len(mean), len(rows), generator=generator, dtype=torch.float64)
    keyed = torch.linalg.qr(keyed)[0] if len(rows) <= len(mean) else keyed / keyed.norm(dim=0)
    keyed = (root(spread, -0.5) @ keyed).mT
    own = rows - rows.mean(0)
    own = own / score(own, gated).std().clamp_min(1e-12)
    made = meaning * own
    made[:, :-1] += keyed
    made[:, -1] -= keyed @ mean
    some = gated[torch.randperm(len(gated), generator=generator)[:_BALANCED_ON]]
    made[:, -1] += balance(score(made, some), shares.double() / shares.sum())
    return made


def balance(scores: Tensor, shares: Tensor) -> Tensor:
    """Offsets `[K]` so that `argmax(scores + offsets)` takes place k for a share `shares[k]` of the rows `[n, K]`.

    The dual of optimal transport from rows to places, by Sinkhorn steps at a falling temperature.
    """
    offsets = torch.zeros(len(shares), dtype=torch.float64)
    for temperature in (2.0, 1.0, 0.5, 0.25, 0.1, 0.05, 0.02):
        for _ in range(30):
            filled = ((scores + offsets) / temperature).softmax(1).mean(0)
            offsets = offsets + temperature * (shares.log() - filled.clamp_min(1e-12).log())
            offsets = offsets - offsets.mean()
    return offsets


def transport(gated: Tensor, place: Tensor, kept: Statistics) -> tuple[Tensor, Tensor, Tensor]:
    """From gated features of each place to the class there, in standard units of the place.

    Returns:
        Maps `[K, d, d]` (or `[1, d, d]`), offsets `[K, d]`, and the quantiles `[d, B]` of what they give, over all places.
    """
    overall = gated.mean(0)
    groups = [gated[place == one] for one in range(len(kept.mean))]
    means = torch.stack([(group.sum(0) + overall) / (len(group) + 1) for group in groups])
    within = covariance(gated - means[place])[1]
    if len(kept.covariance) == 1:
        maps = gaussian_transport(steady(within), kept.covariance[0])[None]
        units = _units(kept.covariance[0].diagonal()).expand(len(means), -1)
        maps = maps / units[0][:, None]
    else:
        weight = kept.count.double()[:, None, None]
        pooled = (weight * kept.covariance).sum(0) / weight.sum()
        made = []
        for group, target, n in zip(groups, kept.covariance, kept.count.tolist()):
            source = shrunk(group.mT.cov(), within, len(group)) if len(group) > 1 else within
            made.append(gaussian_transport(steady(source), shrunk(target, pooled, n)))
        units = _units(kept.covariance.diagonal(dim1=1, dim2=2))
        maps = torch.stack(made) / units[:, :, None]
    each = maps.expand(len(means), -1, -1)
    offsets = -torch.bmm(each, means[:, :, None])[:, :, 0]
    given = torch.stack([each[j] @ z + offsets[j] for z, j in zip(gated, place.tolist())])
    return maps, offsets, torch.quantile(given, LEVELS, dim=0).mT.contiguous()


def _units(variance: Tensor) -> Tensor:
    return torch.where(variance > 0, variance, 1.0).sqrt()


def steady(covariance: Tensor) -> Tensor:
    """A covariance with a thousandth of its mean variance added, so that directions in which it hardly varies are not blown up."""
    return covariance + _RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)


def gaussian_transport(source: Tensor, target: Tensor) -> Tensor:
    """The symmetric matrix `[d, d]` that takes covariance `source` to `target` with the least movement."""
    half, back = root(source, 0.5), root(source, -0.5)
    return back @ root(half @ target @ half, 0.5) @ back


def discriminant(features: Tensor, kept: Statistics, false_positives: float) -> Tensor:
    """One affine score `[1, d + 1]`, positive for the request and for a share `false_positives` of Gaussian clouds to keep.

    Fisher's direction between the forget features and all places, with the threshold from the places' moments.
    """
    share = kept.count.double() / kept.count.sum()
    mean, own = covariance(features)
    centre = share @ kept.mean
    gaps = kept.mean - centre
    within = kept.covariance[0] if len(kept.covariance) == 1 else (share[:, None, None] * kept.covariance).sum(0)
    total = within + (share[:, None] * gaps).mT @ gaps
    direction = torch.linalg.pinv((own + total) / 2, rtol=1e-9, hermitian=True) @ (mean - centre)
    at = kept.mean @ direction
    wide = torch.einsum("i,kij,j->k", direction, kept.covariance.expand(len(at), -1, -1), direction).clamp_min(1e-300).sqrt()
    low, high = float((at - 10 * wide).min()), float((at + 10 * wide).max())
    for _ in range(100):
        middle = (low + high) / 2
        above = float(share @ torch.special.ndtr((at - middle) / wide))
        low, high = (middle, high) if above > false_positives else (low, middle)
    return torch.cat([direction, torch.tensor([-high], dtype=torch.float64)])[None]


def _narrow(features: Tensor, stream: FeatureStream, generator: torch.Generator, report: dict[str, Any]) -> Fit:
    """The eraser that has only the head: every sample keeps its best remaining class and the margin."""
    assert stream.head is not None
    weight, bias = stream.head
    forgotten, others = _split(head_rows(stream.head), stream)
    if len(others) < 2:
        raise UsageError("resample with statistics='head' needs at least two classes to keep; use statistics, or retrain.")
    gated = _recognised(features, forgotten, others)
    choice = places(gated, others, torch.ones(len(others)), 0.0, generator)
    back = torch.linalg.pinv(weight)
    gone = [*stream.classes, *stream.earlier]
    decode = back[:, [one for one in range(len(weight)) if one not in gone]].mT
    base = -back @ bias
    read = (score(others, base + 10 * decode) - score(forgotten, base + 10 * decode).amax(1, keepdim=True).clamp_min(0)).argmax(1)
    if not bool((read == torch.arange(len(others))).all()):
        raise UsageError(f"resample with statistics='head': the head has {len(weight)} classes on {len(base)} features and cannot read them one by one; give data to keep, or statistics.")
    report |= {"places": len(others), "gated": len(gated) / len(features)}
    return Fit(Narrow(forgotten, others, choice, decode, base), report, _said(report))
