"""What a table of a benchmark holds: every number is read from the JSON of a cell, every printed
value from `paper.toml`.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

REFERENCES = ("original", "retrain")  # never best or second best
_TRAINING = ("distance_retained", "distance_synthesised", "epochs")  # in the history of a method
_BESIDE = ("ZRF", "ZRF (legacy)", "AUS", "RUS")  # of two models, beside the values of one


class Fold(Enum):
    """Where a column stands on a page: open, among further columns, or with the published probe.

    What is read from the published probe is never marked as best: it is not trained to
    convergence, so that a low value says little.
    """

    OPEN = "open"
    MORE = "more"
    KR = "KR"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: of the measured and of the printed value.
        title: for people.
        better: `lower`, `higher`, `retrained` (nearer to that network is better) or `none`.
        block: heading above several columns.
        digits: after the point.
        optional: left out of a table where no cell has it.
        fold: where it stands on a page.
    """

    key: str
    title: str
    better: str = "none"
    block: str = ""
    digits: int = 1
    optional: bool = False
    fold: Fold = Fold.OPEN


@dataclass(frozen=True)
class Number:
    """A measured value over seeds.

    Attributes:
        mean: over the seeds.
        std: sample standard deviation, None for one seed.
        n: seeds.
        printed: mean in the paper, None where there is none.
        doubtful: the print is hard to read or contradicts other cells.
    """

    mean: float
    std: float | None = None
    n: int = 1
    printed: float | None = None
    doubtful: bool = False


@dataclass
class Line:
    """A line of a table.

    Attributes:
        label: of the method.
        method: its name.
        needs_retain: it reads retained data; None for networks that no method makes.
        pair: data and model.
        numbers: by column key.
        seeds: whose cells are there.
        wanted: seeds of the spec.
        failed: message of a cell that failed.
    """

    label: str
    method: str
    needs_retain: bool | None
    pair: str
    numbers: dict[str, Number] = field(default_factory=dict)
    seeds: int = 0
    wanted: int = 0
    failed: str = ""


@dataclass(frozen=True)
class Choice:
    """How the settings of a row came about.

    Attributes:
        label: of the row.
        pair: data and model.
        settings: as given and as chosen, in words.
        scores: validation score of every trial in percent, the settings of each in words; None
            where a trial failed.
        rule: of the validation; empty without trials.
    """

    label: str
    pair: str
    settings: str
    scores: tuple[tuple[str, float | None], ...] = ()
    rule: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: of its files.
        title: for people.
        columns: after the label.
        lines: in order.
        note: below it.
        meant: what the printed values are of.
        choices: how the settings of its methods came about.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    note: str = ""
    meant: str = ""
    choices: tuple[Choice, ...] = ()

    def columns_of(self, *folds: Fold) -> tuple[Column, ...]:
        """The columns that stand in these places of a page."""
        return tuple(one for one in self.columns if one.fold in folds)


@dataclass(frozen=True)
class Filled:
    """A row of a spec with the results that are there.

    Attributes:
        row: JSON of the row: label, method, pair, paper.
        results: of its cells that are done, in the order of seeds.
        printed: printed values of the row.
        failed: message of a cell that failed.
        timed_on: device whose seconds are shown, where the cells of a table ran on several.
    """

    row: Mapping[str, Any]
    results: tuple[Mapping[str, Any], ...]
    printed: Mapping[str, Any]
    failed: str = ""
    timed_on: str = ""

    @property
    def values(self) -> list[Mapping[str, Any]]:
        """Measured values after the last request, one dict a seed."""
        return [one["steps"][-1]["values"] for one in self.results]


def timed_alike(rows: Sequence[Filled]) -> list[Filled]:
    """The rows with seconds of one device alone: the one on which most of them ran.

    Seconds of a processor and of a GPU have no common mean. Of two devices with as many rows, the
    one with more cells is taken; else the first by name.
    """
    devices = [[each["device"] for each in one.results] for one in rows]
    on_rows = Counter(device for own in devices for device in sorted(set(own)))
    if len(on_rows) < 2:
        return list(rows)
    on_cells = Counter(device for own in devices for device in own)
    chosen = max(sorted(on_rows), key=lambda device: (on_rows[device], on_cells[device]))
    return [replace(one, timed_on=chosen) for one in rows]


def lines(rows: Sequence[Filled], columns: Sequence[Column], step: int = -1) -> tuple[Line, ...]:
    """A line for every row, with means over the seeds and what the paper prints."""
    found = []
    for one in rows:
        line = Line(
            one.row["label"],
            one.row["method"],
            one.row["needs_retain"],
            one.row["pair"],
            seeds=len(one.results),
            wanted=len(one.row["cells"]),
            failed=one.failed,
        )
        for column in columns:
            values = [
                value
                for result in one.results
                if (value := _value(rows, one, result, column.key, step)) is not None
            ]
            printed = one.printed.get(column.key) if step == -1 else None
            if values:
                odd = set(one.printed.get("doubtful", ()))
                line.numbers[column.key] = Number(
                    statistics.fmean(values),
                    statistics.stdev(values) if len(values) > 1 else None,
                    len(values),
                    printed[0] if printed else None,
                    bool(odd & {column.key, "row"}),
                )
        found.append(line)
    return tuple(found)


def _value(
    rows: Sequence[Filled], one: Filled, result: Mapping[str, Any], key: str, step: int
) -> float | None:
    """One number of one cell."""
    if step >= len(result["steps"]):
        return None
    at = result["steps"][step]
    if key == "seconds":
        elsewhere = one.timed_on and result["device"] != one.timed_on
        return None if elsewhere else float(at["seconds"])
    if key in _BESIDE:
        return at["beside"].get(key, {}).get("value")
    values = at["values"]
    if key == "Avg Gap":
        return _gap(values, _retrained(rows, one)) if one.row["method"] != "retrain" else None
    if key == "|MIA − 50|":
        attack = values.get("MIA", {}).get("value")
        return None if attack is None else abs(attack - 50)
    if key == "forgetting score":
        attack = values.get("MIA (balanced)", {}).get("value")
        return None if attack is None else 2 * abs(attack - 50)
    if key in _TRAINING:
        return _of_training(result, key, step)
    return values.get(key, {}).get("value")


def _of_training(result: Mapping[str, Any], key: str, step: int) -> float | None:
    """One number of the epochs that a method trained; None where it trained none or has it not."""
    histories = result.get("history") or [[]]
    epochs = histories[step]
    if key == "epochs":
        return float(len(epochs)) if epochs else None
    return next((row[key] for row in reversed(epochs) if key in row), None)


def _retrained(rows: Sequence[Filled], one: Filled) -> Mapping[str, Any]:
    """Values of the retrained model of the same pair; none where it was not run."""
    for other in rows:
        is_retrained = other.row["method"] == "retrain" and other.row["pair"] == one.row["pair"]
        if is_retrained and other.results:
            return other.values[0]
    return {}


def _gap(values: Mapping[str, Any], reference: Mapping[str, Any]) -> float | None:
    """Mean difference to the retrained model; None where either lacks a value."""
    gaps = []
    for name in ("D_f", "D_r", "D_t", "member rate"):
        both = [one.get(name, {}).get("value") for one in (values, reference)]
        if None in both:
            return None
        gaps.append(abs(both[0] - both[1]))
    return statistics.fmean(gaps)
