"""Samples of a benchmark, read once and kept in memory where they fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Subset, TensorDataset

from unspan.data.loading import batches
from unspan.run import Run

MEMORY = 2 * 2**30  # bytes of prepared inputs that are kept in memory


def pooled(parts: Sequence[Any], run: Run) -> tuple[Any, list[Any]]:
    """Subsets of one dataset, read once: all their samples in the dataset's order, and every part
    as a view of these.

    Args:
        parts: `Subset` of the same dataset, or None.
        run: batch size, progress.
    """
    known = [part for part in parts if part is not None]
    places = sorted({i for part in known for i in part.indices})
    pool = in_memory(Subset(known[0].dataset, places), run)
    where = {i: place for place, i in enumerate(places)}
    return pool, [
        None if part is None else Subset(pool, [where[i] for i in part.indices]) for part in parts
    ]


def in_memory(data: Any, run: Run) -> Any:
    """The samples as prepared tensors, if they are tensors and fit; else as they are."""
    if data is None or len(data) == 0:
        return data
    first = next(iter(batches(Subset(data, [0]), run))).inputs
    if (
        not isinstance(first, torch.Tensor)
        or first[0].numel() * first.element_size() * len(data) > MEMORY
    ):
        return data
    found = list(batches(data, run, shard=False))
    return TensorDataset(
        torch.cat([one.inputs[: len(one)] for one in found]),
        torch.cat([one.labels for one in found if one.labels is not None]),
    )
