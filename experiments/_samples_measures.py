"""What is left of single samples in networks, from their class scores."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from scipy.stats import t
from torch import Tensor

from unspan.metrics.lira import lira_scores, log_probability, scaled_logits
from unspan.metrics.membership import two_sided_scores
from unspan.metrics.rmia import rmia_leave_one_out
from unspan.metrics.score import Reading, auc_reading

POINTS = 2.0  # by which the accuracy of a class may lie outside the range of retrained networks
SHARE = 0.15  # of the time of retraining
Scores = dict[str, Tensor]  # class scores `[n, C]` by part
ATTACKS = ("RMIA", "LiRA", "two-sided loss")


def membership(
    attacked: Scores, others: Sequence[Scores], labels: Scores, part: str
) -> list[Reading]:
    """RMIA, within the class and with the default a, LiRA offline, and losses that stand out either
    way, on one network.

    Args:
        attacked: scores of the network.
        others: scores of retrained networks that the attacks compare with.
        labels: by part.
        part: samples that are asked about, `forget` or `others`.
    """
    own = _sure(attacked, labels, part)
    theirs = [_sure(one, labels, part) for one in others]
    both = torch.stack([torch.cat(one) for one in theirs])
    lira = lira_scores(torch.cat(own), both).split([len(own[0]), len(own[1])])
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for label in labels[part].unique().tolist():
        sides = []
        for place, name in enumerate((part, "unseen")):
            rows = labels[name] == label
            stacked = torch.stack([one[place][rows] for one in theirs])
            sides.append((log_probability(own[place][rows]), log_probability(stacked)))
        for group, scores in zip(found, rmia_leave_one_out(*sides), strict=True):
            group.append(scores)
    by_loss = two_sided_scores(*(-log_probability(one) for one in own))
    scored = (tuple(map(torch.cat, found)), lira, by_loss)
    return [auc_reading(name, *one) for name, one in zip(ATTACKS, scored, strict=True)]


def left_out(retrained: Sequence[Scores], labels: Scores, part: str) -> list[list[Reading]]:
    """The attacks on each retrained network, by the others."""
    return [
        membership(one, [*retrained[:place], *retrained[place + 1 :]], labels, part)
        for place, one in enumerate(retrained)
    ]


def _sure(scores: Scores, labels: Scores, part: str) -> tuple[Tensor, Tensor]:
    """Scaled logits of the samples asked about, and of unseen ones."""
    return (
        scaled_logits(scores[part], labels[part]),
        scaled_logits(scores["unseen"], labels["unseen"]),
    )


def compared(before: Scores, after: Scores, labels: Scores) -> float:
    """AUC of telling the forget samples from kept ones by how much a network became less sure."""
    fallen = [
        scaled_logits(before[part], labels[part]) - scaled_logits(after[part], labels[part])
        for part in ("forget", "kept")
    ]
    return auc_reading("", *fallen).value


def by_class(scores: Tensor, labels: Tensor) -> list[float]:
    """Percent of each class that are named rightly."""
    right = (scores.argmax(1) == labels).double()
    return [100 * float(right[labels == label].mean()) for label in labels.unique().tolist()]


def one_more(values: Sequence[float]) -> tuple[float, float]:
    """Where the value of one more network of the kind lies, with 95 %."""
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values)
    half *= math.sqrt(1 + 1 / len(values))
    return statistics.mean(values) - half, statistics.mean(values) + half


def outside(value: float, low: float, high: float) -> float:
    """How far a value lies outside a range, below zero to the left; 0 inside."""
    return min(value - low, 0.0) + max(value - high, 0.0)


def goals(row: dict[str, Any], retrained: dict[str, Any]) -> dict[str, float]:
    """How much a row misses each goal by: in AUC, in points, in share of the time; 0 is met."""
    off = [outside(row[name]["auc"], *retrained[name]["range"]) for name in ATTACKS if name in row]
    classes = [
        outside(mean, low - POINTS, high + POINTS)
        for mean, low, high in zip(
            row["classes"], retrained["lowest"], retrained["highest"], strict=True
        )
    ]
    return {
        "membership": max(off, key=abs, default=0.0),
        "classes": max(classes, key=abs),
        "time": max(row["share"] - SHARE, 0.0),
    }
