"""Data that can be read twice and in any order."""

from __future__ import annotations

from typing import Any


def is_indexed(data: Any) -> bool:
    """Whether a user's data has a length and gives samples by place, as a stream does not."""
    return hasattr(data, "__len__") and hasattr(data, "__getitem__")
