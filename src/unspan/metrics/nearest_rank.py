"""M4: do forgotten samples lie as near to retained ones as these lie to each other?

It needs no other model. For samples that are like the retained ones, the rank of their nearest
cosine is even, with mean 0.5.

Source: RULER, 2026, arXiv 2605.27569 (metric M4); written anew.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from unspan.metrics.neighbours import neighbours
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import shuffled
from unspan.metrics.score import Score, unmeasured

NAME = "rank of the nearest retained sample"
_ROWS = 2000  # samples of a kind that are compared
_DIGITS = 12  # of a cosine; further ones are rounding, and equal features must tie


def nearest_rank(part: Outputs, split: str, seed: int = 0) -> Score:
    """Mean rank of the forgotten samples' cosine to the nearest retained one, in [0, 1].

    The rank is the share of retained samples whose own nearest other one is farther; ties count
    half. 0.5: forgotten samples lie among the others as these do. Below: apart from them, as those
    of a class of its own do, also in a model that never saw it. Above: nearer than usual.

    The interval is 0.5 units of rank evenly spread, `1.96 / sqrt(12 n)` to both sides, which holds
    for one set of retained samples.

    Args:
        part: features of forgotten and retained samples; of each kind at most 2,000 are taken.
        split: which samples.
        seed: of which are taken.
    """
    asked, kept = (_some(rows, seed) for rows in (part.forget, ~part.forget))
    if len(asked) < 1 or len(kept) < 2:
        reason = "fewer than 1 forgotten or 2 retained samples."
        return unmeasured(NAME, reason, better="reference", split=split, unit="1", n=len(asked))
    features = part.features
    near = _nearest(features, kept, asked, 0)
    own = _nearest(features, kept, kept, 1)
    ranks = _ranks(near, own)
    value, deviation = float(ranks.mean()), (12 * len(asked)) ** -0.5
    return Score(
        name=NAME,
        value=value,
        low=max(value - 1.96 * deviation, 0.0),
        high=min(value + 1.96 * deviation, 1.0),
        unit="1",
        better="reference",
        split=split,
        n=len(asked),
        note="0.5: among the others as these are among themselves",
        detail={"deviations_from_half": (value - 0.5) / deviation, "retained": len(kept)},
    )


def _some(mask: Tensor, seed: int) -> Tensor:
    rows = mask.nonzero()[:, 0]
    return rows[shuffled(len(rows), seed)[:_ROWS]].sort().values


def _nearest(features: Tensor, rows: Tensor, asked: Tensor, place: int) -> Tensor:
    """Cosine `[m]` float64 of each asked sample to its nearest of `rows`, or to the next nearest.

    Args:
        features: `[n, d]`.
        rows: positions of those that are searched.
        asked: positions.
        place: 0 for the nearest; 1 where the sample itself is among the rows and does not count.
    """
    given = features[asked]
    found = neighbours(features, rows, given, place + 1, cosine=True)
    # where the sample is not the first of its equals, the first is a copy and counts
    other = torch.where(found[:, 0] == asked, found[:, place], found[:, 0])
    cosine = cosine_similarity(given.double(), features[other].double(), dim=1)
    return cosine.round(decimals=_DIGITS)


def _ranks(values: Tensor, among: Tensor) -> Tensor:
    """Share `[m]` of `among` below each value; equal ones count half."""
    ordered = among.sort().values
    below = torch.searchsorted(ordered, values)
    at_most = torch.searchsorted(ordered, values, right=True)
    return (below + at_most).double() / (2 * len(among))
