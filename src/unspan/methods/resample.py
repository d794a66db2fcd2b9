"""Resample: move samples of the forgotten class into clusters of the other classes, so that a
converged probe, given one answer an image, does not find them.

Idea: no affine map hides a class, since the region where it ends is a class of its own. Here every
sample that is predicted as a forgotten class goes to a cluster of another class, and its features
get the distribution that retained samples have there. Half of what distinguishes it is replaced by
noise, chosen by a secret key, so that neighbours part. All other samples pass unchanged.

Steps, for the features h `[d]` of one sample; each step is one function in `resampling/gate.py`
or `resampling/steps.py`:

1. Gate (`gate_of_head`). The sample is gated when it is predicted as a forgotten class. Where the
   request is no class of a head, a linear discriminant is fitted instead (`gate_of_samples`). From
   here on features are divided by their deviations, so that their units decide nothing.
2. Cluster (`assign_clusters`). The retained samples of each class form up to eight clusters. A
   gated sample goes to the one with the largest score. The score is a random one, made by the key,
   plus the model's own score of the cluster's class, plus an offset. The offsets fill the clusters
   in proportion to their retained samples. So forgotten samples are a minority everywhere, and a
   probe does not answer with their class.
3. Noise (`draw_noise`). One of 4,096 noise vectors is added. Three random codebooks choose it: each
   names one of 64 codes for the sample. Neighbours mostly get other codes and part, while a copy
   with little noise keeps its codes.
4. Map (`map_to_clusters`). A linear map, the optimal transport between two Gaussians, gives the
   correlations that retained samples have in the cluster. They are correlations of normal scores:
   every feature is first mapped to a standard normal by its quantiles. Then an increasing piecewise
   linear map takes each feature to its quantiles in the cluster.
5. Covariance correction (`correct_covariance`). Step 4 ends feature by feature and breaks linear
   dependences, which whitening would show. A second optimal transport leads from the covariance
   that steps 3 and 4 give, found by simulation, to that of the cluster. No value moves by more than
   its distance to the smallest in the cluster, so that zeros stay zeros.

Formula: 1. gated where `max_{c in F} l_c > max_{c not in F} l_c`, l the scores of the head, F the
forgotten classes. 2. cluster `j = argmax_k (r_k(h) + s l_k(h) + a_k)`, r random scores of variance
1, s = `semantic_weight` (l_k standardised), a the offsets. 3. `x = h + e`, the covariance of e
`q / (1 - q)` times that of h, q = `noise_fraction`. 4. `t = A_j (x - m_j)`, m_j and S_j mean and
covariance of x in cluster j, `A_j = S_j^-1/2 (S_j^1/2 C_j S_j^1/2)^1/2 S_j^-1/2`, C_j the
correlations there; then `u_i = Q_ji(t_i)` for each feature i. 5. `B_j u + b_j`, with B_j as A_j,
from the covariance of simulated u to that of the cluster.
Needs: forget samples, no labels; and the retain set, or a file of its statistics (`unspan stats`),
or the head alone (`statistics="head"`: every sample keeps its best remaining class and its margin,
nothing else). Cost: one forward pass over each; two matrices `[d, d]` for each cluster.
Typical: no settings; statistics from the retain set.
Fails: whoever holds the weights takes the eraser off. Samples that the model itself predicts as
another class pass the gate. Forgotten samples change more than others when an image is asked for
again, mirrored or shifted: a probe trained on pairs of answers reads most of the class again (78 %
on CIFAR-10; bake does not have this). Images at another contrast are not what the map was fitted
to. With `statistics="head"` features serve no other purpose than the classes of the head.
Source: this project, docs/resample.md; transport between Gaussians: Dowson and Landau 1982.
Deviates: none.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unspan.erasers import head_rows
from unspan.errors import DataError, UsageError
from unspan.extraction.statistics import (
    Statistics,
    load,
    load_for,
    of_features,
    reservoir,
    sampled,
    without_samples,
)
from unspan.methods.base import EraserMethod, Fit, FitContext
from unspan.methods.resampling.gate import MIN_SAMPLES, GateRows, gate_of_head, gate_of_samples
from unspan.methods.resampling.head_only import fit_head_only
from unspan.methods.resampling.report import warnings_of
from unspan.methods.resampling.steps import fit_resampler
from unspan.system.memory import require_square

_MAX_FORGET = 20_000  # features in memory; more add nothing to a mean and a covariance


@dataclass(frozen=True, kw_only=True)
class Resample(EraserMethod):
    """Settings of resample.

    Attributes:
        statistics: `retain` reads the retain set; a path is a file of `unspan stats`; `head` has
            only the head.
        semantic_weight: how much the cluster of a sample follows the model's own second guess, in
            units of the keyed choice.
        noise_fraction: share of the variance that is noise instead of following the sample. More
            hides from neighbours and calms the features under noise; less keeps other views of an
            image (mirrored, shifted) together.
        margin: how far below a win the head's gate begins, in units of its scores. More lets fewer
            forget samples pass and moves more of the others.
        false_positives: share of other samples that a fitted gate moves, where no class of a head
            is the request.
        max_retain_samples: retained samples that are read, drawn at random where there are more.
    """

    statistics: str = "retain"
    semantic_weight: float = 1.0
    noise_fraction: float = 0.5
    margin: float = 0.0
    false_positives: float = 0.01
    max_retain_samples: int = 50_000
    name: ClassVar[str] = "resample"
    paper: ClassVar[str] = "this project, docs/resample.md"
    stronger: ClassVar[tuple[str, ...]] = ("margin",)
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"noise_fraction": (0.2, 0.5)}
    one_process: ClassVar[bool] = True
    one_vector: ClassVar[bool] = True
    joins_retain: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.statistics, str):
            raise UsageError(
                f"statistics={self.statistics!r}: use retain, head, or a file of unspan stats."
            )
        _require_number("semantic_weight", self.semantic_weight, 0.0, math.inf)
        _require_number("noise_fraction", self.noise_fraction, 0.0, 1.0)
        _require_number("margin", self.margin, 0.0, math.inf)
        _require_number("false_positives", self.false_positives, 1e-6, 0.5)
        most = self.max_retain_samples
        if not isinstance(most, int) or most < 1:
            raise UsageError(f"max_retain_samples={most}: use a whole number, at least 1.")
        if self.statistics == "head" and self.margin:
            raise UsageError(
                "margin widens the gate in front of the clusters; with statistics='head' there are"
                " none: leave it out."
            )

    @property
    def needs(self) -> frozenset[str]:
        """Which data it reads."""
        return frozenset({"forget", "retain"} if self.statistics == "retain" else {"forget"})

    @property
    def retain_limit(self) -> int:
        """Most retained samples that are read."""
        return self.max_retain_samples

    def check(self, dim: int) -> None:
        """Refuse statistics of another width, and `[d, d]` matrices that do not fit in memory.

        This happens before data is read.
        """
        if self.statistics == "head":
            return
        require_square("Resample", dim, 8)
        if self.statistics == "retain":
            return
        width = load(self.statistics).mean.shape[1]
        if width != dim:
            raise UsageError(
                f"{self.statistics} is of features with d={width}, the model has d={dim}:"
                " statistics of another model or layer."
            )

    def fit(self, context: FitContext) -> Fit:
        """Read forget and retained samples, and fit the map in five steps (see the module).

        Raises:
            UsageError: no retain set, statistics of another model, or `head` without a class of a
                head.
            InconclusiveError: the gate recognises fewer than 20 forget samples.
        """
        self._check_request(context)
        features = _forget_features(context)
        generator = _keyed_generator(context.key)
        report: dict[str, Any] = {
            "statistics": self.statistics if self.statistics in ("retain", "head") else "file"
        }
        if self.statistics == "head":
            return _fit_head_only(features, context, generator, report)
        retained, read = self._retained(context, features)
        unit = retained.units(features)
        if _names_classes(context):
            gate = _gate_of_classes(context, self.margin)
        else:
            gate = gate_of_samples(features, retained, unit, self.false_positives)
            report["false_positives"] = self.false_positives
        gated, missed = gate.split(features)
        if read is not None:
            report["moved"] = gate.share(read)
        eraser = fit_resampler(
            gate,
            gated,
            missed,
            retained,
            unit,
            semantic_weight=self.semantic_weight,
            noise_fraction=self.noise_fraction,
            generator=generator,
        )
        report |= {
            "fewest_retained": int(retained.count.min()),
            "clusters": len(retained.mean),
            "classes": len(retained.labels.unique()),
            "gated": len(gated) / len(features),
        }
        return Fit(
            eraser,
            report,
            warnings_of(report, context.dim),
            forget_used=len(gated),
            retained_used=int(retained.count.sum()),
        )

    def _check_request(self, context: FitContext) -> None:
        if self.statistics == "head" and not _names_classes(context):
            raise UsageError(
                "resample with statistics='head' needs a model with a head and a request of its"
                " classes; give a retain set, or statistics of it (unspan stats)."
            )
        if _names_classes(context) and self.false_positives != Resample.false_positives:
            raise UsageError(
                "false_positives is of a gate that is fitted to samples; for a class the head is"
                " the gate, and margin widens it."
            )

    def _retained(self, context: FitContext, features: Tensor) -> tuple[Statistics, Tensor | None]:
        """Statistics of the retain set, and its features `[n, d]` where they were read.

        A file of statistics describes the forget samples as well: their class is left out, or they
        are where the request is no class.
        """
        gone = [*context.classes, *context.earlier]
        if self.statistics == "retain":
            z, y = sampled(context.require_retain())
            return of_features(z, y, context.head).without(gone), z
        found = load_for(self.statistics, context.head, context.prior, context.model).without(gone)
        if not _names_classes(context):
            head = None if context.head is None else head_rows(context.head)
            found = without_samples(found, features, head)
        return found, None


def _fit_head_only(
    features: Tensor, context: FitContext, generator: torch.Generator, report: dict[str, Any]
) -> Fit:
    assert context.head is not None
    gate = _gate_of_classes(context, margin=0.0)
    gone = [*context.classes, *context.earlier]
    eraser, share = fit_head_only(features, context.head, gate, gone, generator)
    report |= {"clusters": len(eraser.assignment), "gated": share}
    return Fit(eraser, report, warnings_of(report, context.dim))


def _names_classes(context: FitContext) -> bool:
    """Whether the request is of classes that a head knows."""
    return context.head is not None and bool(context.classes)


def _gate_of_classes(context: FitContext, margin: float) -> GateRows:
    assert context.head is not None
    return gate_of_head(head_rows(context.head), context.classes, context.earlier, margin)


def _forget_features(context: FitContext) -> Tensor:
    """Features `[n, d]` of the request in float64, at most 20,000.

    Raises:
        DataError: fewer than 20.
    """
    features = reservoir(context.forget, _MAX_FORGET)[0].double()
    if len(features) < MIN_SAMPLES:
        raise DataError(
            f"resample needs at least {MIN_SAMPLES} forget samples to find where they lie, and"
            f" there are {len(features)}."
        )
    return features


def _keyed_generator(key: bytes) -> torch.Generator:
    seed = int.from_bytes(hashlib.sha256(key + b"resample").digest()[:7], "big")
    return torch.Generator().manual_seed(seed)


def _require_number(name: str, value: object, low: float, high: float) -> None:
    """Refuse a setting that is not in `[low, high)` (UsageError)."""
    if isinstance(value, (int, float)) and low <= value < high:
        return
    allowed = f"a number from {low:g} to below {high:g}"
    if high == math.inf:
        allowed = "a finite number, 0 or more"
    raise UsageError(f"{name}={value}: use {allowed}.")
