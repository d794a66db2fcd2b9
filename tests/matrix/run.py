"""Run a cell: erase in one process, look at what it wrote in another."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matrix.cells import Cell, Outcome
from matrix.steps import Stopped, check, erase

SECONDS = 600  # a step that takes longer is ended and counts as failed
PRELOADED = ["torchvision", "timm", "transformers", "unspan.cli", "matrix.steps"]  # where installed

Step = Callable[[Cell, Path, Path], dict[str, Any]]


def run_cell(cell: Cell, cache: Path, folder: Path) -> Outcome:
    """Erase, save, load in a fresh process, look, verify and export.

    Args:
        cell: what to run.
        cache: trained networks and data, shared by cells.
        folder: where the cell writes; emptied first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    figures: dict[str, Any] = {}
    try:
        for step in (erase, check):
            figures |= _apart(step, cell, cache, folder)
            figures["cpu"] = round(figures.get("cpu", 0.0) + figures.pop("seconds"), 1)
    except Stopped as stopped:
        refused = stopped.typed and not cell.must_work
        return Outcome("refused" if refused else "fails", str(stopped), figures)
    return Outcome("works", "", figures)


def _apart(step: Step, cell: Cell, cache: Path, folder: Path) -> dict[str, Any]:
    """Run a step in a process of its own, which shares no memory with the one before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    answer = folder / f"{step.__name__}.json"
    process = context.Process(target=_answer, args=(step, cell, cache, folder, answer))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        raise Stopped(f"{step.__name__} took more than {SECONDS} s")
    if not answer.exists():
        raise Stopped(f"{step.__name__} ended with exit code {process.exitcode}")
    found = json.loads(answer.read_text("utf-8"))
    if "stopped" in found:
        raise Stopped(found["stopped"], typed=found["typed"])
    return found


def _answer(step: Step, cell: Cell, cache: Path, folder: Path, answer: Path) -> None:
    try:
        found = step(cell, cache, folder)
    except Stopped as stopped:
        found = {"stopped": str(stopped), "typed": stopped.typed}
    except Exception as error:
        found = {"stopped": f"{type(error).__name__}: {error}", "typed": False}
    answer.write_text(json.dumps(found | {"seconds": time.process_time()}), "utf-8")
