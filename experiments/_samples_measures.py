"""What is left of single samples in networks, from their class scores."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from scipy.stats import t
from torch import Tensor

from unspan.auditing.single_samples import sample_attack
from unspan.metrics.lira import scaled_logits
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading, auc_reading

POINTS = 2.0  # by which the accuracy of a class may lie outside the range of retrained networks
SHARE = 0.15  # of the time of retraining
Scores = dict[str, Tensor]  # class scores `[n, C]` by part
ATTACKS = ("RMIA", "LiRA")


def membership(
    original: Scores, erased: Scores, retrained: Sequence[Scores], labels: Scores, part: str
) -> tuple[list[Reading], list[list[Reading]]]:
    """RMIA and LiRA on one network, and on each retrained one with the others as references.

    Args:
        original: of the network before.
        erased: of the network that is attacked.
        retrained: of networks that never saw the forget samples.
        labels: by part.
        part: samples that are asked about, `forget` or `others`.
    """
    named = {"before": original, "after": erased}
    named |= {f"reference {number}": one for number, one in enumerate(retrained)}
    fit = {name: _outputs(one[part], labels[part], True) for name, one in named.items()}
    test = {name: _outputs(one["unseen"], labels["unseen"], False) for name, one in named.items()}
    references = [name for name in named if name.startswith("reference")]
    found = sample_attack(fit, test, references, by_class=False)
    read = {name: [one.reading for one in own] for name, own in found.items()}
    return read.get("after", []), [read[name] for name in references if name in read]


def _outputs(scores: Tensor, labels: Tensor, forget: bool) -> Outputs:
    mark = torch.full((len(labels),), forget)
    return Outputs(features=scores, logits=scores, labels=labels, forget=mark)


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
