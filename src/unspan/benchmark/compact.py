"""Cells short enough to be read in a review: as many digits as a measurement has, names once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DIGITS = 7  # significant; intervals of shares differ in the fourth


def compacted(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a cell with numbers of seven significant digits.

    Settings stay as they were given, since the cell is known by them.
    """
    return {name: value if name == "cell" else _short(value) for name, value in result.items()}


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {name: _short(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(one) for one in value]
    return value


def weight_changes(beside: Mapping[str, Any]) -> dict[str, float]:
    """Relative change of every part of the weights, by name; older cells hold a list of rows.

    >>> weight_changes({"weights": {"head": [0.5, 0.01]}})
    {'head': 0.5}
    >>> weight_changes({"weights": [{"part": "head", "value": 0.5, "mean": 0.01}]})
    {'head': 0.5}
    """
    found = beside.get("weights") or {}
    if isinstance(found, Mapping):
        return {part: float(value or 0.0) for part, (value, _) in found.items()}
    return {row["part"]: float(row["value"] or 0.0) for row in found}
