"""Settings that were renamed, in one place: results measured under the old names stay valid.

The id of a cell is a hash of its settings, so it is taken over the names of the first release of
results. Settings read from an old cell are given their names of today.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unspan.methods import Method, by_name, configured

RENAMED: dict[str, dict[str, str]] = {  # by method: the name in old cells, and the name today
    "resample": {
        "drawn": "noise_fraction",
    },
}


def first_names(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings under the names that ids of cells are hashed over.

    >>> first_names("resample", {"noise_fraction": 0.2, "statistics": "head"})
    {'drawn': 0.2, 'statistics': 'head'}
    """
    old = {today: first for first, today in RENAMED.get(method, {}).items()}
    return {old.get(name, name): value for name, value in settings.items()}


def todays_names(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings under the names that the method takes today.

    >>> todays_names("resample", {"drawn": 0.2, "statistics": "head"})
    {'noise_fraction': 0.2, 'statistics': 'head'}
    """
    today = RENAMED.get(method, {})
    return {today.get(name, name): value for name, value in settings.items()}


def configured_method(name: str, settings: Mapping[str, Any]) -> Method:
    """Return a method with the settings of a spec or a cell; the text "none" stands for None.

    Raises:
        UsageError: no such method, or a setting that it does not take.
    """
    values = {
        key: None if value == "none" else value
        for key, value in todays_names(name, settings).items()
    }
    return configured(by_name(name), values)
