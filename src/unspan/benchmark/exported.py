"""The outputs of one exported model: what its files hold, and how they are read back.

A file is written under another name first, so that one that can be read is whole.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspan.benchmark.grid import Cell
from unspan.metrics.lira import scaled_logits
from unspan.metrics.outputs import Outputs

_NAMES = ("logits", "features", "labels")
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


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


def file_of(cell: Cell, folder: Path) -> Path:
    """Where the outputs of a cell lie in the folder of its request."""
    return folder / "outputs" / f"{cell.id}.npz"


def is_there(cell: Cell, folder: Path) -> bool:
    """Whether a whole file of outputs of a cell lies there; reads no array."""
    try:
        with np.load(file_of(cell, folder)) as file:
            return set(_NAMES) <= set(file.files)
    except _BROKEN:
        return False


def write(one: Exported, folder: Path) -> None:
    """Write outputs and signals of a model, rows in the order of the split."""
    _save(folder / "signals" / f"{one.cell.id}.npz", _signals(one))
    _save(file_of(one.cell, folder), _arrays(one))


def read(cell: Cell, folder: Path, split: Mapping[str, Any]) -> Exported | None:
    """Return the outputs of an earlier export; None where they are not there or not whole.

    Args:
        cell: its id names all that decides the outputs.
        folder: of its request.
        split: positions by part, which say how many rows there are.
    """
    try:
        with np.load(file_of(cell, folder)) as file:
            found = {name: torch.from_numpy(file[name]) for name in _NAMES}
    except _BROKEN:
        return None
    sizes = [len(split[name]) for name in ("forget", "retain", "test_forget", "test_retain")]
    if any(len(part) != sum(sizes) for part in found.values()):
        return None
    forget = torch.cat([torch.full((n,), place % 2 == 0) for place, n in enumerate(sizes)])
    whole = Outputs(**found, forget=forget)
    rows = torch.arange(len(whole))
    trained = sizes[0] + sizes[1]
    return Exported(cell, whole.rows(rows[:trained]), whole.rows(rows[trained:]))


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.npz")
    np.savez(fresh, **arrays)
    os.replace(fresh, path)


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
