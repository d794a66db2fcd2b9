"""The page of `experiments/bake.py`: one column a row of the JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from _bake_attacks import ATTACKS, VIEWS

Row = dict[str, Any]
Values = dict[str, Row]  # by the name of the row
_LAST = (
    "A value at or below that of the retrained network says: suppressed, and not"
    " recoverable by the attacks tried, no more than this."
)
_READ = (
    f"What is read of the 1,000 test images of the class, in percent: {', '.join(ATTACKS)}."
    " Largest excess: over the retrained network, any attack."
)


def table(rows: Values, heads: Sequence[str], budget: int) -> list[str]:
    """Lines of two tables in Markdown.

    Args:
        rows: of the JSON.
        heads: their names, in order.
        budget: images that may be processed.
    """
    header = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    by_layer = ["| layer | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    chosen = {name: rows[name] for name in heads}
    return [
        *header,
        *_accuracies(chosen),
        *_cost(chosen, budget),
        *_few_shot(chosen),
        "",
        _READ,
        "",
        *by_layer,
        *_layers(chosen),
        *_altered_questions(chosen),
        *_excesses(chosen),
        "",
        _LAST,
        "",
    ]


def _line(title: str, cells: Iterable[str]) -> str:
    return f"| {title} | " + " | ".join(cells) + " |"


def _percent(row: Row, key: str) -> str:
    return f"{100 * row['measured'][key]['value']:.1f}"


def _accuracies(rows: Values) -> list[str]:
    titles = {
        "remaining test accuracy, 8,000 images": "remaining",
        "the same, all 9,000": "remaining, all",
        "own head on the class": "forget",
    }
    return [
        _line(title, [_percent(row, key) for row in rows.values()]) for title, key in titles.items()
    ]


def _cost(rows: Values, budget: int) -> list[str]:
    images = [f"{row['images']:,.0f}" if "images" in row else "" for row in rows.values()]
    steps = [str(row["lowered"]) if "lowered" in row else "" for row in rows.values()]
    seconds = [f"{row['seconds']:.0f}" if "seconds" in row else "" for row in rows.values()]
    return [
        _line(f"images processed, of {budget:,} allowed", images),
        *([_line("step lowered so often", steps)] if any(steps) else []),
        _line("seconds of training", seconds),
    ]


def _few_shot(rows: Values) -> list[str]:
    found = [row["measured"]["few-shot"] for row in rows.values()]
    return [
        _line(attack, [f"{100 * one[attack]:.1f}" for one in found])
        for attack in (found[0] if found else ())
    ]


def _layers(rows: Values) -> list[str]:
    """What every attack reads at every layer, and of features from fresh images."""
    found = [row["measured"] for row in rows.values()]
    lines = [
        _line(layer, [_each(one["layers"][layer]) for one in found])
        for layer in (found[0]["layers"] if found else ())
    ]
    title = "last layer, attacker fitted on 5,000 test images of all classes"
    return [*lines, _line(title, [_each(one["fresh images"]) for one in found])]


def _each(found: Row) -> str:
    return " / ".join(f"{100 * found[attack]['value']:.1f}" for attack in ATTACKS)


def _altered_questions(rows: Values) -> list[str]:
    if not any("asked twice" in row for row in rows.values()):
        return []
    return [
        _line(f"last layer, MLP, {view}", [_altered(row, view) for row in rows.values()])
        for view in VIEWS
    ]


def _altered(row: Row, view: str) -> str:
    if "asked twice" not in row:
        return ""
    return f"{100 * row['asked twice'][view]['forget']['value']:.1f}"


def _excesses(rows: Values) -> list[str]:
    if "retrained" not in rows:
        return []
    reference = rows["retrained"]["measured"]
    return [_line("largest excess", [excess(row["measured"], reference) for row in rows.values()])]


def excess(one: dict[str, Any], reference: dict[str, Any]) -> str:
    """The largest difference from the reference over layers and attacks, in points, and where."""
    found = {
        (layer, attack): (
            100
            * (one["layers"][layer][attack]["value"] - reference["layers"][layer][attack]["value"])
        )
        for layer in one["layers"]
        for attack in ATTACKS
    }
    layer, attack = max(found, key=found.__getitem__)
    return f"{found[layer, attack]:+.1f} ({layer}, {attack})"
