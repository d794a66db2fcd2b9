"""Work through the cells of a spec: claims, progress, failures that do not end the run."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from unspan.artifact import receipt as receipts
from unspan.benchmark.cell import Bench
from unspan.benchmark.chosen import best_of, in_words
from unspan.benchmark.compact import compacted
from unspan.benchmark.estimates import SCORES, estimate, left, missing, state
from unspan.benchmark.grid import Cell, Spec
from unspan.benchmark.measurement import MEASUREMENT, refuse_older
from unspan.benchmark.pictures import name_of
from unspan.benchmark.renamed import configured_method
from unspan.benchmark.spec_text import NETWORKS
from unspan.benchmark.store import BEAT, STALE, Store
from unspan.benchmark.third_party import short_name
from unspan.errors import UnspanError, UsageError
from unspan.system.schemas import BENCH_CELL, BENCH_PICTURE, BENCH_SPEC
from unspan.system.user_code import place_of

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Tally:
    """How a run ended.

    Attributes:
        done: cells with a result now.
        failed: cells that ended with an error.
        elsewhere: cells that another process is at.
        total: cells of the spec.
    """

    done: int
    failed: int
    elsewhere: int
    total: int


def record(store: Store, spec: Spec, command: str) -> None:
    """Keep what the report needs of a spec: titles, views, and the cells of every row. Rows that an
    earlier command added stay.

    Raises:
        UsageError: another spec of the same name was run in this folder.
    """
    name = f"{spec.name}.{spec.budget}"
    while True:
        with store.claim("spec", name) as mine:  # another command may add a row at this moment
            if mine:
                _record(store, spec, command, name)
                return
        time.sleep(0.1)


def _record(store: Store, spec: Spec, command: str, name: str) -> None:
    earlier = store.read("spec", name)
    if earlier is not None and earlier["title"] != spec.title:
        raise UsageError(
            f"A spec of the name {spec.name} with another title ('{earlier['title']}') was run in"
            f" {store.root}; rename the file, or choose another --out."
        )
    rows = [
        {
            "label": row.label,
            "method": short_name(row.method),
            "pair": row.pair,
            "paper": row.paper,
            "needs_retain": (None if row.method in NETWORKS else "retain" in _needs(row.cells[0])),
            "cells": [cell.id for cell in row.cells],
            **({"added": True} if row.added else {}),
        }
        for row in spec.rows
    ]
    labels = {(row["label"], row["pair"]) for row in rows}
    rows += [
        row
        for row in (earlier or {}).get("rows", [])
        if row.get("added") and (row["label"], row["pair"]) not in labels
    ]
    store.write(
        "spec",
        name,
        {
            "schema": BENCH_SPEC.schema,
            "name": spec.name,
            "budget": spec.budget,
            "title": spec.title,
            "views": list(spec.views),
            "paper": spec.paper,
            "note": spec.note,
            "command": command,
            "rows": rows,
        },
    )


def work(spec: Spec, bench: Bench, tell: Tell, *, again: bool = False) -> Tally:
    """Compute every cell of a spec that nobody computed yet.

    Under torchrun and in job arrays every process takes cells of its own. Cells that a living
    process holds are left to it; those of a process that gives no sign of life are waited for and
    taken over.

    Args:
        spec: what to run.
        bench: computes cells.
        tell: shows a line.
        again: compute failed cells once more.

    Raises:
        DataError: cells that are there were measured by another version.
    """
    cells, store, heads = spec.cells(), bench.store, _heads(spec)
    refuse_older(spec.name, {one.id: store.read("cell", one.id) for one in cells})
    rest, tried = list(cells), again
    until: float | None = None
    while rest:
        waiting: list[Cell] = []
        for cell in rest:
            if not missing(store, cell, spec.pictures, tried):
                continue
            with store.claim("cell", cell.id) as mine:
                if not mine:
                    waiting.append(cell)
                    continue
                for part in missing(store, cell, spec.pictures, tried):
                    if not _part(bench, spec, cell, heads[cell.id], part, tell):
                        break
        until = (
            time.monotonic() + STALE + 3 * BEAT
            if until is None or len(waiting) < len(rest)
            else until
        )
        rest, tried = _silent(store, waiting) if time.monotonic() < until else [], False
    states = [state(store, cell, spec.pictures) for cell in cells]
    return Tally(
        states.count("done"),
        states.count("failed"),
        len(cells) - states.count("done") - states.count("failed"),
        len(cells),
    )


def _silent(store: Store, cells: Sequence[Cell]) -> list[Cell]:
    """Those of the claimed cells whose owner gave them up, or gives no sign of life for a beat, so
    that they may soon be taken over.
    """
    before = {cell.id: store.touched("cell", cell.id) for cell in cells}
    if cells:
        time.sleep(BEAT + 1)
    return [cell for cell in cells if store.touched("cell", cell.id) in (None, before[cell.id])]


def _part(bench: Bench, spec: Spec, cell: Cell, head: str, part: str, tell: Tell) -> bool:
    """Compute the scores of a cell or one of its pictures, keep them and say so; whether the rest
    of the cell can follow.
    """
    scores = part == SCORES
    begun = time.perf_counter()
    try:
        found = bench.compute(cell) if scores else bench.draw(cell, part)
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:  # one cell must not end the others, whatever it met
        text = " ".join(str(error).split())
        place = "" if isinstance(error, UnspanError) else place_of(error)
        found = {
            "cell": cell.record() if scores else cell.id,
            "error": f"{type(error).__name__}: {text}{f' ({place})' if place else ''}",
            "trace": None if isinstance(error, UnspanError) else traceback.format_exc(),
        }
    spent = round(time.perf_counter() - begun, 1)
    if scores:
        found |= {
            "schema": BENCH_CELL.schema,
            "measurement": MEASUREMENT,
            "created": receipts.now(),
            "seconds_in_all": spent,
        }
        bench.store.write("cell", cell.id, compacted(found))
    else:
        found |= {"schema": BENCH_PICTURE.schema, "created": receipts.now(), "seconds": spent}
        bench.store.write("picture", name_of(cell.id, part), found)
    told = f"{spent:.0f} s"
    if scores and "error" not in found:
        told += f", {_summary(found)}{_chosen(found)}"
    what = head if scores else f"{head}, {part}"
    tell(f"{what} {_told(found) or told}{left(estimate(spec, bench.store))}")
    return not (scores and "error" in found)


def _heads(spec: Spec) -> dict[str, str]:
    """By cell: which of how many, its row, its pair where there are several, and its seed."""
    several = len({one.pair for one in spec.rows}) > 1
    named = {
        cell.id: f"{row.label} ({f'{row.pair}, ' if several else ''}seed {cell.seed})"
        for row in reversed(spec.rows)  # a cell of two rows has the name of the first
        for cell in row.cells
    }
    cells = spec.cells()
    return {
        cell.id: f"[{place}/{len(cells)}] {named[cell.id]}" for place, cell in enumerate(cells, 1)
    }


def _told(found: dict[str, Any]) -> str:
    return f"FAILED: {found['error']}" if "error" in found else ""


def _summary(found: dict[str, Any]) -> str:
    values = found["steps"][-1]["values"]
    shown = (
        [("D_ft", "forget"), ("D_rt", "remaining"), ("strongest", "strongest attack")]
        if "D_ft" in values
        else [("D_t", "test"), ("member rate", "member rate")]
    )
    return ", ".join(
        f"{name} {values[key]['value']:.1f} %"
        for key, name in shown
        if values.get(key, {}).get("value") is not None
    )


def _chosen(found: dict[str, Any]) -> str:
    """The settings that trials chose; empty where nothing was tuned."""
    trials = found.get("tuning", [])
    best = best_of(trials)
    if best is None:
        return ""
    return (
        f"; {in_words(best['settings'])}: the best of {len(trials)} trials"
        f" ({100 * best['score']:.1f} % on validation samples)"
    )


def _needs(cell: Cell) -> frozenset[str]:
    return frozenset(configured_method(cell.method, cell.settings).needs)


def own_cells() -> str | None:
    """Under torchrun, make this process work alone and return the device that belongs to it (None:
    the default).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    import torch

    os.environ["WORLD_SIZE"] = "1"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else None
