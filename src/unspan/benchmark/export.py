"""The split, outputs and signals of cells as files that other programs read.

Cells keep scores, no outputs. Outputs that an earlier export wrote are read back. A network that
the folder of results keeps is loaded. Any other is made once more: the same seed gives the same
network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset

from unspan.benchmark import exported
from unspan.benchmark.cell import Bench
from unspan.benchmark.data import opened
from unspan.benchmark.exported import Exported, logits
from unspan.benchmark.grid import Cell, Spec
from unspan.benchmark.measure import outputs
from unspan.benchmark.other_programs import PRIVACY_METER, audited, for_other_programs, omitted
from unspan.benchmark.requests import requests
from unspan.benchmark.spec_text import NETWORKS
from unspan.benchmark.store import Store
from unspan.benchmark.third_party import short_name
from unspan.benchmark.trials import to_tune
from unspan.erasure.tuning import apart
from unspan.errors import OutputError, UsageError
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
        "signals/rmia_signals.npy [rows, m]: p_y of forget samples, then of audited unseen ones, by"
        " the erased model, the original and the retrained ones; signals/rmia_signals_pop.npy: of"
        " the population, unseen samples that are not audited; models/memberships.npy [m, rows]:"
        " who was trained on which. `privacy-meter` holds the positions of both in the test set"
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
    groups = _groups(_computed(spec, bench.store, tell), folder / spec.name)
    tell(_work(groups, bench.store))
    found = []
    for target, cells in groups.items():
        try:
            _group(cells, bench, target, tell)
        except OSError as error:
            raise OutputError(
                f"{target} cannot be written: {error.strerror or error}. Give --to a folder with"
                " room."
            ) from error
        found.append(target)
    return found


def _groups(cells: Sequence[Cell], base: Path) -> dict[Path, list[Cell]]:
    """The cells of each request, by the folder that they get."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        key = repr((cell.data, cell.model, cell.train, cell.request, cell.retain, cell.holdout))
        groups.setdefault(key, []).append(cell)
    if len(groups) == 1:
        return {base: list(cells)}
    return {
        base.with_name(f"{base.name}-{number}"): group
        for number, group in enumerate(groups.values(), 1)
    }


def _work(groups: Mapping[Path, Sequence[Cell]], store: Store) -> str:
    """How many networks there are, and how long it takes to make those that are not kept."""
    cells = [(cell, folder) for folder, group in groups.items() for cell in group]
    fresh = [cell for cell, folder in cells if not exported.is_there(cell, folder)]
    seconds = [_seconds(cell, store) for cell in fresh]
    made = [one for one in seconds if one is not None]
    loaded = len(fresh) - len(made)
    parts = [
        f"{len(cells) - len(fresh)} were exported before and are not run again",
        f"{loaded} are kept and loaded",
        f"{len(made)} are made again, about {duration(sum(made))}",
    ]
    counts = (len(cells) - len(fresh), loaded, len(made))
    told = [part for part, count in zip(parts, counts, strict=True) if count]
    return f"{len(cells)} models: {'; '.join(told) or 'no cell finished'}."


def _seconds(cell: Cell, store: Store) -> float | None:
    """Seconds that it took to make a network; None for one that is kept or was given."""
    found = store.read("cell", cell.id) or {}
    if cell.method not in NETWORKS:
        return float(sum(step["seconds"] for step in found["steps"]))
    stories = found.get("training", [])
    stories = stories if isinstance(stories, list) else [stories]
    missing = [
        float(one["seconds"])
        for one in stories
        if "name" in one and not store.path("network", one["name"], ".safetensors").is_file()
    ]
    return sum(missing) if missing else None


def _other_budgets(spec: Spec, store: Store) -> str:
    """Which budgets of a spec the folder holds, in a sentence; empty where it holds none."""
    found = [store.read("spec", name) or {} for name in store.names("spec")]
    names = [str(one["budget"]) for one in found if one.get("name") == spec.name]
    here = [f"--budget {name}" for name in names if name != spec.budget]
    return f" Computed there: {' and '.join(here)}." if here else ""


def _computed(spec: Spec, store: Store, tell: Callable[[str], None]) -> list[Cell]:
    """The cells with scores; says how many failed."""
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
    if len(good) < len(cells):
        tell(f"Left out, as they failed: {len(cells) - len(good)} of {len(cells)} cells.")
    return good


def _group(cells: Sequence[Cell], bench: Bench, folder: Path, tell: Callable[[str], None]) -> None:
    """Write what cells of one request share, then a folder for each of them."""
    folder.mkdir(parents=True, exist_ok=True)
    split = _split(cells, bench)
    np.savez(folder / "split.npz", **split)
    left_out = omitted(cells, split)
    for why in dict.fromkeys(left_out.values()):
        names = [f"{name}/" for name, reason in left_out.items() if reason == why]
        tell(f"Left out: {' and '.join(names)}, since {why}.")
    models, rows = [], []
    for number, cell in enumerate(cells, 1):
        earlier = exported.read(cell, folder, split)
        one = earlier or Exported(cell, *_outputs(cell, bench))
        exported.write(one, folder)
        row = _row(one, bench)
        rows.append(row)
        models.append(one)
        known = ", as exported before" if earlier else ""
        tell(f"[{number}/{len(cells)}] {row['method']} (seed {cell.seed}){known}{_doubt(row)}")
    for_other_programs(models, split, folder)
    about = _about(cells[0], split, rows, left_out)
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")


def _about(
    cell: Cell, split: dict[str, Any], rows: list[dict[str, Any]], left_out: Mapping[str, str]
) -> dict[str, Any]:
    """What the files of a folder hold, as JSON values."""
    written = {
        name: text for name, text in _ARRAYS.items() if name.partition("/")[0] not in left_out
    }
    about = {
        "schema": BENCH_EXPORT.schema,
        "data": cell.data,
        "request": cell.request,
        "rows": {name: len(split[name]) for name in split},
        "order of rows": list(_ROLES),
        "arrays": written,
        "models": rows,
    }
    if left_out:
        about["left out"] = dict(left_out)
    if PRIVACY_METER not in left_out:
        about["privacy-meter"] = {name: list(map(int, one)) for name, one in audited(split).items()}
    return about


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
