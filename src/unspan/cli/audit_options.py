"""Options of `unspan audit` alone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from unspan.cli.options import DATA, MODEL, RUN

Before = Annotated[
    str,
    typer.Argument(
        help=(
            "The original: timm:NAME, torchvision:NAME, transformers:FOLDER_OR_ID,"
            " sentence-transformers:FOLDER_OR_ID or python:pkg.mod:factory; with --outputs a"
            " .npz file."
        )
    ),
]
After = Annotated[
    Path,
    typer.Argument(
        help=(
            "The erased model: an unspan folder, or weights (.safetensors) of the same"
            " architecture; with --outputs a .npz file."
        )
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        help=(
            "Folder of images (class/*.jpg), Parquet file or folder, Hugging Face id, or"
            " python:pkg.mod:factory; with a test split if there is one. Needed without --outputs."
        ),
        rich_help_panel=DATA,
    ),
]
Outputs = Annotated[
    bool,
    typer.Option(
        "--outputs",
        help=(
            "BEFORE, AFTER and every --reference are .npz files of outputs, for models that are not"
            " here: behind an API, in ONNX, in another framework."
        ),
        rich_help_panel=MODEL,
    ),
]
Out = Annotated[Path, typer.Option(help="Folder to write: report.html, report.md, audit.json.")]
References = Annotated[
    list[Path] | None,
    typer.Option(
        help=(
            "Weights (or outputs) of a model trained without the forgotten data (repeat)."
            " Three or more; without any almost nothing can be decided."
        ),
        rich_help_panel=MODEL,
    ),
]
FailOn = Annotated[
    str,
    typer.Option(
        help=(
            "never, retained (exit 6) or inconclusive (also exit 7), so that a release can be"
            " gated."
        ),
        rich_help_panel=RUN,
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help=(
            "Folder for model outputs, so that a second audit runs no forward pass; holds"
            " features of your data."
        ),
        rich_help_panel=RUN,
    ),
]
Pictures = Annotated[bool, typer.Option(help="Draw t-SNE embeddings.", rich_help_panel=RUN)]
IncludeImages = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help=(
            "Show N forgotten test images with the regions either model uses (needs captum)."
            " Without it the report holds no image."
        ),
        rich_help_panel=RUN,
    ),
]
By = Annotated[str, typer.Option(help="Who makes the audit, for the report.")]
ValidUntil = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="Last day on which the report may be used."),
]
AllowOverlap = Annotated[
    bool,
    typer.Option(
        "--allow-overlap",
        help="Go on when test samples stand in the training data.",
        rich_help_panel=RUN,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace an earlier audit in --out.", rich_help_panel=RUN),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print audit.json on standard output.")]
