"""Exported models in the forms of Privacy Meter and LeakPro.

In both the erased model is the target and the retrained networks are the references. Forget samples
are members, unseen test samples are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unspan.benchmark.grid import Cell
from unspan.metrics.outputs import Outputs


@dataclass(frozen=True)
class Exported:
    """One model and what it gives.

    Attributes:
        cell: its cell.
        fit: outputs on the forget and the retained training samples.
        test: on test samples.
    """

    cell: Cell
    fit: Outputs
    test: Outputs


def logits(part: Outputs) -> Tensor:
    """Logits `[n, C]` of a part, which were kept."""
    assert part.logits is not None
    return part.logits


def for_other_programs(
    models: Sequence[Exported], split: dict[str, np.ndarray], folder: Path
) -> None:
    """Files in the forms of Privacy Meter and LeakPro, a folder for each erased model."""
    references = [one for one in models if one.cell.method == "retrain"]
    original = next((one for one in models if one.cell.method == "original"), None)
    if original is None or not references:
        return
    for one in models:
        if one.cell.method not in ("original", "retrain"):
            columns = [one, original, *references]
            _privacy_meter(columns, folder / "privacy-meter" / one.cell.id)
            _leakpro(columns, split, folder / "leakpro" / one.cell.id)


def _privacy_meter(models: Sequence[Exported], folder: Path) -> None:
    """`signals/rmia_signals.npy` `[n, m]`, `signals/rmia_signals_pop.npy` `[z, m]` and
    `models/memberships.npy` `[m, n]`: the erased model, the original as its pair, the references.

    Rows: forget samples, then unseen ones, which are the population too.
    """
    for name in ("signals", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    forgotten = [_probability(one.fit.rows(one.fit.forget)) for one in models]
    unseen = [_probability(_unseen(one.test)) for one in models]
    rows = [np.concatenate(both) for both in zip(forgotten, unseen, strict=True)]
    members = np.zeros((len(models), len(rows[0])), dtype=bool)
    members[:2, : len(forgotten[0])] = True  # the erased model was trained on them, and its pair
    np.save(folder / "signals" / "rmia_signals.npy", np.stack(rows, axis=1))
    np.save(folder / "signals" / "rmia_signals_pop.npy", np.stack(unseen, axis=1))
    np.save(folder / "models" / "memberships.npy", members)


def _unseen(test: Outputs) -> Outputs:
    """Test samples of the forgotten classes; all of them for a request of samples."""
    return test.rows(test.forget) if bool(test.forget.any()) else test


def _probability(part: Outputs) -> np.ndarray:
    log_p = logits(part).double().log_softmax(1).gather(1, part.labels[:, None])[:, 0]
    return np.asarray(log_p.exp().numpy())


def _leakpro(models: Sequence[Exported], split: dict[str, np.ndarray], folder: Path) -> None:
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
    tested = split["test_forget"] if len(split["test_forget"]) else split["test_retain"]
    np.savez(
        folder / "audit.npz",
        labels=labels.numpy(),
        in_members=np.arange(members),
        out_members=np.arange(members, members + others),
        train_indices=split["forget"],
        test_indices=tested,
        in_mask=np.zeros((len(references), members + others), dtype=bool),
    )
