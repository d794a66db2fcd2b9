"""Work through the cells of a spec: claims, progress, time left, failures that do not end the run,
and an estimate beforehand.
"""

from __future__ import annotations

import os
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unspan.artifact import receipt as receipts
from unspan.benchmark.cell import Bench
from unspan.benchmark.grid import Cell, Row, Spec
from unspan.benchmark.measurement import MEASUREMENT, refuse_older
from unspan.benchmark.renamed import configured_method
from unspan.benchmark.spec_text import NETWORKS
from unspan.benchmark.store import BEAT, STALE, Store
from unspan.errors import UnspanError, UsageError
from unspan.system.durations import duration
from unspan.system.schemas import BENCH_CELL, BENCH_SPEC

Tell = Callable[[str], None]
_LOOKS = 3  # passes that measuring costs


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


def state(store: Store, cell: Cell) -> str:
    """`done`, `failed`, `claimed` or `open`."""
    found = store.read("cell", cell.id)
    if found is not None:
        return "failed" if "error" in found else "done"
    return "claimed" if store.path("cell", cell.id, ".claim").exists() else "open"


def record(store: Store, spec: Spec, command: str) -> None:
    """Keep what the report needs of a spec: titles, views, and the cells of every row.

    Raises:
        UsageError: another spec of the same name was run in this folder.
    """
    earlier = store.read("spec", f"{spec.name}.{spec.budget}")
    if earlier is not None and earlier["title"] != spec.title:
        raise UsageError(
            f"A spec of the name {spec.name} with another title ('{earlier['title']}') was run in"
            f" {store.root}; rename the file, or choose another --out."
        )
    rows = [
        {
            "label": row.label,
            "method": row.method,
            "pair": row.pair,
            "paper": row.paper,
            "needs_retain": (
                None if row.method in NETWORKS else "retain" in _method(row.cells[0]).needs
            ),
            "cells": [cell.id for cell in row.cells],
        }
        for row in spec.rows
    ]
    store.write(
        "spec",
        f"{spec.name}.{spec.budget}",
        {
            "schema": BENCH_SPEC.schema,
            "name": spec.name,
            "budget": spec.budget,
            "title": spec.title,
            "meant": spec.meant,
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
    cells = spec.cells()
    refuse_older(spec.name, {one.id: bench.store.read("cell", one.id) for one in cells})
    spent: list[float] = []
    left, tried = list(cells), again
    until: float | None = None
    while left:
        waiting: list[Cell] = []
        for cell in left:
            if _finished(bench.store, cell, tried):
                continue
            with bench.store.claim("cell", cell.id) as mine:
                if not mine:
                    waiting.append(cell)
                elif not _finished(bench.store, cell, tried):
                    begun = time.perf_counter()
                    _one(bench, cell, tell, _place(cells, cell), _left(cells, bench.store, spent))
                    spent.append(time.perf_counter() - begun)
        until = (
            time.monotonic() + STALE + 3 * BEAT
            if until is None or len(waiting) < len(left)
            else until
        )
        left, tried = _silent(bench.store, waiting) if time.monotonic() < until else [], False
    states = [state(bench.store, cell) for cell in cells]
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


def _finished(store: Store, cell: Cell, again: bool) -> bool:
    found = store.read("cell", cell.id)
    return found is not None and not (again and "error" in found)


def _one(bench: Bench, cell: Cell, tell: Tell, place: str, left: str) -> None:
    begun = time.perf_counter()
    try:
        found = bench.compute(cell)
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:  # one cell must not end the others, whatever it met
        text = " ".join(str(error).split())
        found = {
            "cell": asdict(cell),
            "error": f"{type(error).__name__}: {text}",
            "trace": None if isinstance(error, UnspanError) else traceback.format_exc(),
        }
    found |= {
        "schema": BENCH_CELL.schema,
        "measurement": MEASUREMENT,
        "created": receipts.now(),
        "seconds_in_all": round(time.perf_counter() - begun, 1),
    }
    bench.store.write("cell", cell.id, found)
    tell(
        f"{place} {cell.method} (seed {cell.seed}) "
        + (
            f"FAILED: {found['error']}"
            if "error" in found
            else f"{found['seconds_in_all']:.0f} s, {_summary(found)}"
        )
        + left
    )


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


def _place(cells: Sequence[Cell], cell: Cell) -> str:
    return f"[{cells.index(cell) + 1}/{len(cells)}]"


def _left(cells: Sequence[Cell], store: Store, spent: Sequence[float]) -> str:
    """Time left by the mean of the cells this process computed."""
    count = sum(store.read("cell", cell.id) is None for cell in cells) - 1
    if not spent or count < 1:
        return ""
    return (
        f"; about {duration(statistics.fmean(spent) * count)} left for {count} cells in one process"
    )


def estimate(spec: Spec, store: Store) -> list[tuple[Row, Cell, str, float | None]]:
    """Every cell with its state, and the seconds it took or should take: the median of finished
    cells of the same method, else by `passes` at the pace of others on the same data and network,
    else None.
    """
    known: dict[str, list[float]] = {}
    paces: dict[str, list[float]] = {}
    for name in store.names("cell"):
        found = store.read("cell", name)
        if found is not None and "error" not in found:
            known.setdefault(_kind(found["cell"]), []).append(found["seconds_in_all"])
            paces.setdefault(_place_of(found["cell"]), []).append(
                found["seconds_in_all"] / (_LOOKS + passes(Cell(**found["cell"])))
            )
    rows = []
    for row in spec.rows:
        for cell in row.cells:
            where, same = state(store, cell), known.get(_kind(asdict(cell)))
            pace = paces.get(_place_of(asdict(cell)))
            guess = (
                statistics.median(same)
                if same
                else (_LOOKS + passes(cell)) * statistics.median(pace)
                if pace
                else None
            )
            rows.append((row, cell, where, 0.0 if where == "done" else guess))
    return rows


def _kind(cell: dict[str, Any]) -> str:
    epochs = cell["settings"].get("epochs") or (
        cell["train"].get("epochs") if cell["method"] in NETWORKS else None
    )
    return repr(
        (
            cell["data"],
            cell["model"],
            cell["retain"],
            cell["method"],
            epochs,
            len(cell["request"].get("steps", [0])),
        )
    )


def _place_of(cell: dict[str, Any]) -> str:
    return repr((cell["data"], cell["model"], cell["retain"]))


def passes(cell: Cell) -> float:
    """How many times the method reads its data, to guess a cost by: epochs, and a quarter of that
    for every trial.

    >>> from unspan.benchmark.grid import Cell
    >>> request = {"classes": [1]}
    >>> passes(
    ...     Cell(data="digits", model="m", train={"epochs": 7}, request=request, method="retrain")
    ... )
    7.0
    """
    if cell.method in NETWORKS:
        return float(cell.train.get("epochs", 50)) if cell.method == "retrain" else 0.0
    training = _method(cell).training
    epochs = 1 if training is None else training.epochs
    return float(epochs * (1 + cell.trials / 4))


def _method(cell: Cell) -> Any:
    """The method of a cell with the settings that are given (not those that tuning finds)."""
    return configured_method(cell.method, cell.settings)


def own_cells() -> str | None:
    """Under torchrun, make this process work alone and return the device that belongs to it (None:
    the default).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    import torch

    os.environ["WORLD_SIZE"] = "1"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else None
