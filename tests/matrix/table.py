"""The page of the docs, from the results that are kept in the repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matrix.cells import DTYPES, METHODS, REQUESTS, Cell, Outcome, named
from matrix.networks import NETWORKS

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "matrix.json"
PAGE = ROOT / "docs" / "matrix.md"

_INTRO = """\
# Which combinations work

Every network below was trained briefly on four classes. Then one of four requests was carried out:
a class, a folder of one person, or a list of ids. The fourth is a class with a file of statistics
in place of the retained data. The result was saved and loaded in a fresh process. It was compared
bit for bit through every way to its features, and measured on test samples. `unspan verify` checked
it, and it was exported.

**works**: the class was named before and is not after, and everything else held. The other classes
lose at most 15 points of 48 test samples. A number stands for a refusal: the command ended with the
message below the tables and wrote nothing. The networks are small and hardly trained, so a refusal
here speaks of the combination, not of your model.

This page is made by `make matrix` from [results/matrix.json](../results/matrix.json); do not edit.
"""
_TITLES = {
    "class": "A class",
    "person": "A folder of one person",
    "ids": "A list of ids",
    "statistics": "A class, from a file of statistics and the samples to forget",
}
_KINDS = {"2": "Usage: ", "3": "Data: ", "4": "Model: ", "7": "Inconclusive: ", "8": "Output: "}


def results(outcomes: Mapping[Cell, Outcome]) -> dict[str, Any]:
    """What is kept: the state of every cell, and each message once."""
    messages: list[str] = []
    cells = {}
    for cell, outcome in sorted(outcomes.items()):
        if outcome.state == "works":
            cells[cell.name] = "works"
            continue
        text = brief(outcome.said)
        if text not in messages:
            messages.append(text)
        cells[cell.name] = f"{outcome.state} {messages.index(text) + 1}"
    exports = sorted(
        {brief(outcome.figures.get("export", "works")) for outcome in outcomes.values()}
    )
    return {"cells": cells, "messages": messages, "exports": exports}


def brief(said: str) -> str:
    """A message without the figures, paths and names of one run, so that equal reasons meet."""
    text = " ".join(said.split())
    found = re.match(r"\w+, exit (\d): (?:Error: )?", text)
    kind = _KINDS.get(found[1], "") if found else ""
    text = text[found.end() :] if found else text
    text = re.sub(r"\S*/\S+", "PATH", text)
    text = re.sub(r"\d+(\.\d+)?(e-?\d+)?", "N", text)
    return (kind + text)[:400]


def page(kept: Mapping[str, Any]) -> str:
    """Markdown for the docs."""
    cells = {named(name): state for name, state in kept["cells"].items()}
    parts = [_INTRO]
    for request in REQUESTS:
        parts.append(f"## {_TITLES[request]}\n")
        parts.append(_table(cells, request))
    parts.append("## The messages\n\nFigures are written as N.\n")
    parts.append("".join(f"{at}. {said}\n" for at, said in enumerate(kept["messages"], 1)))
    return "\n".join(parts)


def _table(cells: Mapping[Cell, str], request: str) -> str:
    columns = [(dtype, method) for dtype in DTYPES for method in METHODS]
    lines = ["| network | " + " | ".join(f"{d}, {m}" for d, m in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for network in NETWORKS:
        row = [
            _shown(cells.get(Cell(network, dtype, request, method))) for dtype, method in columns
        ]
        lines.append(f"| {network} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _shown(state: str | None) -> str:
    if state is None:
        return "not run"
    word, _, number = state.partition(" ")
    if word == "fails":
        return f"**fails** ({number})"
    return number or word
