"""What the pages on stored vectors and on scale say of `benchmarks/`, read from `results/`."""

from __future__ import annotations

import json
from typing import Any

from shown import ROOT

# m7g.4xlarge of AWS: 16 processors, 64 GiB, 7.5 Gbit/s at all times and up to 15. The price is of
# Linux on demand in us-east-1 in June 2026, eight times the list price of m7g.large.
_PRICE, _CORES, _BYTES_A_SECOND = 8 * 0.0816, 16, 7.5e9 / 8

_WIDTH_SAMPLES = 4_000


def _read(name: str) -> Any:
    return json.loads((ROOT / "results" / name).read_text("utf-8"))


def stored_vectors() -> dict[str, str]:
    """Time and memory of `unspan apply` by size, and what large galleries would take."""
    found = {
        "machine_price": f"{_PRICE:.2f}",
        "machine_network": f"{8 * _BYTES_A_SECOND / 1e9:.1f}",
    }
    sizes = _read("bench-apply.json")["sizes"]
    for number, row in enumerate(sizes):
        found[f"apply_{number}_seconds"] = f"{row['copy']['seconds']:.1f}"
        for kind in ("copy", "esc", "resample"):
            found[f"apply_{number}_{kind}_mb"] = f"{row[kind]['megabytes']:,.0f}"
            found[f"apply_{number}_{kind}_times"] = f"{row[kind]['times']:.2f}"
    largest = max((row for row in sizes if row["dim"] == 512), key=lambda row: row["rows"])
    for kind in ("esc", "resample"):
        own = largest[kind]["seconds"] / largest["rows"]
        found[f"apply_{kind}_rate"] = f"{1 / own / 1000:,.0f}"
        small = sizes[0][kind]["seconds"] / sizes[0]["rows"]
        found[f"apply_{kind}_linear"] = f"{100 * (own / small - 1):+.0f} %".replace("+", "")
        for name, rows in (("1e9", 1e9), ("1e10", 1e10)):
            found |= _large(f"{kind}_{name}", rows, own)
    return found


def _large(name: str, rows: float, seconds: float) -> dict[str, str]:
    """Hours and dollars of one machine for so many vectors of 512 float32."""
    size = rows * 512 * 4
    computing = rows * seconds / _CORES / 3600
    moving = 2 * size / _BYTES_A_SECOND / 3600
    hours = max(computing, moving)
    return {
        f"{name}_tb": f"{size / 1e12:,.0f}",
        f"{name}_computing": f"{computing:,.1f}",
        f"{name}_moving": f"{moving:,.1f}",
        f"{name}_dollars": f"{hours * _PRICE:,.2f}",
    }


def table_of_vectors() -> dict[str, str]:
    """Search latency while a table of PostgreSQL is updated."""
    held = _read("bench-postgres.json")
    phases = held["phases"]
    return {
        "pg_rows": f"{held['rows']:,}",
        "pg_p99": f"{held['p99_times']:.1f}",
        "pg_before": f"{phases['before']['p99_ms']:.1f}",
        "pg_update": f"{phases['update']['p99_ms']:.1f}",
        "pg_longest": f"{phases['update']['longest_ms'] / 1000:.1f}",
        "pg_seconds": f"{held['seconds']:,.0f}",
        "pg_index": f"{held['seconds_to_fill']:,.0f}",
    }


def fits() -> dict[str, str]:
    """Time and memory of fits by samples, width and classes."""
    held = _read("bench-scale.json")
    found = {}
    for name, one in held["linear"].items():
        found[f"fit_{name}_fixed"] = f"{one['fixed_seconds']:.2f}"
        found[f"fit_{name}_row"] = f"{one['microseconds_a_row']:.0f}"
        found[f"fit_{name}_gap"] = f"{100 * one['largest_gap']:.1f} %"
    rows = held["rows"]
    wide = [one for one in rows if one["kind"] == "width" and one["n"] == _WIDTH_SAMPLES]
    for row in wide:
        key = f"width_{row['method']}_{row['dim']}"
        found[f"{key}_s"] = f"{row['seconds']:,.1f}"
        found[f"{key}_mb"] = f"{row['megabytes']:,.0f}"
    found["width_n"] = f"{_WIDTH_SAMPLES:,}"
    for row in rows:
        if row["kind"] == "classes":
            key = f"classes_{row['method']}_{row['classes']}_seconds"
            found[key] = f"{row['seconds']:.1f}"
    most = max(
        (one for one in rows if one["kind"] == "classes" and one["method"] == "redraw"),
        key=lambda one: one["classes"],
    )
    found["classes_redraw_most"] = f"{most['classes']:,}"
    found["classes_redraw_most_seconds"] = f"{most['seconds']:.1f}"
    largest = max((one for one in rows if one["kind"] == "gallery"), key=lambda one: one["people"])
    found["gallery_people"] = f"{largest['people']:,}"
    found["gallery_means"] = f"{largest['nearest_means']['seconds']:.0f}"
    found["gallery_apply"] = f"{largest['apply']['seconds']:.1f}"
    return found


def processes() -> dict[str, str]:
    """Two processes of torchrun beside one."""
    times = _read("bench-processes.json")["times"]
    return {
        "processes_times": f"{times['seconds']:.1f}",
        "processes_busiest": f"{times['busiest']:.1f}",
    }
