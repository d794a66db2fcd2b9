"""Options of the commands of `unspan bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", help="Folder of results; several processes and machines may share it."
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Specs = Annotated[
    list[str],
    typer.Argument(
        help=(
            "Names of specs that come with unspan (unspan bench list), or TOML files; all for"
            " every one of them."
        )
    ),
]
OneSpec = Annotated[
    str, typer.Argument(help="Name of a spec that comes with unspan, or a TOML file.")
]
To = Annotated[
    Path,
    typer.Option("--to", help="Folder to write to; a spec gets a folder of its name in it."),
]
SpecsToShow = Annotated[
    list[str] | None,
    typer.Argument(help="Specs to show, by name or TOML file; all that were run by default."),
]
Budget = Annotated[
    str,
    typer.Option(
        help="smoke (digits, minutes), cpu (reduced, hours), full (all samples; most specs with"
        " trials, some with three seeds) or paper (the paper's settings)."
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(help="Folder with a folder for each dataset; else $UNSPAN_DATA, else the hub."),
]
Original = Annotated[
    list[Path] | None,
    typer.Option(
        help=(
            "Weights (safetensors) of the original model; else it is trained and kept. Give it"
            " again for further seeds of its row: methods start from the first."
        )
    ),
]
Retrained = Annotated[
    list[Path] | None,
    typer.Option(
        help=(
            "Weights of the model retrained without the forget data; else it is trained and kept."
            " Give it again for further seeds of its row."
        )
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help=(
            "Add a row for this method: a name of unspan methods, or python:FILE.py:CLASS. May be"
            " given several times."
        ),
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="List the cells with their state and an estimate of the cost, and stop.",
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Compute cells again that ended with an error.")
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1, mps; under torchrun each process takes its own GPU."),
]
BatchSize = Annotated[int, typer.Option(help="Samples a forward pass.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
