"""`unspan recheck`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from unspan.cli import options as option
from unspan.errors import InconclusiveError

_BACK = 6


def recheck(
    model: Annotated[
        str,
        typer.Argument(
            help=(
                "The new model: timm:NAME, torchvision:NAME, transformers:FOLDER_OR_ID,"
                " python:pkg.mod:factory, or an unspan folder."
            )
        ),
    ],
    deletion: Annotated[Path, typer.Option(help="Folder written by unspan erase.")],
    data: Annotated[str, typer.Option(help="Labelled data with samples of the request.")],
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    debug: option.Debug = False,
) -> None:
    """Say whether later training, merging or quantisation brought back what was erased.

    Exit codes: 0 suppressed, 6 back, 7 cannot tell.
    """
    options = dict(locals()) | {"settings": None}
    from unspan.artifact import inspect
    from unspan.cli import render
    from unspan.cli.opening import open_model
    from unspan.cli.request import open_request
    from unspan.erasure.rechecking import recheck as run
    from unspan.run import Run

    receipt = inspect(deletion)
    if not (forget or forget_index or forget_ids or forget_data):
        options["forget"] = [str(one) for one in receipt["request"]["selector"]]
        if receipt["request"]["kind"] != "class":
            options["forget"] = None
    opened = open_model(options)
    splits, _ = open_request(options, opened)
    settings = Run(batch_size=batch_size, device=device, workers=workers, seed=seed)
    found = run(opened.model, deletion, splits, settings, trust_code=trust_code)
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        out = render.console(quiet=False)
        render.facts(out, "Recheck", [("state", found.state)])
        render.bullets(out, "Reasons", list(found.reasons))
    if found.state == "back":
        raise typer.Exit(_BACK)
    if found.state == "cannot tell":
        raise typer.Exit(InconclusiveError.exit_code)
