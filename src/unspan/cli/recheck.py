"""`unspan recheck`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

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
    weights: Annotated[Path | None, typer.Option(help="Weights, .safetensors.")] = None,
    num_classes: Annotated[int | None, typer.Option(help="Outputs of the model.")] = None,
    trust_code: Annotated[
        bool,
        typer.Option("--trust-code", help="Run the code that a folder names to build its model."),
    ] = False,
    split: Annotated[str, typer.Option(help="Split to read.")] = "train",
    image_column: Annotated[str | None, typer.Option()] = None,
    text_column: Annotated[str | None, typer.Option()] = None,
    label_column: Annotated[str | None, typer.Option()] = None,
    id_column: Annotated[str | None, typer.Option(help="Column of --forget-ids.")] = None,
    classes: Annotated[
        Path | None, typer.Option(help="Names of the model's outputs, one a line in order.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Resize and crop to this size.")] = None,
    mean: Annotated[str | None, typer.Option(help="Normalisation mean.")] = None,
    std: Annotated[str | None, typer.Option(help="Normalisation deviation.")] = None,
    forget: Annotated[
        list[str] | None,
        typer.Option(help="Class of the request; by default as the receipt says."),
    ] = None,
    forget_index: Annotated[str | None, typer.Option(help="Positions: 3,17,20-29.")] = None,
    forget_ids: Annotated[Path | None, typer.Option(help="File of ids of the samples.")] = None,
    forget_data: Annotated[str | None, typer.Option(help="Data that were erased.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps.")] = None,
    batch_size: Annotated[int, typer.Option()] = 64,
    workers: Annotated[int, typer.Option(help="Loader processes.")] = 0,
    seed: Annotated[int, typer.Option()] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
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
