"""`unspan export`."""

from __future__ import annotations

from unspan.cli import options as option
from unspan.errors import UsageError


def export(
    folder: option.ErasedFolder,
    out: option.OutExport,
    shape: option.Shape = None,
    trust_code: option.TrustCodeOfFolder = False,
    overwrite: option.OverwriteExport = False,
    debug: option.Debug = False,
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
