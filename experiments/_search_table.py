"""The page of `experiments/search.py`: means over the kinds that were erased, each alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from _bootstrap import spread

Cell = dict[str, Any]
Value = dict[str, float]
TITLES = {
    "cifar10-allcnn": "CIFAR-10, All-CNN",
    "cifar100-resnet20": "CIFAR-100, ResNet-20",
    "faces": "Faces, dlib's network",
    "sentences": "Sentences, MiniLM",
}
HEADS = {
    "erased": "erased finds its kind",
    "others": "others find their kind",
    "change": "change, in points",
    "answered": "others with one hit or more",
    "in others": "erased found by others",
    "kept": "found before, found again",
    "recall": "recall of exact search",
}
LOST = 0.01  # of what others find, at most
REFERENCES = ("retrained without it", "words alone", "chance")
AFTER = ("rows kept", "rows dropped")
_INTRODUCTION = """\
# Galleries searched before and after a deletion

`python experiments/search.py`. Test samples are searched for in a gallery of training samples.
Shares of the ten nearest, in percent, in brackets the 95 % interval. It is a bootstrap over the
kinds that were erased, each alone, or over queries where only one was.

- erased finds its kind: of what queries of the erased kind find. No more than the reference is the
  goal. Chance is the share of the gallery that is of the kind.
- others find their kind: the same of all others. Change: against before, in points. No more than
  one point less is the goal. A goal is met within the interval where only the mean is beyond it.
- found before, found again: of rows of others. Recall of exact search: in the same state.
- rows kept, rows dropped: whether rows of the request stay in the store.
"""


def page(cells: list[Cell]) -> str:
    """The cells as Markdown."""
    lines = [_INTRODUCTION]
    for gallery, title in TITLES.items():
        ways = dict.fromkeys(one["way"] for one in cells if one["gallery"] == gallery)
        for way in ways:
            own = [one for one in cells if (one["gallery"], one["way"]) == (gallery, way)]
            lines += section(title if way == "default" else f"{title}: {way}", own)
    return "\n".join(lines) + "\n"


def section(title: str, cells: list[Cell]) -> list[str]:
    """The table of one gallery and one way to erase."""
    done = [one for one in cells if "states" in one]
    refused = len(cells) - len(done)
    lines = [f"## {title}", ""]
    if refused:
        lines += [f"Refused: {refused} of {len(cells)}. {cells[-1].get('refused', '')}", ""]
    if not done:
        return lines
    first = done[0]
    asked = [sum(one["queries"][who] for one in done) for who in ("erased", "others")]
    lines += [
        f"Method {first['method']}, {len(done)} erased, each alone; {first['rows']} rows of length"
        f" {first['dim']}; {asked[0]} queries of erased kinds, {asked[1]} of others.",
        "",
        "| state | store | " + " | ".join(HEADS.values()) + " |",
        "|---" * (len(HEADS) + 2) + "|",
    ]
    for state, stores in first["states"].items():
        for store in stores:
            values = [_shown(key, over(done, state, store, key)) for key in HEADS]
            lines.append(f"| {state} | {store} | " + " | ".join(values) + " |")
    for name in ("words alone", "chance"):
        if name in first:
            mean = spread([one[name] for one in done])
            lines.append(f"| {name} | | {_shown('erased', mean)} |" + " |" * (len(HEADS) - 1))
    return [*lines, "", *goals(done), ""]


def over(cells: list[Cell], state: str, store: str, key: str) -> Value:
    """A value over the kinds that were erased: mean and interval; that of queries for one kind."""
    values = [one["states"][state][store][key] for one in cells]
    return values[0] if len(values) == 1 else spread([one["mean"] for one in values])


def reference(cells: list[Cell], store: str) -> tuple[str, float]:
    """The strongest reference of a gallery, and what queries of the erased kind find by it."""
    name = next(one for one in REFERENCES if one in cells[0] or one in cells[0]["states"])
    if name in cells[0]["states"]:
        return name, over(cells, name, store, "erased")["mean"]
    return name, spread([one[name] for one in cells])["mean"]


def goals(cells: list[Cell]) -> Iterator[str]:
    """Whether both goals are met, in sentences."""
    for state in AFTER:
        for store in cells[0]["states"][state]:
            name, limit = reference(cells, store)
            found = over(cells, state, store, "erased")
            change = over(cells, state, store, "change")
            mean = 100 * found["mean"]
            yield (
                f"- {store}, {state}: of the erased kind {_met(found['low'], found['mean'], limit)}"
                f" ({mean:.1f} %, {name} {100 * limit:.1f} %);"
                f" others {_met(-change['high'], -change['mean'], LOST)}"
                f" ({100 * change['mean']:+.1f} points)."
            )


def _met(low: float, mean: float, limit: float) -> str:
    """Whether a mean is at most a limit, or its interval reaches to it."""
    if mean <= limit:
        return "met"
    return "met within the interval" if low <= limit else "missed"


def _shown(key: str, one: Value) -> str:
    sign = "+" if key == "change" else ""
    mean, low, high = (format(100 * one[name], f"{sign}.1f") for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"
