"""The command lines of a cell, as a user would type them."""

from __future__ import annotations

from pathlib import Path

from matrix.cells import Cell
from matrix.networks import NETWORKS, Network
from matrix.tasks import FORGET, Task


def commands(cell: Cell, model: list[str], task: Task, folder: Path) -> list[list[str]]:
    """Arguments of `unspan`, one list a command; the last one writes `folder / "erased"`."""
    network = NETWORKS[cell.network]
    erase = ["erase", *model, "--out", str(folder / "erased"), "--quiet"]
    method = _method(cell)
    if cell.request != "statistics":
        return [[*erase, "--data", str(task.data), *_request(cell, task), *method]]
    file = str(folder / "statistics.safetensors")
    model = [*model, *_names(network, task)]
    erase = ["erase", *model, "--out", str(folder / "erased"), "--quiet"]
    write = ["stats", *model, "--data", str(task.data), "--out", file, "--quiet"]
    if cell.method == "default":
        method = ["--method", "resample", "--set", f"statistics={file}"]
    return [write, [*erase, "--data", str(task.only), "--forget", FORGET, *method]]


def _names(network: Network, task: Task) -> list[str]:
    """A folder of one class tells no numbers: a transformers folder has them, others are told."""
    return ["--classes", str(task.classes)] if network.spec else []


def _request(cell: Cell, task: Task) -> list[str]:
    if cell.request == "class":
        return ["--forget", FORGET]
    if cell.request == "person":
        return ["--forget-data", str(task.person)]
    column = ["--id-column", "id"] if task.kind == "texts" else []
    return ["--forget-ids", str(task.ids), *column]


def _method(cell: Cell) -> list[str]:
    if cell.method == "default":
        return []
    if cell.method == "esc":
        return ["--method", "esc", "--rank", str(NETWORKS[cell.network].rank)]
    return ["--method", cell.method, "--lr", "0.02", "--epochs", "2"]
