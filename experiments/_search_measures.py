"""What a search finds: of the kind that was asked for, of what it found before, of the truth.

Functions give one share in [0, 1] for each query, `[m]`. Ids found are `[m, k]`, nearest first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _bootstrap import spread

_RESAMPLED = 1_000
MISSING = -1  # the id where a store finds fewer rows than were asked for
Ids = np.ndarray
Shares = np.ndarray


def own_kind(found: Ids, labels: np.ndarray, truth: np.ndarray) -> Shares:
    """Share of what is found that is of the kind of the query: precision at k.

    Args:
        found: `[m, k]`.
        labels: `[n]`, the kind of the row with each id.
        truth: `[m]`, the kind of each query.
    """
    return (labels[found] == truth[:, None]).mean(1)


def of_kind(found: Ids, labels: np.ndarray, kind: int) -> Shares:
    """Share of what is found that is of one kind, whatever was asked for."""
    return (labels[found] == kind).mean(1)


def found_again(found: Ids, wanted: Ids, stays: np.ndarray) -> Shares:
    """Share of the wanted ids that are found, among those that stay; NaN where none of them does.

    Args:
        found: `[m, k]`.
        wanted: `[m, k]`, what an exact search finds, or what was found before.
        stays: `[n]`, whether the row with each id counts.
    """
    again = (wanted[:, :, None] == found[:, None, :]).any(2)
    counts = stays[wanted]
    total = counts.sum(1)
    return np.where(total > 0, (again & counts).sum(1) / np.maximum(total, 1), np.nan)


def mean_of(shares: Shares) -> dict[str, Any]:
    """Mean over queries with its 95 % bootstrap interval, and how many queries count."""
    known = shares[~np.isnan(shares)]
    drawn = spread(known.tolist(), _RESAMPLED)
    return {"mean": drawn["mean"], "low": drawn["low"], "high": drawn["high"], "n": len(known)}


def measured(
    found: Ids, before: Ids, exact: Ids, labels: np.ndarray, truth: np.ndarray, kind: int
) -> dict[str, dict[str, Any]]:
    """What searches find in one state of a store.

    Args:
        found: `[m, k]`, in this state.
        before: `[m, k]`, in the same store before the deletion.
        exact: `[m, k]`, by an exact search of the vectors of this state.
        labels: `[n]`, the kind of the row with each id.
        truth: `[m]`, the kind of each query.
        kind: that was erased.

    Returns:
        `erased`: of their own kind, for queries of the erased kind. `others`: the same for others.
        `change`: of `others`, in this state less before. `answered`: queries of others with one of
        their kind or more. `in others`: rows of the erased kind, found by others. `kept`: rows of
        others found before that are found again. `recall`: of the exact search.
    """
    others = truth != kind
    labels = np.append(labels, MISSING)  # of the id MISSING, and the kind of nobody
    own, own_before = (own_kind(one, labels, truth) for one in (found, before))
    stays = (labels != kind) & (labels != MISSING)
    return {
        "erased": mean_of(own[~others]),
        "others": mean_of(own[others]),
        "change": mean_of((own - own_before)[others]),
        "answered": mean_of((own[others] > 0).astype(float)),
        "in others": mean_of(of_kind(found[others], labels, kind)),
        "kept": mean_of(found_again(found, before, stays)[others]),
        "recall": mean_of(found_again(found, exact, np.ones(len(labels), bool))),
    }
