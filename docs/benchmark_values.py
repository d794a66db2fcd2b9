"""What README and docs say of tables of the benchmark, read from `results/bench/`."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from shown import ROOT, shown

from unspan.benchmark import packed

TABLE1A = "table1a.full"  # the table that pages speak of
# tables of which pages may name every row, as PREFIX_ROW_SCORE: t1a_esc_strongest; where there are
# several pairs of data and network, as PREFIX_PAIR_ROW_SCORE
PREFIXES = {
    "t1a": TABLE1A,
    "tiny": "tiny-imagenet-40.full",
    "faces": "lfw62.full",
    "damp": "damp.full",
    "utk": "utkface-age8.full",
    "sup": "cifar100-resnet20.full",
    "r20": "cifar10-resnet20.full",
    "vit": "cifar10-vit.full",
    "cls": "classes.full",
    "inc": "incremental.full",
    "t2": "table2.full",
    "t3": "table3.full",
    "t4": "table4.full",
    "t5": "table5.full",
    "t2c": "table2-cifar100.full",
    "t3c": "table3-cifar100.full",
    "t4c": "table4-cifar100.full",
}
FEW = "¹"  # after what was read on fewer test samples than the model's own answer
SCORES = {
    "strongest": "strongest",
    "probe": "probe",
    "own": "D_ft",
    "kept": "D_rt",
    "false": "false positives",
    "kept_fit": "D_r",
    "test": "D_t",
    "attack": "MIA (balanced)",
    "nomus": "NoMUS",
    "kr": "KR D_ft",
    "kr_fit": "KR D_f",
}


def by_row() -> dict[str, str]:
    """Every score of every row of the tables of `PREFIXES` that are there."""
    found = {}
    for prefix, table_name in PREFIXES.items():
        rows = _tables()[0].get(table_name, {"rows": []})["rows"]
        several = len({row["pair"] for row in rows}) > 1
        for row in rows:
            cells = _last_steps(row)
            words = f"{row['pair']} {row['label']}" if several else row["label"]
            name = re.sub(r"\W+", "_", words.lower())
            for short, key in SCORES.items():
                values = [one["values"][key]["value"] for one in cells if key in one["values"]]
                if values:
                    found[f"{prefix}_{name}_{short}"] = shown(tuple(values))
            if any("strongest" in one["values"] for one in cells):
                every = [
                    one["values"]["strongest"] for one in cells if "strongest" in one["values"]
                ]
                few = any(one["n"] < cells[0]["values"]["D_ft"]["n"] for one in every)
                found[f"{prefix}_{name}_strongest"] += FEW if few else ""
                low, high = min(one["low"] for one in every), max(one["high"] for one in every)
                found[f"{prefix}_{name}_interval"] = f"{low:.0f}–{high:.0f}"
    return found


@cache
def _tables() -> tuple[packed.Values, packed.Values]:
    return packed.read(ROOT / "results" / "bench")


def results(table_name: str, label: str) -> list[dict[str, Any]]:
    """The last step of every finished cell of a row: one a seed."""
    rows = _tables()[0][table_name]["rows"]
    return _last_steps(next(one for one in rows if one["label"] == label))


def _last_steps(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The last step of every finished cell of a row of the JSON."""
    every = _tables()[1]
    return [every[cell]["steps"][-1] for cell in row["cells"] if cell in every]


def has_row(table_name: str, label: str) -> bool:
    """Whether a table of the benchmark has a finished cell of this row."""
    rows = _tables()[0][table_name]["rows"]
    return any(one["label"] == label for one in rows) and bool(results(table_name, label))


def readings(table_name: str, label: str, key: str) -> list[dict[str, Any]]:
    """Value, interval and n of one score of a row: one a seed."""
    return [one["values"][key] for one in results(table_name, label)]


def largest_cosine(forgotten: int = 4) -> str:
    """The largest cosine between class means of retained classes before and after ESC."""
    after = results("figure3.full", "esc")[0]["beside"]["cosines"]["after"]
    kept = [row for place, row in enumerate(after) if place != forgotten]
    largest = max(value for row in kept for place, value in enumerate(row) if place != forgotten)
    return f"{largest:.2f}"
