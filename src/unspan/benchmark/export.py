"""The split, outputs and signals of cells as files that other programs read.

Cells keep scores, no outputs. A network that the folder of results keeps is loaded, any other is
made once more: the same seed gives the same network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset

from unspan.benchmark.cell import Bench
from unspan.benchmark.data import opened
from unspan.benchmark.grid import Cell, Spec
from unspan.benchmark.measure import outputs
from unspan.benchmark.other_programs import Exported, for_other_programs, logits
from unspan.benchmark.requests import requests
from unspan.benchmark.spec_text import NETWORKS
from unspan.benchmark.store import Store
from unspan.benchmark.third_party import short_name
from unspan.benchmark.trials import to_tune
from unspan.erasure.tuning import apart
from unspan.errors import OutputError, UsageError
from unspan.metrics.lira import scaled_logits
from unspan.metrics.outputs import Outputs
from unspan.system.durations import duration
from unspan.system.schemas import BENCH_EXPORT

_ROLES = ("forget", "retain", "test_forget", "test_retain")
_ARRAYS = {  # of about.json: what the files hold; n rows in the order of _ROLES
    "split.npz": (
        "positions of each part: forget, retain and validation_* in the training set, test_forget,"
        " test_retain and holdout in the test set"
    ),
    "outputs/CELL.npz": "logits [n, classes], features [n, d], labels [n]",
    "signals/CELL.npz": (
        "[n] each: loss = -ln p_y, probability = p_y,"
        " scaled_logit = ln p_y - ln(sum of p_j over j != y)"
    ),
    "privacy-meter/CELL": (
        "signals/rmia_signals.npy [rows, m]: p_y of forget samples, then of unseen ones, by the"
        " erased model, the original and the retrained ones; signals/rmia_signals_pop.npy: of"
        " unseen ones; models/memberships.npy [m, rows]: who was trained on which"
    ),
    "leakpro/CELL": (
        "target.npy, sm_0.npy, ...: logits [rows, classes] of the erased model and of the retrained"
        " ones, forget samples first; audit.npz: labels, members, positions"
    ),
}
_AGREE = 0.05  # points by which an accuracy may differ from the recorded one


def export(spec: Spec, bench: Bench, folder: Path, tell: Callable[[str], None]) -> list[Path]:
    """Write a folder for every request of a spec, and return these.

    Args:
        spec: its cells; those that failed are left out.
        bench: makes the networks.
        folder: to write to.
        tell: shows a line.

    Raises:
        UsageError: cells that were not computed yet.
        OutputError: it cannot be written.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in _computed(spec, bench.store, tell):
        key = repr((cell.data, cell.model, cell.train, cell.request, cell.retain, cell.holdout))
        groups.setdefault(key, []).append(cell)
    found = []
    for number, cells in enumerate(groups.values(), 1):
        target = folder / spec.name if len(groups) == 1 else folder / f"{spec.name}-{number}"
        try:
            _group(cells, bench, target, tell)
        except OSError as error:
            raise OutputError(
                f"{target} cannot be written: {error.strerror or error}. Give --to a folder with"
                " room."
            ) from error
        found.append(target)
    return found


def _other_budgets(spec: Spec, store: Store) -> str:
    """Which budgets of a spec the folder holds, in a sentence; empty where it holds none."""
    found = [store.read("spec", name) or {} for name in store.names("spec")]
    names = [str(one["budget"]) for one in found if one.get("name") == spec.name]
    here = [f"--budget {name}" for name in names if name != spec.budget]
    return f" Computed there: {' and '.join(here)}." if here else ""


def _computed(spec: Spec, store: Store, tell: Callable[[str], None]) -> list[Cell]:
    """The cells with scores; says how long it takes to make their networks again."""
    cells = spec.cells()
    found = {cell.id: store.read("cell", cell.id) for cell in cells}
    missing = sum(one is None for one in found.values())
    if missing:
        raise UsageError(
            f"{missing} of {len(cells)} cells of {spec.name} at the budget {spec.budget} were not"
            f" computed in {store.root}.{_other_budgets(spec, store)} Run unspan bench SPEC"
            f" --budget {spec.budget} --out {store.root} first."
        )
    good = [cell for cell in cells if "error" not in (found[cell.id] or {})]
    spent = [
        float(step["seconds"])
        for cell in good
        if cell.method not in NETWORKS
        for step in (found[cell.id] or {})["steps"]
    ]
    tell(f"{len(good)} models; those of methods are made again, about {duration(sum(spent))}.")
    if len(good) < len(cells):
        tell(f"Left out, as they failed: {len(cells) - len(good)} of {len(cells)} cells.")
    return good


