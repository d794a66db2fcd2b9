"""One page with every table: sorted by the column that is clicked, readable without scripts,
nothing loaded from elsewhere.

What decides stands open: the strongest attack with its false positives, what the model itself
names, and what it keeps. Further columns and the published probe are folded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from unspan.benchmark.table_ranks import ALONE, best_alone, notes, ranks
from unspan.benchmark.table_values import Column, Fold, Line, Number, Table
from unspan.benchmark.tables import ARROWS
from unspan.system.palette import DARK, LIGHT, variables

_KIND = {True: "reads retained data", False: "forget data only", None: "reference"}
_RANK = {0: "best", 1: "second"}
_SUMMARY = {
    Fold.OPEN: "",
    Fold.MORE: "More columns",
    Fold.KR: "KR, the published probe, not trained to convergence",
}


@dataclass(frozen=True)
class _Cell:
    """A number: its text, what it is sorted by, its rank, what is printed, and a mark beside it."""

    text: str
    value: float | str
    rank: str
    hint: str
    mark: str


@dataclass(frozen=True)
class _Row:
    """A method with its numbers."""

    label: str
    reads: str
    ran: str
    failed: str
    cells: list[_Cell]


@dataclass(frozen=True)
class _Grid:
    """The columns of one fold.

    Attributes:
        summary: what a reader clicks to see it; empty for columns that stand open.
        caption: what it shows.
        heads: titles of the columns, with their direction.
        better: as in `Column`, by column.
        rows: of all methods.
        printed: it is printed too.
    """

    summary: str
    caption: str
    heads: list[str]
    better: list[str]
    rows: list[_Row]
    printed: bool


@dataclass(frozen=True)
class _Board:
    """A table of a benchmark."""

    title: str
    budget: str
    note: str
    grids: list[_Grid]


def leaderboard(boards: Sequence[tuple[str, Table]]) -> str:
    """HTML of tables with the budgets they were run at."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("leaderboard.html.j2").render(
        boards=[_board(budget, table) for budget, table in boards],
        notes=notes([table for _, table in boards]),
        light=variables(LIGHT),
        dark=variables(DARK),
    )


def _board(budget: str, table: Table) -> _Board:
    grids = [_grid(table, fold) for fold in Fold if table.columns_of(fold)]
    return _Board(table.title, budget, table.note, grids)


def _grid(table: Table, fold: Fold) -> _Grid:
    columns, places, alone = table.columns_of(fold), ranks(table), best_alone(table)
    rows = []
    for number, line in enumerate(table.lines):
        cells = []
        for one in columns:
            place = number, one.key
            mark = ALONE if place in alone else ""
            value = line.numbers.get(one.key)
            cells.append(_cell(value, one, places.get(place), mark, table.meant))
        rows.append(_Row(line.label, _KIND[line.needs_retain], _ran(line), line.failed, cells))
    summary = _SUMMARY[fold]
    return _Grid(
        summary=summary,
        caption=f"{table.title}: {summary}" if summary else table.title,
        heads=[f"{one.title}{ARROWS[one.better]}" for one in columns],
        better=[one.better for one in columns],
        rows=rows,
        printed=fold is not Fold.KR,
    )


def _ran(line: Line) -> str:
    """How often a method ran."""
    return f"{line.seeds} of {line.wanted} seeds" if line.seeds else "not run"


def _cell(one: Number | None, column: Column, place: int | None, mark: str, meant: str) -> _Cell:
    if one is None:
        return _Cell("–", "", "", "", "")
    text = f"{one.mean:.{column.digits}f}"
    if one.std is not None:
        text += f" ± {one.std:.{column.digits}f}"
    hint = ""
    if one.printed is not None:
        doubt = " (doubtful)" if one.doubtful else ""
        hint = f"printed: {one.printed}{doubt}, {meant}"
    rank = "" if place is None else _RANK.get(place, "")
    return _Cell(text, one.mean, rank, hint, mark)
