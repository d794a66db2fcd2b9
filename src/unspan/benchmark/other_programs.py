"""Exported models in the forms of Privacy Meter and LeakPro.

In both the erased model is the target and the retrained networks are the references. Forget samples
are members, unseen test samples are not. Privacy Meter compares each sample with a population:
unseen samples that are not audited themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from unspan.benchmark.exported import Exported, logits
from unspan.benchmark.grid import Cell
from unspan.benchmark.spec_text import NETWORKS
from unspan.metrics.outputs import Outputs
from unspan.training.samples import generator

LEAKPRO = "leakpro"  # folders
PRIVACY_METER = "privacy-meter"


def omitted(cells: Sequence[Cell], split: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Which of the two folders cannot be written, and why; empty where both can.

    Args:
        cells: of one request.
        split: positions by part.
    """
    methods = {cell.method for cell in cells}
    lacking = [name for name in NETWORKS if name not in methods]
    if lacking:
        rows = " and ".join(f"'{name}'" for name in lacking)
        why = f"there is no finished row {rows}, which both programs compare with"
        return {LEAKPRO: why, PRIVACY_METER: why}
    if methods <= {*NETWORKS}:
        why = "there is no finished row of a method, which they could audit"
        return {LEAKPRO: why, PRIVACY_METER: why}
    if len(_unseen_positions(split)) < 2:
        return {PRIVACY_METER: "it needs two unseen samples, one to audit and one to compare with"}
    return {}


def audited(split: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Positions in the test set of the unseen samples of Privacy Meter: those that are audited, and
    the population, drawn once for all models.
    """
    positions = _unseen_positions(split)
    population = _is_population(len(positions))
    return {"audited unseen": positions[~population], "population": positions[population]}


def _unseen_positions(split: Mapping[str, np.ndarray]) -> np.ndarray:
    return split["test_forget"] if len(split["test_forget"]) else split["test_retain"]


def _is_population(count: int) -> np.ndarray:
    """Which of so many unseen samples are the population: half of them, `[count]` bool."""
    order = torch.randperm(count, generator=generator(0, "population")).numpy()
    chosen = np.zeros(count, dtype=bool)
    chosen[order[: count // 2]] = True
    return chosen


def for_other_programs(
    models: Sequence[Exported], split: Mapping[str, np.ndarray], folder: Path
) -> None:
    """Files in the forms of Privacy Meter and LeakPro, a folder for each erased model; those that
    `omitted` names are left out.
    """
    without = omitted([one.cell for one in models], split)
    if LEAKPRO in without:
        return
    references = [one for one in models if one.cell.method == "retrain"]
    original = next(one for one in models if one.cell.method == "original")
    for one in models:
        if one.cell.method not in NETWORKS:
            columns = [one, original, *references]
            if not without:
                _privacy_meter(columns, folder / PRIVACY_METER / one.cell.id)
            _leakpro(columns, split, folder / LEAKPRO / one.cell.id)


def _privacy_meter(models: Sequence[Exported], folder: Path) -> None:
    """`signals/rmia_signals.npy` `[n, m]`, `signals/rmia_signals_pop.npy` `[z, m]` and
    `models/memberships.npy` `[m, n]`: the erased model, the original as its pair, the references.

    Rows: forget samples, then the unseen ones that are audited. Those of the population are others.
    """
    for name in ("signals", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    forgotten = [_probability(one.fit.rows(one.fit.forget)) for one in models]
    unseen = [_probability(_unseen(one.test)) for one in models]
    population = _is_population(len(unseen[0]))
    tested = [one[~population] for one in unseen]
    rows = [np.concatenate(both) for both in zip(forgotten, tested, strict=True)]
    members = np.zeros((len(models), len(rows[0])), dtype=bool)
    members[:2, : len(forgotten[0])] = True  # the erased model was trained on them, and its pair
    np.save(folder / "signals" / "rmia_signals.npy", np.stack(rows, axis=1))
    np.save(
        folder / "signals" / "rmia_signals_pop.npy",
        np.stack([one[population] for one in unseen], 1),
    )
    np.save(folder / "models" / "memberships.npy", members)


def _unseen(test: Outputs) -> Outputs:
    """Test samples of the forgotten classes; all of them for a request of samples."""
    return test.rows(test.forget) if bool(test.forget.any()) else test


def _probability(part: Outputs) -> np.ndarray:
    log_p = logits(part).double().log_softmax(1).gather(1, part.labels[:, None])[:, 0]
    return np.asarray(log_p.exp().numpy())


def _leakpro(models: Sequence[Exported], split: Mapping[str, np.ndarray], folder: Path) -> None:
    """Logits of the target and of the shadow models on the audited rows, members first, and which
    rows each shadow model saw.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, _, *references = models
    for name, one in (("target", target), *((f"sm_{i}", one) for i, one in enumerate(references))):
        parts = (one.fit.rows(one.fit.forget), _unseen(one.test))
        np.save(folder / f"{name}.npy", torch.cat([logits(part) for part in parts]).numpy())
    members, others = int(target.fit.forget.sum()), len(_unseen(target.test))
    labels = torch.cat([target.fit.labels[target.fit.forget], _unseen(target.test).labels])
    np.savez(
        folder / "audit.npz",
        labels=labels.numpy(),
        in_members=np.arange(members),
        out_members=np.arange(members, members + others),
        train_indices=split["forget"],
        test_indices=_unseen_positions(split),
        in_mask=np.zeros((len(references), members + others), dtype=bool),
    )
