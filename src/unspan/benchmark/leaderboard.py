"""One page with every table: sorted by the column that is clicked, readable without scripts,
nothing loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from unspan.benchmark.table_values import Table
from unspan.benchmark.tables import ranks
from unspan.report.palette import DARK, LIGHT, variables


def leaderboard(boards: Sequence[tuple[str, Table]]) -> str:
    """HTML of tables with the budgets they were run at."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("leaderboard.html.j2").render(
        boards=[(budget, table, _lines(table)) for budget, table in boards],
        light=variables(LIGHT),
        dark=variables(DARK),
    )


def _lines(table: Table) -> list[dict[str, Any]]:
    """Lines with the text, the sorting value and the rank of every cell, and what is printed beside
    it.
    """
    found, places = [], ranks(table)
    for number, line in enumerate(table.lines):
        cells = []
        for column in table.columns:
            one = line.numbers.get(column.key)
            text = (
                "–"
                if one is None
                else f"{one.mean:.{column.digits}f}"
                + ("" if one.std is None else f" ± {one.std:.{column.digits}f}")
            )
            hint = (
                ""
                if one is None or one.printed is None
                else f"printed: {one.printed}{' (doubtful)' if one.doubtful else ''}, {table.meant}"
            )
            cells.append(
                {
                    "text": text,
                    "value": "" if one is None else one.mean,
                    "rank": {0: "best", 1: "second"}.get(places.get((number, column.key), 2), ""),
                    "hint": hint,
                }
            )
        kind = {True: "reads retained data", False: "forget data only", None: "reference"}[
            line.needs_retain
        ]
        found.append(
            {
                "label": line.label,
                "kind": kind,
                "seeds": f"{line.seeds} of {line.wanted}",
                "cells": cells,
                "failed": line.failed,
            }
        )
    return found
