"""k nearest neighbours (A6): a reader with nothing to train, so no scale, rate or stopping rule can
excuse a low value.

Features are taken as they are: standardising would be a choice, and the point of this attack is to
have none. Neither distance changes when all features are scaled by one factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import classes_of, names_forgotten, share_reading, shuffled
from unspan.metrics.score import Reading, auc_reading

RETAINED = 2000  # retained test samples asked, drawn by the seed
_QUERIES, _ROWS = 512, 4096  # a block of scores is 8 MiB
# candidates beyond k that float32 rounding may have misplaced; the order among them is found in
# float64
_SPARE = 12


def nearest(
    fit: Outputs, test: Outputs, ks: Sequence[int] = (1, 5, 20), seed: int = 0
) -> list[Reading]:
    """What a vote of the k nearest fit samples reads, by Euclidean distance and by cosine.

    All forget test samples and at most 2,000 retained ones are asked; one search serves every k.
    The label with most votes wins, and of several the one whose nearest member is nearest (equal
    distances: the earlier fit row). For the largest k there is also the share of forget samples
    among the neighbours, as an AUC.

    Args:
        fit: rows among which neighbours are sought; unlabelled ones do not vote.
        test: rows to read.
        ks: numbers of neighbours; more than there are fit rows means all of them.
        seed: of the retained test samples.
    """
    classes = classes_of(fit, test)
    asked = queries(test, seed)
    fitted = (fit.labels >= 0).nonzero()[:, 0]
    part = test.rows(asked)
    readings = []
    for metric in ("L2", "cosine"):
        found = neighbours(
            fit.features,
            fitted,
            part.features,
            min(max(ks), len(fitted)),
            cosine=metric == "cosine",
        )
        labels = fit.labels[found]
        for k in ks:
            read = vote(labels[:, :k], classes)
            hit, named = read == part.labels, names_forgotten(read, part)
            readings.append(
                share_reading(
                    f"kNN k={k}, {metric}", hit, part, named, k=k, metric=metric, asked=len(part)
                )
            )
        share = fit.forget[found].double().mean(1)
        if not part.forget.all():
            readings.append(
                auc_reading(
                    f"kNN k={max(ks)}, {metric}, forget against rest",
                    share[part.forget],
                    share[~part.forget],
                    k=max(ks),
                    metric=metric,
                    asked=len(part),
                )
            )
    return readings


def queries(test: Outputs, seed: int) -> Tensor:
    """Positions, in order, of all labelled forget rows and of at most 2,000 labelled retained
    rows.
    """
    rest = (~test.forget & (test.labels >= 0)).nonzero()[:, 0]
    rest = rest[shuffled(len(rest), seed)[:RETAINED]]
    return torch.cat([(test.forget & (test.labels >= 0)).nonzero()[:, 0], rest]).sort().values


def vote(labels: Tensor, classes: int) -> Tensor:
    """The winning label `[m]` of neighbours `[m, k]` in order of distance.

    >>> vote(torch.tensor([[2, 1, 1, 2], [0, 1, 1, 0], [2, 1, 1, 0]]), 3).tolist()
    [2, 0, 1]
    """
    bonus = 1 + 0.5 ** torch.arange(
        1, labels.shape[1] + 1, dtype=torch.float64
    )  # sums to less than a vote, nearest first
    votes = torch.zeros(len(labels), classes, dtype=torch.float64)
    return votes.scatter_add_(1, labels, bonus.expand(len(labels), -1)).argmax(1)


def neighbours(features: Tensor, rows: Tensor, asked: Tensor, k: int, *, cosine: bool) -> Tensor:
    """Positions `[m, k]` in `features [n, d]` of the nearest of `rows [r]` to each of `asked [m,
    d]`, nearest first.

    Blocks of float32 products keep `k + 12` candidates, whose distances are then compared in
    float64. A row of length 0 has cosine 0 with everything. Memory: a few blocks of 4,096 features,
    never all of them.
    """
    centre = features.mean(0) if not cosine else torch.zeros(features.shape[1])
    width = min(k + _SPARE, len(rows))
    blocks = list(_prepared(features, rows, centre, cosine)) if len(rows) <= _ROWS else None
    result = []
    for part in asked.split(_QUERIES):
        towards = _unit(part) if cosine else part - centre
        best = torch.full((len(part), 0), 0.0)
        where = torch.zeros(len(part), 0, dtype=torch.int64)
        for index, block, length in blocks or _prepared(features, rows, centre, cosine):
            score = torch.addmm(-length / 2, towards, block.mT)  # larger is nearer
            top = score.topk(min(width, score.shape[1]), 1)
            best = torch.cat([best, top.values], 1)
            where = torch.cat([where, index[top.indices]], 1)
            kept = best.topk(min(width, best.shape[1]), 1)
            best = kept.values
            where = where.gather(1, kept.indices)
        result.append(
            torch.cat(
                [
                    _ordered(features, w, q, cosine)[:, :k]
                    for w, q in zip(where.split(256), part.split(256), strict=True)
                ]
            )
        )
    return torch.cat(result)


def _prepared(
    features: Tensor, rows: Tensor, centre: Tensor, cosine: bool
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Blocks of fit rows: their positions, what is multiplied, and what is taken off the
    product.
    """
    for index in rows.split(_ROWS):
        block = _unit(features[index]) if cosine else features[index] - centre
        yield index, block, torch.zeros(len(index)) if cosine else block.square().sum(1)


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)


def _ordered(features: Tensor, where: Tensor, part: Tensor, cosine: bool) -> Tensor:
    """Candidates `[m, w]` by exact distance, equal ones by position."""
    where = where.sort(1).values
    found = features[where].double()
    query = part.double()[:, None]
    distance = -(_unit(found) * _unit(query)).sum(2) if cosine else (found - query).square().sum(2)
    return where.gather(1, distance.sort(dim=1, stable=True).indices)
