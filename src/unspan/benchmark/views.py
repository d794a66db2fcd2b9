"""Tables of a benchmark: every number is read from the JSON of a cell, every printed value from
`paper.toml`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

REFERENCES = ("original", "retrain")  # never best or second best


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: of the measured and of the printed value.
        title: for people.
        better: `lower`, `higher` or `none`.
        block: heading above several columns.
        digits: after the point.
    """

    key: str
    title: str
    better: str = "none"
    block: str = ""
    digits: int = 1


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
class Table:
    """A table.

    Attributes:
        name: of its files.
        title: for people.
        columns: after the label.
        lines: in order.
        note: below it.
        meant: what the printed values are of.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    note: str = ""
    meant: str = ""


@dataclass(frozen=True)
class Filled:
    """A row of a spec with the results that are there.

    Attributes:
        row: JSON of the row: label, method, pair, paper.
        results: of its cells that are done, in the order of seeds.
        printed: printed values of the row.
        failed: message of a cell that failed.
    """

    row: Mapping[str, Any]
    results: tuple[Mapping[str, Any], ...]
    printed: Mapping[str, Any]
    failed: str = ""

    @property
    def values(self) -> list[Mapping[str, Any]]:
        """Measured values after the last request, one dict a seed."""
        return [one["steps"][-1]["values"] for one in self.results]


CLASS = (
    Column("D_f", "D_f", "lower", "output"),
    Column("D_r", "D_r", "higher", "output"),
    Column("D_ft", "D_ft", "lower", "output"),
    Column("D_rt", "D_rt", "higher", "output"),
    Column("HM", "HM", "higher", "output"),
    Column("HM_t", "HM_t", "higher", "output"),
    Column("MIA", "MIA", "none", "output"),
    Column("KR D_f", "D_f", "lower", "KR (published probe)"),
    Column("KR D_r", "D_r", "higher", "KR (published probe)"),
    Column("KR D_ft", "D_ft", "lower", "KR (published probe)"),
    Column("KR D_rt", "D_rt", "higher", "KR (published probe)"),
    Column("KR HM", "HM", "higher", "KR (published probe)"),
    Column("KR HM_t", "HM_t", "higher", "KR (published probe)"),
    Column("probe", "linear", "lower", "converged attack on D_ft"),
    Column("strongest", "strongest", "lower", "converged attack on D_ft"),
    Column("seconds", "seconds", "lower", "cost"),
)
SETTINGS = tuple(
    one for one in CLASS if one.key in ("HM", "HM_t", "KR HM", "KR HM_t", "probe", "strongest")
)
SAMPLES = (
    Column("D_f", "D_f"),
    Column("D_r", "D_r", "higher"),
    Column("D_t", "D_t", "higher"),
    Column("member rate", "MIA (member rate)"),
    Column("Avg Gap", "Avg Gap", "lower", digits=2),
    Column("MIA (balanced)", "MIA (balanced)"),
    Column("seconds", "RTE (s)", "lower"),
)
FACES = (
    Column("D_t", "test accuracy", "higher"),
    Column("|MIA − 50|", "|MIA − 50|", "lower"),
    Column("NoMUS", "NoMUS", "higher"),
    Column("D_f", "D_f"),
    Column("seconds", "seconds", "lower"),
)
ZRF = (
    Column("ZRF", "ZRF", "none", digits=3),
    Column("ZRF (legacy)", "ZRF as released", "none", digits=3),
    Column("D_ft", "D_ft", "lower"),
    Column("strongest", "strongest attack", "lower"),
)
STEP = (
    Column("D_ft", "D_ft so far", "lower"),
    Column("D_rt", "D_rt", "higher"),
    Column("HM_t", "HM_t", "higher"),
    Column("KR HM_t", "HM_t", "higher"),
    Column("strongest", "strongest attack", "lower"),
    Column("seconds", "seconds", "lower"),
)


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
        return float(at["seconds"])
    if key in ("ZRF", "ZRF (legacy)"):
        return at["beside"].get(key, {}).get("value")
    values = at["values"]
    if key == "Avg Gap":
        reference = next(
            (
                other.values[0]
                for other in rows
                if other.row["method"] == "retrain"
                and other.row["pair"] == one.row["pair"]
                and other.results
            ),
            None,
        )
        names = ("D_f", "D_r", "D_t", "member rate")
        if (
            reference is None
            or one.row["method"] == "retrain"
            or any(
                part.get(name, {}).get("value") is None
                for part in (values, reference)
                for name in names
            )
        ):
            return None
        return statistics.fmean(
            abs(values[name]["value"] - reference[name]["value"]) for name in names
        )
    if key == "|MIA − 50|":
        attack = values.get("MIA", {}).get("value")
        return None if attack is None else abs(attack - 50)
    return values.get(key, {}).get("value")


def by_pair(
    make: Callable[[str, str, Sequence[Filled]], list[Table]],
) -> Callable[[str, str, Sequence[Filled]], list[Table]]:
    """One table for each pair of data and model."""

    def tables(name: str, title: str, rows: Sequence[Filled]) -> list[Table]:
        pairs = list(dict.fromkeys(one.row["pair"] for one in rows))
        if len(pairs) == 1:
            return make(name, title, rows)
        return [
            table
            for number, pair in enumerate(pairs, 1)
            for table in make(
                f"{name}-{number}",
                f"{title}: {pair}",
                [one for one in rows if one.row["pair"] == pair],
            )
        ]

    return tables


def plain(
    view: str, columns: Sequence[Column], note: str = ""
) -> Callable[[str, str, Sequence[Filled]], list[Table]]:
    """A view that is one table of columns for each pair."""
    return by_pair(
        lambda name, title, rows: [
            Table(f"{name}-{view}", title, tuple(columns), lines(rows, columns), note)
        ]
    )


def incremental(name: str, title: str, rows: Sequence[Filled]) -> list[Table]:
    """One table for each request, everything measured on what was forgotten so far."""
    steps = max((len(result["steps"]) for one in rows for result in one.results), default=0)
    return [
        Table(
            f"{name}-request-{step + 1}",
            f"{title}, after request {step + 1} of {steps}",
            STEP,
            lines(rows, STEP, step),
        )
        for step in range(steps)
    ]


_CLASS_NOTE = (
    "Accuracy in percent: D_f, D_r on forget and retained training samples, D_ft, D_rt on test"
    " samples. KR: the published probe, which is not trained to convergence. linear, strongest: the"
    " converged linear probe, and the strongest of it, an MLP and kNN (k = 1, 5, 20), on test"
    " samples of the forgotten classes. MIA: the published loss attack, 50 is chance."
)
_SAMPLE_NOTE = (
    "MIA (member rate): share of forget samples that an attack fitted on retained against test"
    " samples calls members; nearer to Retrain is better. Avg Gap: mean difference to Retrain over"
    " D_f, D_r, D_t and it."
)

TABLES: dict[str, Callable[[str, str, Sequence[Filled]], list[Table]]] = {
    "methods": plain("methods", CLASS, _CLASS_NOTE),
    "settings": plain("settings", SETTINGS, _CLASS_NOTE),
    "samples": plain("samples", SAMPLES, _SAMPLE_NOTE),
    "faces": plain(
        "faces",
        FACES,
        "MIA: accuracy of the published loss attack, forget against unseen samples; NoMUS as the"
        " release computes it, in percent.",
    ),
    "zrf": plain(
        "zrf",
        ZRF,
        "ZRF in [0, 1] against three untrained networks; higher: the outputs look more like theirs."
        " Read it beside the Retrain row.",
    ),
    "incremental": by_pair(incremental),
}
FIGURES = ("recovery", "weights", "cosines", "runtime", "gradcam", "tsne", "pareto", "steps")
VIEWS = (*TABLES, *FIGURES)
