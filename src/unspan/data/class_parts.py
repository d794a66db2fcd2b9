"""Data cut in two by class: the samples of some classes, and all others."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch.utils.data import Subset

from unspan.data.labels import chosen_rows, labels_of
from unspan.errors import UsageError


def has_labels(data: Any) -> bool:
    """Whether every sample has a class."""
    try:
        return min(labels_of(data), default=-1) >= 0
    except UsageError:
        return False


def apart(data: Any, classes: Collection[int]) -> tuple[Any, Any]:
    """The samples of other classes, and those of `classes`; each None when there are none.

    Data that are None or have no labels are taken to hold none of the classes.
    """
    if not classes or data is None or not has_labels(data):
        return data, None
    gone, kept = chosen_rows(labels_of(data), classes)
    return Subset(data, kept) if kept else None, Subset(data, gone) if gone else None


def without_class(data: Any, label: int) -> Any:
    """The samples of all other classes; None when there are none."""
    _, kept = chosen_rows(labels_of(data), [label])
    return Subset(data, kept) if kept else None
