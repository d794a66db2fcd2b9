"""Run cells of the matrix: `python -m matrix`, started again after a stop, goes on where it was.

Each outcome is one JSON file under `--out`; `--write` makes the results and the page of the docs
from them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from matrix.cells import Cell, Outcome, every_cell
from matrix.networks import NETWORKS, library
from matrix.prepare import cache_in
from matrix.run import run_cell
from matrix.selection import pairwise
from matrix.table import PAGE, RESULTS, page, results


def main() -> None:
    """Run what is left, or write the table."""
    options = _options().parse_args()
    if options.write:
        RESULTS.write_text(json.dumps(results(dict(_stored(options.out))), indent=1) + "\n")
        PAGE.write_text(page(json.loads(RESULTS.read_text("utf-8"))), "utf-8")
        return
    names = [name for name in NETWORKS if options.only in name]
    here = [name for name in names if importlib.util.find_spec(library(name))]
    if left_out := sorted(set(names) - set(here)):
        print(f"not installed here, left out: {', '.join(left_out)}")
    cells = pairwise(list(NETWORKS)) if options.pairs else every_cell(names)
    todo = [cell for cell in cells if cell.network in here]
    todo = [cell for cell in todo if _again(_file(options.out, cell), options.again)]
    todo.sort(key=lambda cell: not cell.must_work)
    print(f"{len(todo)} of {len(cells)} cells to run")
    os.environ["OMP_NUM_THREADS"] = "1"
    failed = 0
    for done, (cell, outcome) in enumerate(_outcomes(todo, options.out, options.jobs), 1):
        failed += outcome.state == "fails"
        print(f"{done}/{len(todo)} {cell.name}: {outcome.state} {outcome.said[:200]}", flush=True)
    raise SystemExit(1 if failed else 0)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m matrix", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/matrix"))
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time")
    parser.add_argument("--only", default="", help="networks with this in their name")
    parser.add_argument("--pairs", action="store_true", help="the selection of the tests")
    parser.add_argument("--again", action="store_true", help="run cells that failed once more")
    parser.add_argument("--write", action="store_true", help="write results/ and docs/ and stop")
    return parser


def _outcomes(cells: list[Cell], out: Path, jobs: int) -> Iterator[tuple[Cell, Outcome]]:
    """Run cells, some at a time, each kept as soon as it ends."""

    def one(cell: Cell) -> Outcome:
        work = out / "work" / cell.name
        outcome = run_cell(cell, cache_in(out / "networks"), work)
        shutil.rmtree(work, ignore_errors=True)
        file = _file(out, cell)
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(outcome.to_dict(), indent=1), "utf-8")
        draft.replace(file)
        return outcome

    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(one, cell): cell for cell in cells}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def _stored(out: Path) -> Iterable[tuple[Cell, Outcome]]:
    for cell in every_cell(NETWORKS):
        file = _file(out, cell)
        if file.is_file():
            yield cell, Outcome(**json.loads(file.read_text("utf-8")))


def _file(out: Path, cell: Cell) -> Path:
    return out / "cells" / f"{cell.name}.json"


def _again(file: Path, failed_too: bool) -> bool:
    if not file.is_file():
        return True
    return failed_too and json.loads(file.read_text("utf-8"))["state"] == "fails"


if __name__ == "__main__":
    main()
