"""The page `results/survive.md`: every row of `experiments/survive.py` that is there."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Pick = Callable[[dict[str, Any]], float]
VIEWS = ("one answer", "two views", "two views, log-probabilities", "half contrast, one answer")
COLUMNS: dict[str, Pick] = {  # title: what of a row
    "own head: forget": lambda row: row["own forget"],
    "remaining": lambda row: row["remaining"],
    "linear": lambda row: _most(row["probes"], "linear probe"),
    "kNN-1": lambda row: _most(row["probes"], "kNN k=1,"),
    "kNN-5": lambda row: _most(row["probes"], "kNN k=5"),
    "kNN-20": lambda row: _most(row["probes"], "kNN k=20"),
    "MLP": lambda row: _most(row["probes"], "MLP"),
    "logarithms": lambda row: _most(row["probes"], "logarithms"),
    "trees": lambda row: _most(row["probes"], "trees"),
    "**strongest**": lambda row: _most(row["probes"], ""),
    "10-shot": lambda row: _most(row["few-shot"], "m=10"),
}
AREAS: dict[str, Pick] = {
    "linear, affine": lambda row: max(
        _most(row["AUC, features"], "linear probe"), _most(row["AUC, features"], "affine")
    ),
    "kNN": lambda row: _most(row["AUC, features"], "kNN"),
    "MLP": lambda row: row["AUC, features"]["MLP"]["value"],
    "Mahalanobis": lambda row: _most(row["AUC, features"], "Mahalanobis"),
    "MLP, whitened": lambda row: _most(row["AUC, features"], "whitened by"),
    "logarithms": lambda row: _most(row["AUC, features"], "logarithms"),
    "trees": lambda row: _most(row["AUC, features"], "trees"),
    "log-prob., linear": lambda row: _most(row["AUC, log-probabilities"], "signature"),
    "log-prob., MLP": lambda row: row["AUC, log-probabilities"]["MLP"]["value"],
    "noise, 1 query": lambda row: row["instability"]["one query"]["value"],
    "noise, 20 queries": lambda row: row["instability"]["most of 20 queries"]["value"],
    "equal values under noise": (
        lambda row: row["instability"].get("equal values", {"value": math.nan})["value"]
    ),
    "noise of 5 %": lambda row: row["instability"]["one query, 5 %"]["value"],
}


def _most(readings: dict[str, dict[str, Any]], part: str) -> float:
    return max(
        (
            one["value"]
            for name, one in readings.items()
            if part in name or (part == "m=10" and name.endswith("m=10"))
        ),
        default=math.nan,
    )


HEAD = (
    """# What converged attackers get after each eraser

`python experiments/survive.py` (JSON in `results/survive/`, with intervals). Class 4 (deer, coat).
Probes are fitted on the features of all training samples with true labels, and read test samples of
the class (n = 1,000). Percent. A row with several keys has mean ± standard deviation over them; a
key is also the seed of the attacks.

AUC: forget against rest; 0.5 is chance.

- `MLP, whitened`: knows the map, and whitens the features of every predicted class by itself.
- `noise`: the same image again with noise of 1 % of the pixels' deviation. The features that move
  more are called forgotten (500 + 500 test images). The original's value is there without erasing.
- `equal values under noise`: a value other than 0 that is the same to the bit.
- `Mahalanobis`: distance from the predicted class.
- `trees`: gradient boosting on features and predicted class.
- `logarithms`: logistic regression on features, logarithms and zeros (20,000 samples).
""".splitlines()
    + [""]
)
_SHOWN = {"resample, drawn 0": "resample, no noise"}  # rows that the files call otherwise


def table(out: Path, networks: Iterable[str], labels: Iterable[str]) -> str:
    """Markdown of all rows that are there: mean and spread over keys.

    Args:
        out: folder of one JSON a row.
        networks: in the order of the page.
        labels: of the rows, in the order of the tables.
    """
    rows = [json.loads(file.read_text("utf-8")) for file in sorted(out.glob("*.json"))]
    labels = list(labels)
    lines = list(HEAD)
    for name in networks:
        mine = [row for row in rows if row["network"] == name]
        if mine:
            lines += [f"## {name}", ""]
            lines += _attacks("%", mine, labels, COLUMNS, 100, 1)
            lines += _attacks("AUC", mine, labels, AREAS, 1, 2)
            lines += _altered_questions([row for row in mine if "asked" in row], labels)
    return "\n".join(lines)


def _attacks(
    unit: str,
    rows: list[dict[str, Any]],
    labels: list[str],
    columns: dict[str, Pick],
    scale: float,
    digits: int,
) -> list[str]:
    """One table of a network: a line for each label, a column for each attack."""
    lines = _header(f"| {unit} | keys | ", columns)
    for label in labels:
        own = [row for row in rows if row["row"] == label]
        if own:
            cells = [_cell([scale * pick(row) for row in own], digits) for pick in columns.values()]
            lines.append(f"| {_SHOWN.get(label, label)} | {len(own)} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _altered_questions(rows: list[dict[str, Any]], labels: list[str]) -> list[str]:
    """What an MLP reads of a mirror image as well, or of an image at half contrast."""
    if not rows:
        return []
    lines = _header("| MLP: reads the class, % / AUC | keys | ", VIEWS)
    for label in labels:
        own = [row["asked"] for row in rows if row["row"] == label]
        if own:
            cells = [
                f"{_cell([100 * row[view]['forget']['value'] for row in own], 1)} /"
                f" {_cell([row[view]['AUC']['value'] for row in own], 2)}"
                for view in VIEWS
            ]
            lines.append(f"| {_SHOWN.get(label, label)} | {len(own)} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _header(first: str, columns: Iterable[str]) -> list[str]:
    titles = list(columns)
    return [first + " | ".join(titles) + " |", "|---" * (len(titles) + 2) + "|"]


def _cell(values: list[float], digits: int) -> str:
    if math.isnan(sum(values)):
        return ""  # a row from before this column
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"
