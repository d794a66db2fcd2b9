"""One page with every table: sorted by the column that is clicked, readable without scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from unspan.bench.views import REFERENCES, Table
from unspan.report.palette import DARK, LIGHT, variables


def leaderboard(boards: Sequence[tuple[str, Table]]) -> str:
    """HTML of tables with the budgets they were run at."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("leaderboard.html.j2").render(boards=[(budget, table, _lines(table)) for budget, table in boards], light=variables(LIGHT), dark=variables(DARK))


def _lines(table: Table) -> list[dict[str, Any]]:
    """Lines with the text and the sorting value of every cell; the best of a column is marked."""
    best = {}
    for column in table.columns:
        known = [line.numbers[column.key].mean for line in table.lines if column.key in line.numbers and line.method not in REFERENCES]
        if known and column.better != "none":
            best[column.key] = max(known) if column.better == "higher" else min(known)
    found: list[dict[str, Any]] = []
    for line in table.lines:
        cells = []
        for column in table.columns:
            one = line.numbers.get(column.key)
            text = "–" if one is None else f"{one.mean:.{column.digits}f}" + ("" if one.std is None else f" ± {one.std:.{column.digits}f}")
            cells.append({"text": text, "value": "" if one is None else one.mean, "best": one is not None and line.method not in REFERENCES and one.mean == best.get(column.key), "printed": None if one is None else one.printed})
        found.append({"label": line.label, "kind": {True: "reads retained data", False: "forget data only", None: "reference"}[line.needs_retain], "cells": cells, "failed": line.failed})
    return found
