"""`Statistics`: moments and quantiles of features, cluster by cluster."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from unspan.erasers.quantiles import QUANTILE_LEVELS
from unspan.erasers.scores import apply_scale
from unspan.erasers.transport import average
from unspan.errors import DataError, ModelError
from unspan.extraction.statistics import files

MIN_SAMPLES = 20  # of a cluster


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Moments and quantiles of features in K clusters, float64 on the CPU.

    Attributes:
        rows: `[K, d + 1]` affine scores of the clusters, offset last: rows of the head, or of
            nearest centres.
        labels: `[K]` int64 class of each cluster, -1 where it has none.
        count: `[K]` int64 samples.
        mean: `[K, d]`.
        covariance: `[K, d, d]` of each cluster, or `[1, d, d]` within all of them.
        correlation: the same of normal scores, every feature by its quantiles in the cluster to a
            standard normal.
        quantiles: `[K, d, B]` of every feature in each cluster, at the shares `QUANTILE_LEVELS`.
        length: norm of every feature vector where they have one length, else 0.
        model: hash of the weights they are of, "" where it is not known.
        class_names: name by class, empty where they are not known.
    """

    rows: Tensor
    labels: Tensor
    count: Tensor
    mean: Tensor
    covariance: Tensor
    correlation: Tensor
    quantiles: Tensor
    length: float = 0.0
    model: str = ""
    class_names: tuple[str, ...] = ()

    def without_classes(self, classes: Sequence[int]) -> Statistics:
        """The statistics of all other classes.

        Raises:
            DataError: fewer than two clusters would be left.
        """
        gone = torch.tensor(list(classes), dtype=torch.int64)
        return self.only(~torch.isin(self.labels, gone))

    def only(self, kept: Tensor) -> Statistics:
        """The statistics of the clusters that a mask `[K]` keeps.

        Raises:
            DataError: fewer than two clusters would be left.
        """
        if int(kept.sum()) < 2:
            raise DataError(
                f"The retain set has {int(kept.sum())} clusters with at least {MIN_SAMPLES}"
                " samples, and two are needed for samples to go to. Give more retain data, or use"
                " method esc."
            )
        some = replace(
            self,
            rows=self.rows[kept],
            labels=self.labels[kept],
            count=self.count[kept],
            mean=self.mean[kept],
            quantiles=self.quantiles[kept],
        )
        if self.shares_covariance:
            return some
        return replace(some, covariance=self.covariance[kept], correlation=self.correlation[kept])

    @property
    def shares_covariance(self) -> bool:
        """Whether there is one covariance for all clusters."""
        return len(self.covariance) == 1

    def deviations(self, features: Tensor | None = None) -> Tensor:
        """Deviation of every feature over all clusters `[d]`, 1 where it is constant.

        Features divided by them do not depend on the units that they come in.

        Args:
            features: `[n, d]` others, whose spread counts as much.
        """
        share = self.count.double() / self.count.sum()
        centre = share @ self.mean
        variance = average(self.covariance, self.count).diagonal()
        variance = variance + share @ (self.mean - centre).square()
        if features is not None:
            variance = variance / 2 + (features.double() - centre).square().mean(0) / 2
        return deviations_of(variance)

    def divided(self, scale: Tensor) -> Statistics:
        """The statistics of features divided by `scale` `[d]`; rows score those as before."""
        return replace(
            self,
            rows=apply_scale(self.rows, scale),
            mean=self.mean / scale,
            covariance=divided(self.covariance, scale),
            quantiles=self.quantiles / scale[:, None],
        )

    def save(self, path: str | Path) -> Path:
        """Write one file, readable by its owner only; earlier statistics there are replaced.

        Raises:
            UsageError: another kind of file is there.
            OutputError: it cannot be written.
        """
        path = Path(path)
        tensors = {
            "rows": self.rows,
            "labels": self.labels,
            "count": self.count,
            "mean": self.mean.float(),
            "covariance": self.covariance.float(),
            "correlation": self.correlation.float(),
            "quantiles": self.quantiles.float(),
        }
        metadata = {"length": repr(self.length), "model": self.model}
        if self.class_names:
            metadata["classes"] = json.dumps(self.class_names)
        files.write(path, tensors, metadata)
        return path


def load(path: str | Path) -> Statistics:
    """Statistics from a file that `Statistics.save` wrote.

    Raises:
        UsageError: no such file.
        ModelError: not a file of statistics, of another version, or damaged.
    """
    path = Path(path)
    tensors, metadata = files.read(path)
    try:
        found = Statistics(
            rows=tensors["rows"].double(),
            labels=tensors["labels"].long(),
            count=tensors["count"].long(),
            mean=tensors["mean"].double(),
            covariance=tensors["covariance"].double(),
            correlation=tensors["correlation"].double(),
            quantiles=tensors["quantiles"].double(),
            length=float(metadata["length"]),
            model=metadata["model"],
            class_names=tuple(map(str, json.loads(metadata.get("classes", "[]")))),
        )
    except (KeyError, ValueError) as error:
        raise files.damaged(path, error) from error
    if not (_shapes_fit(found) and _values_fit(found)):
        raise ModelError(
            f"{path}: shapes or values do not fit together. Write it again with unspan stats."
        )
    return found


def _shapes_fit(found: Statistics) -> bool:
    if found.mean.ndim != 2:
        return False
    clusters, dim = found.mean.shape
    square = (1 if found.shares_covariance else clusters, dim, dim)
    wanted = {
        "rows": (clusters, dim + 1),
        "labels": (clusters,),
        "count": (clusters,),
        "mean": (clusters, dim),
        "covariance": square,
        "correlation": square,
        "quantiles": (clusters, dim, len(QUANTILE_LEVELS)),
    }
    return all(tuple(one.shape) == wanted[name] for name, one in _tensors(found).items())


def _values_fit(found: Statistics) -> bool:
    finite = all(bool(one.isfinite().all()) for one in _tensors(found).values())
    return (
        finite
        and bool((found.count > 0).all())
        and bool((found.labels >= -1).all())
        and bool((found.quantiles.diff(dim=2) >= 0).all())
        and bool((found.covariance.diagonal(dim1=1, dim2=2) >= 0).all())
        and 0 <= found.length < math.inf
    )


def _tensors(found: Statistics) -> dict[str, Tensor]:
    """The fields that are tensors, by name."""
    return {name: value for name, value in vars(found).items() if isinstance(value, Tensor)}


def deviations_of(variance: Tensor) -> Tensor:
    """Deviations `[d]` of variances, 1 where the variance is 0."""
    return variance.sqrt().where(variance > 0, torch.ones_like(variance))


def divided(covariance: Tensor, scale: Tensor) -> Tensor:
    """Covariances `[..., d, d]` of features divided by `scale` `[d]`."""
    return covariance / scale[:, None] / scale
