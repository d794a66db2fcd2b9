"""k nearest neighbours: an attack without training, immune to how features are scaled or an optimiser is tuned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading

_QUERIES = 256  # rows of a distance matrix at a time
_RETAINED = 2000  # retained test rows that are asked


def nearest(fit: Outputs, test: Outputs, ks: Sequence[int] = (1, 5, 20), *, seed: int = 0) -> list[Reading]:
    """Majority vote of the k nearest fit rows, by Euclidean distance and by cosine; a tie goes to the nearest among the tied.

    Every forget test row is asked, and at most 2,000 retained ones.

    Args:
        fit: labelled outputs the attacker has.
        test: outputs he is judged on.
        ks: numbers of neighbours; those above n are left out.
        seed: of the choice of retained rows.
    """
    asked = torch.cat([test.forget.nonzero()[:, 0], _some((~test.forget).nonzero()[:, 0], seed)])
    known = fit.labels >= 0
    base, labels, classes = (fit.features if bool(known.all()) else fit.features[known]), fit.labels[known], fit.classes()
    ks, forget = [k for k in ks if k <= len(labels)], test.forget[asked]
    found = []
    for metric in ("euclidean", "cosine"):
        votes = labels[_closest(base, test.features[asked], max(ks), metric)]
        for k in ks:
            hit = _majority(votes[:, :k], classes) == test.labels[asked]
            retain = float(hit[~forget].double().mean()) if bool((~forget).any()) else None
            found.append(Reading(attack=f"nearest {k}, {metric}", unit="share", forget=hit[forget].double(), retain=retain, detail={"k": k, "metric": metric, "fit_rows": len(labels)}))
    return found


def _some(rows: Tensor, seed: int) -> Tensor:
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:_RETAINED]]


def _closest(base: Tensor, queries: Tensor, k: int, metric: str) -> Tensor:
    """Rows `[q, k]` of `base`, nearest first."""
    if metric == "cosine":
        base, queries = normalize(base), normalize(queries)
        offset = torch.zeros(len(base))
    else:
        centre = base.mean(0)  # distances stay, cancellation in float32 goes
        base, queries = base - centre, queries - centre
        offset = base.square().sum(1) / 2
    return torch.cat([torch.addmm(-offset, part, base.mT).topk(k).indices for part in queries.split(_QUERIES)])


def _majority(votes: Tensor, classes: int) -> Tensor:
    """Most frequent label of each row; among equals the one that stands first."""
    counts = one_hot(votes, classes).sum(1)
    best = counts.gather(1, votes) == counts.amax(1, keepdim=True)
    return votes.gather(1, best.int().argmax(1, keepdim=True))[:, 0]