def _group(cells: Sequence[Cell], bench: Bench, folder: Path, tell: Callable[[str], None]) -> None:
    """Write what cells of one request share, then a folder for each of them."""
    (folder / "outputs").mkdir(parents=True, exist_ok=True)
    (folder / "signals").mkdir(exist_ok=True)
    split = _split(cells, bench)
    np.savez(folder / "split.npz", **split)
    models, rows = [], []
    for number, cell in enumerate(cells, 1):
        one = Exported(cell, *_outputs(cell, bench))
        np.savez(folder / "outputs" / f"{cell.id}.npz", **_arrays(one))
        np.savez(folder / "signals" / f"{cell.id}.npz", **_signals(one))
        row = _row(one, bench)
        rows.append(row)
        models.append(one)
        tell(f"[{number}/{len(cells)}] {row['method']} (seed {cell.seed}){_doubt(row)}")
    about = {
        "schema": BENCH_EXPORT.schema,
        "data": cells[0].data,
        "request": cells[0].request,
        "rows": {name: len(split[name]) for name in split},
        "order of rows": list(_ROLES),
        "arrays": _ARRAYS,
        "models": rows,
    }
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    for_other_programs(models, split, folder)


def _split(cells: Sequence[Cell], bench: Bench) -> dict[str, Any]:
    """Positions of every part in the training and in the test set, by role."""
    cell = cells[0]
    data = opened(cell.data, bench.data_root, None)
    given = bench.weights.get("original") is not None
    steps = requests(data, cell.request, cell.retain, cell.holdout, whole_forget=given)
    last = steps[-1]
    found: dict[str, Any] = {
        "forget": np.concatenate([_positions(one.forget, data.train) for one in steps]),
        "retain": _positions(last.retain, data.train),
        "test_forget": _positions(last.test_forget, data.test),
        "test_retain": _positions(last.test_retain, data.test),
        "holdout": _positions(last.holdout if data.holdout is None else None, data.test),
    }
    if cell.request.keys() & {"classes", "steps"}:
        most = next((one.tune_retain for one in cells if one.trials), None)
        _, forget, retain = apart(to_tune(steps[0], most, reads_retain=True), 0)
        found["validation_forget"] = _positions(forget, data.train)
        found["validation_retain"] = _positions(retain, data.train)
    return found


def _positions(part: Any, data: Any) -> np.ndarray:
    """Positions in a dataset of a subset of it, or of a subset of a subset."""
    if part is None:
        return np.zeros(0, dtype=np.int64)
    positions = np.asarray(part.indices, dtype=np.int64)
    inner = part.dataset
    while inner is not data:
        positions = np.asarray(inner.indices, dtype=np.int64)[positions]
        inner = inner.dataset
    return positions


def _outputs(cell: Cell, bench: Bench) -> tuple[Outputs, Outputs]:
    """Outputs of the last network of a cell, in the order of the split."""
    models, _, _ = bench.models(cell)
    steps = bench.prepared(cell).steps
    so_far: Any = ConcatDataset([one.forget for one in steps])
    last = steps[-1]
    return (
        outputs(models[-1], so_far, last.retain, bench.run),
        outputs(models[-1], last.test_forget, last.test_retain, bench.run),
    )


def _arrays(one: Exported) -> dict[str, Any]:
    """Logits `[n, C]`, features `[n, d]` and labels `[n]` of all rows, the training rows first."""
    parts = (one.fit, one.test)
    return {
        "logits": torch.cat([logits(part) for part in parts]).numpy(),
        "features": torch.cat([part.features for part in parts]).numpy(),
        "labels": torch.cat([part.labels for part in parts]).numpy(),
    }


def _signals(one: Exported) -> dict[str, Any]:
    """Loss `-ln p_y`, probability `p_y` and scaled logit `ln p_y - ln sum_{j != y} p_j`, `[n]`."""
    rows = torch.cat([logits(part) for part in (one.fit, one.test)])
    labels = torch.cat([part.labels for part in (one.fit, one.test)])
    log_p = rows.double().log_softmax(1).gather(1, labels[:, None])[:, 0]
    return {
        "loss": -log_p.numpy(),
        "probability": log_p.exp().numpy(),
        "scaled_logit": scaled_logits(rows, labels).numpy(),
    }


def _row(one: Exported, bench: Bench) -> dict[str, Any]:
    """A model in `about.json`: which cell it is, and whether it has the recorded accuracy."""
    measured = {
        name: 100 * float((logits(part).argmax(1) == part.labels)[rows].double().mean())
        for name, part, rows in (
            ("D_f", one.fit, one.fit.forget),
            ("D_r", one.fit, ~one.fit.forget),
            ("D_ft", one.test, one.test.forget),
            ("D_rt", one.test, ~one.test.forget),
        )
        if bool(rows.any())
    }
    result = bench.store.read("cell", one.cell.id)
    recorded = result["steps"][-1]["values"] if result and "error" not in result else {}
    return {
        "cell": one.cell.id,
        "method": short_name(one.cell.method),
        "seed": one.cell.seed,
        "accuracy": measured,
        "recorded": {name: recorded[name]["value"] for name in measured if name in recorded},
    }


def _doubt(row: dict[str, Any]) -> str:
    """What a reader should know of a network that is not the recorded one; else nothing."""
    gaps = [abs(value - row["accuracy"][name]) for name, value in row["recorded"].items()]
    if not gaps:
        return ": no recorded scores to compare with"
    if max(gaps) <= _AGREE:
        return ""
    return (
        f": an accuracy is {max(gaps):.2f} points from the recorded one; another version of torch"
        " or another device gives another network"
    )
