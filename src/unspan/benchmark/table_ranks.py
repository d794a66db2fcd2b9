"""Which lines of a table are marked: the best, the second best, the best without retained data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unspan.benchmark.table_values import REFERENCES, Fold, Line, Table

ALONE = "†"  # the best of the methods that read no retained data
_ALONE = f"{ALONE} the best of the methods that read no retained data (reads D_r: ✗)."
_BELOW = "Of D_f, less than the retrained network reads is a trace too."


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
    retrained = any(line.method == "retrain" for table in tables for line in table.lines)
    marked = any(best_alone(table) for table in tables)
    return [_ALONE] * marked + [_BELOW] * retrained


def _ranked(table: Table, takes_part: Callable[[Line], bool]) -> dict[tuple[int, str], int]:
    """0 and 1 for the best and the second best of the lines that take part; ties share a place."""
    found = {}
    for column in table.columns:
        if column.better == "none" or column.fold is Fold.KR:
            continue
        means = {
            number: round(line.numbers[column.key].mean, column.digits)
            for number, line in enumerate(table.lines)
            if column.key in line.numbers and takes_part(line)
        }
        known = sorted(set(means.values()), reverse=column.better == "higher")
        for number, mean in means.items():
            if known.index(mean) < 2:
                found[number, column.key] = known.index(mean)
    return found
