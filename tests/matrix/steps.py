"""The two halves of a cell, each for a process of its own."""

from __future__ import annotations

import io
import json
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import unspan
from matrix.cells import Cell
from matrix.networks import NETWORKS
from matrix.prepare import model_in, opened, rows_of, samples, scores, task_in
from matrix.requests import commands
from matrix.tasks import CLASSES, FORGET
from matrix.views import cast, difference, views
from unspan.artifact.deletion import Deletion
from unspan.errors import UnspanError

LOOKED_AT = 8  # samples whose outputs are compared
LEAST_BEFORE = 0.6  # accuracy on the class to forget that counts as recognised
MOST_LOST = 0.15  # accuracy that the other classes may lose, of 48 test samples
_RECORDED = "recorded.safetensors"


class Stopped(Exception):
    """A cell that does not work.

    Attributes:
        typed: the tool refused with an error of its own, which says what to do.
    """

    def __init__(self, said: str, *, typed: bool = False) -> None:
        super().__init__(said)
        self.typed = typed


def erase(cell: Cell, cache: Path, folder: Path) -> dict[str, Any]:
    """Run the commands of a cell; record what the erased model gives in this process."""
    torch.set_num_threads(1)
    model = model_in(cache, cell.network, cell.dtype)
    task = task_in(cache, NETWORKS[cell.network].task)
    inputs, _ = samples(task, opened(model).preprocess, "test")
    _record_on_save(rows_of(inputs, slice(LOOKED_AT)), folder / _RECORDED)
    for arguments in commands(cell, model, task, folder):
        _unspan(arguments)
    return {}


def check(cell: Cell, cache: Path, folder: Path) -> dict[str, Any]:
    """Load what was written, compare it with what was recorded, measure, verify and export."""
    torch.set_num_threads(1)
    network = NETWORKS[cell.network]
    source = opened(model_in(cache, cell.network, cell.dtype))
    task = task_in(cache, network.task)
    inputs, labels = samples(task, source.preprocess, "test")
    out = folder / "erased"
    model = unspan.load(out, trust_code=network.runs_code)
    seen = views(model, rows_of(inputs, slice(LOOKED_AT)))
    if differs := difference(load_file(folder / _RECORDED), seen):
        raise Stopped(f"the loaded model is not the one that was saved: {differs}")
    _check_dtype(model, cell.dtype)
    figures = _measured(source.model, model, inputs, labels)
    _judge(cell, figures, json.loads((out / "receipt.json").read_text("utf-8")))
    trust = ["--trust-code"] if network.runs_code else []
    _unspan(["verify", str(out), *trust])
    if cell.request == "class":  # how the samples were named makes no other graph
        figures["export"] = _export(model, cast(rows_of(inputs, slice(4)), model), folder)
    return figures


def _unspan(arguments: list[str]) -> None:
    """The command line in this process; an exit code other than 0 stops the cell."""
    from unspan.cli import main

    said = io.StringIO()
    before, sys.argv = sys.argv, ["unspan", *arguments]
    try:
        with redirect_stderr(said), redirect_stdout(io.StringIO()), warnings.catch_warnings():
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = before
    if code != 0:
        text = said.getvalue().strip()
        typed = code != 1 and not text.endswith("See unspan --help.")
        raise Stopped(f"{arguments[0]}, exit {code}: {text}", typed=typed)


def _record_on_save(inputs: Any, file: Path) -> None:
    publish = Deletion.save

    def save(self: Deletion, *given: Any, **named: Any) -> Path:
        save_file(views(self.model, inputs), file)
        return publish(self, *given, **named)

    Deletion.save = save  # type: ignore[method-assign]


def _check_dtype(model: nn.Module, dtype: str) -> None:
    for name, tensor in model.named_parameters():
        if tensor.dtype != getattr(torch, dtype):
            raise Stopped(f"{name} is {tensor.dtype}, the model was given in {dtype}")


def _measured(before: nn.Module, after: nn.Module, inputs: Any, labels: Tensor) -> dict[str, Any]:
    """Accuracy on test samples of the class to forget and of the others."""
    wanted = labels == CLASSES.index(FORGET)
    figures: dict[str, Any] = {}
    for name, model in (("before", before), ("after", after)):
        with torch.no_grad():
            right = scores(model, cast(inputs, model)).argmax(1) == labels
        figures[f"forget {name}"] = round(float(right[wanted].double().mean()), 3)
        figures[f"others {name}"] = round(float(right[~wanted].double().mean()), 3)
    return figures


def _judge(cell: Cell, figures: dict[str, Any], receipt: dict[str, Any]) -> None:
    """Whether the request was carried out, and nothing else with it."""
    before, after = figures["forget before"], figures["forget after"]
    if before < LEAST_BEFORE:
        raise Stopped(f"the network names only {before:.0%} of the class to begin with")
    if cell.request in ("class", "statistics") and after > (before + 1 / len(CLASSES)) / 2:
        raise Stopped(f"the class is still named: {before:.0%} before, {after:.0%} after")
    if figures["others before"] - figures["others after"] > MOST_LOST:
        raise Stopped(
            f"the other classes: {figures['others before']:.0%} before,"
            f" {figures['others after']:.0%} after, and nothing was said"
        )
    if receipt["method"]["name"] in ("esc", "resample") and "erased" not in (
        receipt["access_paths"].values()
    ):
        raise Stopped(f"no way to the features is erased: {receipt['access_paths']}")


def _export(model: nn.Module, inputs: Any, folder: Path) -> str:
    """`works`, or why not; only an error without a name stops the cell."""
    try:
        unspan.export(model, inputs, folder / "model.pt2", format="pt2")
    except UnspanError as error:
        return f"refused: {error}"
    return "works"
