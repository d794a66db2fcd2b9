"""The settings that a cell runs with: those of the spec, or the best of its trials."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import Subset

from unspan.benchmark.grid import Cell
from unspan.benchmark.prepared import Prepared
from unspan.benchmark.renamed import configured_method, todays_names
from unspan.benchmark.store import Store
from unspan.benchmark.third_party import short_name
from unspan.data.request import Request
from unspan.erasure.tuning import rows, tune
from unspan.methods import Method, by_name
from unspan.run import Run
from unspan.training.samples import generator


def chosen_method(
    cell: Cell, ready: Prepared, run: Run, store: Store
) -> tuple[Method, list[dict[str, Any]]]:
    """The method of a cell, and the trials that chose its settings, made once for all seeds.

    Args:
        cell: names the method, its settings and how many trials there are.
        ready: data and original.
        run: device, batch size, progress.
        store: keeps the trials.
    """
    if not cell.trials:
        return configured_method(cell.method, cell.settings), []
    given = {
        name: None if value == "none" else value
        for name, value in todays_names(cell.method, cell.settings).items()
    }
    name = replace(cell, seed=0, pictures=()).id

    def make() -> None:
        kind = by_name(cell.method)
        _, trials = tune(
            ready.original,
            to_tune(ready.steps[0], cell.tune_retain, reads_retain="retain" in kind().needs),
            kind,
            cell.trials,
            replace(run, seed=0),
            given,
            check_labels=False,
        )
        content = {
            "method": short_name(cell.method),
            "given": cell.settings,
            "chosen": max(trials, key=lambda trial: trial.score).settings,
            "trials": rows(trials),
        }
        store.write("choice", name, content)

    found = store.once("choice", name, make)
    return configured_method(cell.method, given | found["chosen"]), found["trials"]


def to_tune(request: Request, most: int | None, *, reads_retain: bool) -> Request:
    """The request of the trials: some of its retained samples; none for a method that reads none.

    Args:
        request: of the cell.
        most: largest number of retained samples, None for all.
        reads_retain: whether the method reads them.
    """
    if not reads_retain:
        return replace(request, retain=None)
    if most is None or len(request.retain) <= most:
        return request
    order = torch.randperm(len(request.retain), generator=generator(0, "tuning"))
    return replace(request, retain=Subset(request.retain, sorted(order[:most].tolist())))
