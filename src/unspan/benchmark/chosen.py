"""The settings of the methods of a table, and the trials that they were chosen by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unspan.benchmark.spec_text import NETWORKS
from unspan.benchmark.table_values import Choice, Filled

_RULES = {  # of validation, by `rule` in the rows of the trials
    "both": "HM of forgetting and of accuracy on retained validation samples",
    "forget-only": (
        "HM of forgetting and of the share of forget validation samples whose best other class is"
        " that of the original; no retained data are read"
    ),
}
_FIRST = "both"  # the rule of cells that name none


def choices(rows: Sequence[Filled]) -> tuple[Choice, ...]:
    """How the settings of every method of a table came about; trials are shared by its seeds."""
    return tuple(_choice(one) for one in rows if one.results and one.row["method"] not in NETWORKS)


def _choice(one: Filled) -> Choice:
    result = one.results[0]
    trials = result.get("tuning") or []
    best = best_of(trials)
    settings = {**result["cell"]["settings"], **(best["settings"] if best else {})}
    scores = tuple(
        (in_words(trial["settings"]), None if trial["error"] else 100 * trial["score"])
        for trial in trials
    )
    rule = _RULES.get(trials[0].get("rule", _FIRST), trials[0].get("rule", "")) if trials else ""
    return Choice(one.row["label"], one.row["pair"], in_words(settings), scores, rule)


def best_of(trials: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The trial whose settings were taken; None without trials."""
    return max(trials, key=lambda trial: trial["score"], default=None)


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings in one line.

    >>> in_words({"lr": 0.01, "epochs": 3}), in_words({})
    ('lr = 0.01, epochs = 3', 'defaults')
    """
    return ", ".join(f"{name} = {value}" for name, value in settings.items()) or "defaults"
