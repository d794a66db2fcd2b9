"""`unspan recheck`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from unspan.cli import options as option
from unspan.errors import InconclusiveError

if TYPE_CHECKING:
    from unspan.erasure.rechecking import Recheck

_BACK = 6


def recheck(
    model: option.NewModel,
    deletion: option.DeletionFolder,
    data: option.DataOfRequest,
    weights: option.Weights = None,
    num_classes: option.NumClasses = None,
    trust_code: option.TrustCode = False,
    split: option.Split = "train",
    image_column: option.ImageColumn = None,
    text_column: option.TextColumn = None,
    label_column: option.LabelColumn = None,
    id_column: option.IdColumn = None,
    classes: option.Classes = None,
    size: option.Size = None,
    mean: option.Mean = None,
    std: option.Std = None,
    forget: option.ForgetOfReceipt = None,
    forget_index: option.ForgetIndex = None,
    forget_ids: option.ForgetIds = None,
    forget_data: option.ForgottenData = None,
    device: option.Device = None,
    batch_size: option.BatchSize = 64,
    workers: option.Workers = 0,
    seed: option.Seed = 0,
    as_json: option.ResultAsJson = False,
    debug: option.Debug = False,
) -> None:
    """Say whether later training, merging or quantisation brought back what was erased.

    Exit codes: 0 suppressed, 6 back, 7 cannot tell.
    """
    found = _found(dict(locals()) | {"settings": None})
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        _show(found)
    if found.state == "back":
        raise typer.Exit(_BACK)
    if found.state == "cannot tell":
        raise typer.Exit(InconclusiveError.exit_code)


def _found(o: dict[str, Any]) -> Recheck:
    from unspan.artifact import inspect
    from unspan.cli.opening import open_model
    from unspan.cli.request import open_request
    from unspan.erasure.rechecking import recheck as run
    from unspan.run import Run

    asked = inspect(o["deletion"])["request"]
    if not (o["forget"] or o["forget_index"] or o["forget_ids"] or o["forget_data"]):
        of_class = asked["kind"] == "class"
        o["forget"] = [str(one) for one in asked["selector"]] if of_class else None
    opened = open_model(o)
    request, _ = open_request(o, opened)
    settings = Run(
        batch_size=o["batch_size"], device=o["device"], workers=o["workers"], seed=o["seed"]
    )
    return run(opened.model, o["deletion"], request, settings, trust_code=o["trust_code"])


def _show(found: Recheck) -> None:
    from unspan.cli import render

    out = render.console(quiet=False)
    render.facts(out, "Recheck", [("state", found.state)])
    render.bullets(out, "Reasons", list(found.reasons))
