"""Which version of the measurement a cell comes from: changed attacks never stand beside old."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unspan.errors import DataError

MEASUREMENT = 2  # raise it when an attack or a score changes what it reads
_SHOWN = 5  # cells of a version that a message names

Results = Mapping[str, dict[str, Any] | None]  # of cells, by id; None where nobody computed one


def refuse_mixed(name: str, results: Results) -> None:
    """A table shows cells of one version of the measurement.

    Args:
        name: of the table.
        results: of its cells.

    Raises:
        DataError: its cells were measured by several versions.
    """
    found = _versions(results)
    if len(found) > 1:
        raise DataError(
            f"{name} mixes versions of the measurement ({_told(found)}), so its numbers cannot be"
            " compared. Compute it anew with another --out."
        )


def refuse_older(name: str, results: Results) -> None:
    """No cell is computed beside those of another version of the measurement.

    Args:
        name: of the table.
        results: of its cells.

    Raises:
        DataError: a cell is left to compute, and others are of another version.
    """
    left = any(one is None or "error" in one for one in results.values())
    found = {version: own for version, own in _versions(results).items() if version != MEASUREMENT}
    if left and found:
        raise DataError(
            f"{name} holds cells of another version of the measurement ({_told(found)}), and this"
            f" version of unspan measures by version {MEASUREMENT}. Give another --out, or install"
            " the version that wrote them."
        )


def _versions(results: Results) -> dict[int, list[str]]:
    """Finished cells by version, the oldest first; 0 where a cell does not say."""
    found: dict[int, list[str]] = {}
    for name, one in results.items():
        if one is not None and "error" not in one:
            found.setdefault(one.get("measurement", 0), []).append(name)
    return dict(sorted(found.items()))


def _told(found: Mapping[int, list[str]]) -> str:
    told = []
    for version, names in found.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        told.append(f"version {version}: {', '.join(names[:_SHOWN])}{more}")
    return "; ".join(told)
