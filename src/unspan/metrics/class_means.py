"""Scores of class means: does a nearest-mean classifier know the class, and do the rows of a head
point at its mean?

Source: Papyan, Han and Donoho, PNAS 2020 (neural collapse); used for unlearning in CMF, AISTATS
2026, arXiv 2604.08271.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from unspan.errors import DataError
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Score, share_interval, unmeasured


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean feature of every class, `[C, d]` float64; NaN for a class without samples.

    Args:
        features: `[n, d]`.
        labels: `[n]`, -1 for none.
        classes: C.
    """
    known = labels >= 0
    sums = torch.zeros(classes, features.shape[1], dtype=torch.float64)
    sums.index_add_(0, labels[known], features[known].double())
    return sums / torch.bincount(labels[known], minlength=classes)[:, None]


def nearest_mean_accuracy(fit: Outputs, test: Outputs, split: str) -> Score:
    """NCC: share of the forget samples whose nearest class mean is that of their class.

    Args:
        fit: training samples, whose class means are taken; a class that is not among them is never
            the answer.
        test: samples that are judged; those of the request count.
        split: which samples.
    """
    asked = test.rows(test.forget & (test.labels >= 0))
    if not len(asked):
        return unmeasured(
            "nearest class mean", "no labelled forget sample.", better="lower", split=split
        )
    means = class_means(fit.features, fit.labels, max(fit.classes(), test.classes()))
    distance = torch.cdist(asked.features.double(), means).nan_to_num(torch.inf)
    hits = int((distance.argmin(1) == asked.labels).sum())
    low, high = share_interval(hits, len(asked))
    return Score(
        name="nearest class mean",
        value=hits / len(asked),
        low=low,
        high=high,
        better="lower",
        split=split,
        n=len(asked),
    )


def misalignment(features: Tensor, labels: Tensor, weight: Tensor, split: str) -> Score:
    """NC3: mean over classes of `1 - cos(mu_k - mu_G, w_k)`, in [0, 2]; 0: the head is the means.

    `mu_G` is the mean of the class means. Classes without samples are left out; n is the number
    of classes.

    Args:
        features: `[n, d]`.
        labels: `[n]`, -1 for none.
        weight: `[C, d]` rows of the head.
        split: which samples.

    Raises:
        DataError: a label beyond the rows.
    """
    if int(labels.max()) >= len(weight):
        raise DataError(
            f"Label {int(labels.max())} has no row among the {len(weight)} of the head."
        )
    means = class_means(features, labels, len(weight))
    there = ~means.isnan().any(1)
    apart = normalize(means[there] - means[there].mean(0), dim=1, eps=1e-300)
    cosine = (apart * normalize(weight[there].double(), dim=1, eps=1e-300)).sum(1)
    return Score(
        name="misalignment of head and class means",
        value=float(1 - cosine.mean()),
        unit="1",
        split=split,
        n=int(there.sum()),
    )
