"""Resample: move samples of the forgotten class into clusters of the other classes. A converged
probe, given one answer an image, then hardly finds them.

Idea: no affine map hides a class, since the region where it ends is a class of its own. Here every
sample that is predicted as a forgotten class goes to a cluster of another class. Its features get
the distribution that retained samples have there. Half of what distinguishes it is replaced by
noise, chosen by a secret key, so that neighbours part. All other samples pass unchanged.

Steps, for the features h `[d]` of one sample. `fit` takes them in order, and each is one function
in `resampling/gate.py` or `resampling/steps.py`:

1. Gate (`gate_of_head`). The sample is gated when it is predicted as a forgotten class. Where the
   request is no class of a head, a linear discriminant is fitted instead (`gate_of_samples`). From
   here on features are divided by their deviations, so that their units decide nothing.
2. Cluster (`assign_clusters`). The retained samples that the head predicts as a class form up to
   eight clusters; without a head their labels count. A
   gated sample goes to the one with the largest score. The score is a random one, made by the key,
   plus the model's own score of the cluster's class, plus an offset. The offsets fill the clusters
   in proportion to their retained samples. So forgotten samples are a minority everywhere, and a
   probe does not answer with their class.
3. Noise (`draw_noise`). One of 4,096 noise vectors is added. Three random codebooks choose it: each
   names one of 64 codes for the sample. Neighbours mostly get other codes and part, while a copy
   with little noise keeps its codes.
4. Map (`map_to_clusters`). A linear map, the optimal transport between two Gaussians, gives the
   correlations that retained samples have in the cluster. They are correlations of normal scores:
   each feature of the retained samples was mapped to a standard normal by its quantiles. Then an
   increasing piecewise linear map takes each feature to its quantiles in the cluster.
5. Covariance correction (`correct_covariance`). Step 4 ends feature by feature and breaks linear
   dependences, which whitening would show. A second optimal transport leads from the covariance
   that steps 3 and 4 give, found by simulation, to that of the cluster. No value moves by more than
   its distance to the lowest quantile of the cluster, so that zeros stay zeros. Embeddings of one
   length get that length again.

Formula: 1. gated where `max_{c in F} l_c > max_{c not in F} l_c`, l the scores of the head, F the
forgotten classes. 2. cluster `j = argmax_k (r_k(h) + l_k(h) + a_k)`, r random scores of variance
1, l_k standardised, a the offsets. 3. `x = h + e`, the covariance of e `q /
(1 - q)` times that of h, q = `noise_fraction`. 4. `t = A_j (x - m_j)`, m_j and S_j mean and
covariance of x in cluster j. `A_j = S_j^-1/2 (S_j^1/2 C_j S_j^1/2)^1/2 S_j^-1/2`, C_j the
correlations there. Then `u_i = Q_ji(t_i)` for each feature i. Q_ji leads from the quantiles of t_i
over all gated samples to those of feature i in cluster j. 5. `B_j u + b_j`, with B_j as A_j, from
the covariance of simulated u to that of the cluster.
Needs: forget samples, no labels. And the retain set, or a file of its statistics (`unspan stats`),
or the head alone. With `statistics="head"` every sample keeps its best remaining class and its
margin, nothing else; a gated one gets a class that the key chooses.
Cost: one forward pass over each; two matrices `[d, d]` for each cluster.
Typical: no settings; statistics from the retain set.
Fails: whoever holds the weights takes the eraser off. Samples that the model itself predicts as
another class pass the gate. Forgotten samples change more than others when an image is asked for
again, mirrored or shifted. A probe trained on pairs of answers reads most of the class again;
`bake` does not have this. So does a probe trained on means of answers to altered copies. Images at
another contrast are not what the map was fitted to. With `statistics="head"` features serve no
other purpose than the classes of the head.
Source: this project, docs/resample.md; transport between Gaussians: Dowson and Landau 1982.
Deviates: none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unspan.erasers import Resampler, affine_scores, head_rows
from unspan.erasers.keyed import Cloud, keyed_generator
from unspan.erasers.resampler import noise_index
from unspan.erasers.scores import undo_scale
from unspan.errors import UsageError
from unspan.extraction.statistics import Statistics
from unspan.extraction.statistics.matching import check_width
from unspan.extraction.statistics.sampling import MAX_SAMPLES
from unspan.methods.base import EraserMethod, Fit, FitContext
from unspan.methods.resampling.gate import GateRows, gate_of_head, gate_of_samples
from unspan.methods.resampling.head_only import fit_head_only
from unspan.methods.resampling.reading import (
    erased_classes,
    forget_features,
    names_classes,
    retained_statistics,
)
from unspan.methods.resampling.report import warnings_of
from unspan.methods.resampling.steps import (
    assign_clusters,
    correct_covariance,
    draw_noise,
    map_to_clusters,
)
from unspan.system.memory import require_square


@dataclass(frozen=True, kw_only=True)
class Resample(EraserMethod):
    """Settings of resample.

    Attributes:
        statistics: `retain` reads the retain set; a path is a file of `unspan stats`; `head` has
            only the head.
        noise_fraction: share of the variance that is noise instead of following the sample. More
            hides from neighbours and calms the features under noise; less keeps other views of an
            image (mirrored, shifted) together.
        false_positives: share of other samples that a fitted gate moves, where no class of a head
            is the request.
    """

    statistics: str = "retain"
    noise_fraction: float = 0.5
    false_positives: float = 0.01
    name: ClassVar[str] = "resample"
    paper: ClassVar[str] = "this project, docs/resample.md"
    revision: ClassVar[int] = 2  # 1: six settings, and maps of its own for the class semantics
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"noise_fraction": (0.5, 0.2)}
    one_vector: ClassVar[bool] = True
    joins_retain: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.statistics, str):
            raise UsageError(
                f"statistics={self.statistics!r}: use retain, head, or a file of unspan stats."
            )
        _require_number("noise_fraction", self.noise_fraction, 0.0, 1.0)
        _require_number("false_positives", self.false_positives, 1e-6, 0.5)

    @property
    def needs(self) -> frozenset[str]:
        """Which data it reads."""
        return frozenset({"forget", "retain"} if self.statistics == "retain" else {"forget"})

    @property
    def stronger(self) -> tuple[str, ...]:
        """What moves more samples, where no class of a head is the request."""
        return () if self.statistics == "head" else ("false_positives",)

    def limits(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """A gate of a head has no share of false positives to raise."""
        return {} if "false_positives" in figures else {"false_positives": self.false_positives}

    @property
    def retain_limit(self) -> int:
        """Most retained samples that are read."""
        return MAX_SAMPLES

    def check(self, dim: int) -> None:
        """Refuse statistics of another width, and `[d, d]` matrices that do not fit in memory.

        This happens before data is read.
        """
        if self.statistics == "head":
            return
        require_square("Resample", dim, matrices=12)
        if self.statistics != "retain":
            check_width(self.statistics, dim)

    def fit(self, context: FitContext) -> Fit:
        """Read forget and retained samples, and fit the map in five steps (see the module).

        Raises:
            DataError: fewer than 20 forget samples, or fewer than two clusters.
            UsageError: no retain set, statistics of another model, `head` without a class of a
                head, or a setting that this request does not use.
            InconclusiveError: the gate recognises fewer than 20 forget samples.
        """
        self._check_request(context)
        forget = forget_features(context)
        generator = keyed_generator(context.key, self.name)
        if self.statistics == "head":
            return self._fit_to_head(context, forget, generator)
        source = "retain" if self.statistics == "retain" else "file"
        report: dict[str, Any] = {"statistics": source}
        retained, retained_features = retained_statistics(self.statistics, context, forget)
        scale = retained.deviations(forget)

        # step 1: the gate, and the samples that it holds
        if names_classes(context):
            gate = _gate_of_classes(context)
        else:
            gate = gate_of_samples(forget, retained, scale, self.false_positives)
            report["false_positives"] = self.false_positives
        gated, missed = gate.split(forget)
        if retained_features is not None:
            report["moved"] = gate.share(retained_features)

        eraser = self._fit_map(gate, gated, missed, retained, scale, generator)
        report |= {
            "fewest_retained": int(retained.count.min()),
            "clusters": len(retained.mean),
            "classes": len(retained.labels.unique()),
            "gated": len(gated) / len(forget),
        }
        return Fit(
            eraser,
            report,
            warnings_of(report, context.dim),
            forget_used=len(gated),
            retained_used=int(retained.count.sum()),
        )

    def _fit_map(
        self,
        gate: GateRows,
        gated: Tensor,
        missed: Tensor,
        retained: Statistics,
        scale: Tensor,
        generator: torch.Generator,
    ) -> Resampler:
        """Steps 2 to 5, on features divided by their deviations.

        The eraser takes features as they are. So what it applies to features is divided by the
        deviations, and what it gives as features is multiplied by them. The gate and the quantiles
        of the retained samples were never divided; normal scores have no units.

        Args:
            gate: of step 1.
            gated: `[n, d]` features of the request that the gate holds.
            missed: `[m, d]` features of the request that it misses.
            retained: statistics of where the samples go.
            scale: `[d]`, deviation of each feature.
            generator: of the keyed choices.
        """
        gated = gated / scale
        cloud = Cloud.of(gated)
        clusters = retained.divided(scale)

        # step 2: scores whose largest is the cluster of a sample
        assignment = assign_clusters(cloud, missed / scale, clusters, generator)
        chosen = affine_scores(assignment, gated).argmax(1)

        # step 3: codebooks, which choose a noise vector
        codebooks, noise = draw_noise(cloud, self.noise_fraction, generator)
        noisy = gated + noise[noise_index(affine_scores(codebooks, gated), len(noise))]

        # step 4: a map to each cluster, then to its quantiles
        maps, offsets, knots = map_to_clusters(noisy, chosen, clusters)

        # step 5: a map to the covariance and the mean of each cluster
        corrections, shifts = correct_covariance(clusters, knots, generator)

        length = torch.tensor(retained.length, dtype=torch.float64)
        return Resampler(
            forgotten=gate.forgotten,
            others=gate.others,
            assignment=undo_scale(assignment, scale),
            codebooks=undo_scale(codebooks, scale),
            noise=noise * scale,
            maps=maps / scale,
            offsets=offsets,
            knots=knots,
            quantiles=retained.quantiles,
            covariance_correction=scale[:, None] * corrections / scale,
            shifts=shifts * scale,
            length=length if retained.length > 0 else None,
        )

    def _fit_to_head(self, context: FitContext, forget: Tensor, generator: torch.Generator) -> Fit:
        """Without retained samples: the best remaining class and the margin; for a gated sample a
        class that the key chooses.
        """
        assert context.head is not None
        gate = _gate_of_classes(context)
        erased = erased_classes(context)
        eraser, share = fit_head_only(forget, context.head, gate, erased, generator)
        report = {"statistics": "head", "clusters": len(eraser.assignment), "gated": share}
        return Fit(eraser, report, warnings_of(report, context.dim))

    def _check_request(self, context: FitContext) -> None:
        if self.statistics == "head" and not names_classes(context):
            raise UsageError(
                "resample with statistics='head' needs a model with a head and a request of its"
                " classes; give a retain set, or statistics of it (unspan stats)."
            )
        if names_classes(context) and self.false_positives != Resample.false_positives:
            raise UsageError(
                "false_positives is of a gate that is fitted to samples; for a class the head is"
                " the gate: leave it out."
            )


def _gate_of_classes(context: FitContext) -> GateRows:
    assert context.head is not None
    return gate_of_head(head_rows(context.head), context.classes, context.earlier_classes)


def _require_number(name: str, value: object, low: float, high: float) -> None:
    """Refuse a setting that is not in `[low, high)` (UsageError)."""
    if isinstance(value, (int, float)) and low <= value < high:
        return
    allowed = f"a number from {low:g} to below {high:g}"
    if high == math.inf:
        allowed = "a finite number, 0 or more"
    raise UsageError(f"{name}={value}: use {allowed}.")
