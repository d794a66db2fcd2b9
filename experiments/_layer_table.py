"""The page of `experiments/every_layer.py`: one table a pair, one column a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

from _bake_attacks import ATTACKS

Row = dict[str, Any]
Lines = list[tuple[str, Callable[[Row], str]]]
WAYS = {"layers": "one answer", "ten views": "mean over ten altered copies"}
REFERENCE = "retrain"
_READING = (
    "Percent of test samples of the request. *Strongest at the last layer*: the best of"
    f" {', '.join(ATTACKS)} on what the head is given. *Above retrained*: readings, over all layers"
    " and attacks, above the upper end of the 95 % interval of every network retrained without the"
    " data; in brackets the largest excess in points, its layer and attack. *Trained on*: mean of"
    " two draws of the attacker's samples, and in brackets what he then names of the others."
)


def page(found: dict[str, Any]) -> str:
    """Markdown of all pairs, from the JSON."""
    lines = [
        f"# {found['title']}, layer by layer",
        "",
        f"`{found['command']}`. {_READING}",
    ]
    for pair in dict.fromkeys(row["pair"] for row in found["rows"]):
        lines += ["", f"## {pair}", "", *_table([r for r in found["rows"] if r["pair"] == pair])]
    return "\n".join([*lines, ""])


def _table(rows: Sequence[Row]) -> list[str]:
    heads = [f"{row['row']}, seed {row['seed']}" for row in rows]
    lines: Lines = [
        ("others named", lambda row: _percent(row["read"]["others"])),
        ("own head on the request", lambda row: _percent(row["read"]["forget"])),
        ("seconds of the last request", lambda row: f"{row['seconds'][-1]:.0f}"),
    ]
    for way, title in WAYS.items():
        if way not in rows[0]["read"]:
            continue
        lines += [
            (f"strongest at the last layer, {title}", lambda row, way=way: strongest(row, way)),
            (f"above retrained, {title}", lambda row, way=way: above(row, rows, way)),
        ]
    for m in dict.fromkeys(one["m"] for one in rows[0]["trained on"]):
        lines.append((f"trained on, m = {m}", lambda row, m=m: _relearned(row, m)))
    return [
        "| | " + " | ".join(heads) + " |",
        "|---" * (len(heads) + 1) + "|",
        *(f"| {title} | " + " | ".join(of(row) for row in rows) + " |" for title, of in lines),
    ]


def _percent(value: Row) -> str:
    return f"{100 * value['value']:.1f}"


def strongest(row: Row, way: str) -> str:
    """The best attack at the input of the head, with its interval."""
    last = list(row["read"][way].values())[-1]
    name = max(ATTACKS, key=lambda one: last[one]["value"])
    best = last[name]
    return f"{_percent(best)} ({100 * best['low']:.0f} to {100 * best['high']:.0f}), {name}"


def above(row: Row, rows: Sequence[Row], way: str) -> str:
    """How many readings lie above the interval of retrained networks, and the largest excess.

    A retrained network is compared with the other ones.
    """
    references = [one for one in rows if one["row"] == REFERENCE and one is not row]
    if not references:
        return ""
    read = row["read"][way]
    excess = {
        (layer, attack): 100
        * (
            read[layer][attack]["value"]
            - max(one["read"][way][layer][attack]["high"] for one in references)
        )
        for layer in read
        for attack in ATTACKS
    }
    layer, attack = max(excess, key=excess.__getitem__)
    count = sum(value > 0 for value in excess.values())
    return f"{count} of {len(excess)} ({excess[layer, attack]:+.1f}, {layer}, {attack})"


def _relearned(row: Row, m: int) -> str:
    draws = [one for one in row["trained on"] if one["m"] == m]
    gone, others = (mean(100 * one[key]["value"] for one in draws) for key in ("forget", "others"))
    return f"{gone:.1f} ({others:.1f})"
