"""Which lines of a table are marked: the best, the second best, the best without retained data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unspan.benchmark.table_values import REFERENCES, Column, Fold, Line, Table

ALONE = "†"  # the best of the methods that read no retained data
_ALONE = f"{ALONE} the best of the methods that read no retained data (reads D_r: ✗)."
_NEAREST = "≈: nearest to the retrained network is best; less than it reads is a trace."


def ranks(table: Table) -> dict[tuple[int, str], int]:
    """0 for the best, 1 for the second best line of a column that has a direction; references and
    the published probe take no part.
    """
    return _ranked(table, lambda line: line.method not in REFERENCES)


def best_alone(table: Table) -> frozenset[tuple[int, str]]:
    """Line and column of the best of the methods that read no retained data.

    Empty where no method of the table reads retained data: there the best is marked already.
    """
    if not any(line.needs_retain for line in table.lines):
        return frozenset()
    places = _ranked(
        table, lambda line: line.needs_retain is False and line.method not in REFERENCES
    )
    return frozenset(one for one, place in places.items() if place == 0)


def notes(tables: Sequence[Table]) -> list[str]:
    """What a reader of these tables should know of the marks, a sentence each."""
    marked = any(best_alone(table) for table in tables)
    nearest = any(one.better == "retrained" for table in tables for one in table.columns)
    return [_ALONE] * marked + [_NEAREST] * nearest


def _ranked(table: Table, takes_part: Callable[[Line], bool]) -> dict[tuple[int, str], int]:
    """0 and 1 for the best and the second best of the lines that take part; ties share a place."""
    found = {}
    for column in table.columns:
        if column.fold is Fold.KR:
            continue
        losses = _losses(table, column)
        own = {number: loss for number, loss in losses.items() if takes_part(table.lines[number])}
        known = sorted(set(own.values()))
        for number, loss in own.items():
            if known.index(loss) < 2:
                found[number, column.key] = known.index(loss)
    return found


def _losses(table: Table, column: Column) -> dict[int, float]:
    """By line, what is the smaller the better in a column; empty where nothing is better."""
    means = {
        number: round(line.numbers[column.key].mean, column.digits)
        for number, line in enumerate(table.lines)
        if column.key in line.numbers
    }
    if column.better == "lower":
        return means
    if column.better == "higher":
        return {number: -mean for number, mean in means.items()}
    goals = [mean for number, mean in means.items() if table.lines[number].method == "retrain"]
    if column.better == "none" or not goals:
        return {}
    return {number: round(abs(mean - goals[0]), column.digits) for number, mean in means.items()}
