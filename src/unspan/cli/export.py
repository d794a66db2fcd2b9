"""`unspan export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unspan.errors import UsageError


def export(
    folder: Annotated[Path, typer.Argument(help="Folder written by unspan erase.")],
    out: Annotated[Path, typer.Option(help="File to write: NAME.onnx or NAME.pt2 (torch.export).")],
    shape: Annotated[
        str | None,
        typer.Option(
            help="Shape of one input, for example 3,224,224; by default as it was erased."
        ),
    ] = None,
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code", help="Run the code that the folder names to build its python: model."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an exported file.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Export an erased model to ONNX or torch.export, and compare the file with the model."""
    import torch

    from unspan.artifact import inspect as read
    from unspan.artifact import load, private_folder
    from unspan.artifact.export_formats import FORMATS
    from unspan.artifact.exporter import check_export
    from unspan.artifact.exporter import export as write

    format = out.suffix.removeprefix(".")
    if format not in FORMATS:
        endings = " or ".join(f".{name}" for name in FORMATS)
        raise UsageError(f"--out {out}: the name must end in {endings}.")
    read_from = [folder, private_folder(folder)]
    check_export(out, format, overwrite=overwrite, inputs=read_from)
    account = read(folder)
    try:
        size = [int(part) for part in shape.split(",")] if shape else account["model"].get("input")
    except ValueError as error:
        raise UsageError(f"--shape {shape}: use whole numbers, for example 3,224,224.") from error
    if not size:
        raise UsageError(
            "The shape of one input is not known; pass --shape, or use unspan.export in Python for"
            " dict inputs."
        )
    inputs = torch.randn(4, *size, generator=torch.Generator().manual_seed(0))
    difference = write(load(folder, trust_code=trust_code), inputs, out, format=format)
    print(f"{out}: largest difference to the model {difference:.2e}")
