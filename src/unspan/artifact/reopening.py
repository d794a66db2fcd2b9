"""A deletion from its folder, to take a further request."""

from __future__ import annotations

from pathlib import Path

from unspan.artifact import receipt as receipts
from unspan.artifact.deletion import Deletion
from unspan.artifact.layout import private_folder
from unspan.artifact.private import read_private
from unspan.artifact.read import load
from unspan.artifact.record import RECORD, Record
from unspan.errors import ModelError, UsageError
from unspan.extraction import unwrap
from unspan.sealing.checking import require_sealed
from unspan.sealing.manifest import read_manifest


def reopen(path: Path, *, trust_code: bool = False) -> Deletion:
    """The deletion of a folder, with its private state when that is still there, to take a further
    request.

    Raises:
        ModelError: a file of the folder is not as it was sealed, or its private state is not of it.
        UsageError: the private state is needed and missing.
    """
    require_sealed(path, "deletion")
    manifest = read_manifest(path)
    model = load(path, trust_code=trust_code)
    inner = unwrap(model)
    record: Record = vars(inner)[RECORD]  # `load` put it there
    recipe = record.receipt["model"]["recipe"]
    private = read_private(path, record.receipt["placement"], inner, record.feature_layer)
    if private.problem is not None:
        raise ModelError(
            f"{private.problem}. Take both folders from the same run, or erase again from the"
            " original."
        )
    key = private.key or receipts.new_key()
    if record.placement == "trained":
        return Deletion(model, record.receipt, None, key, None, recipe, manifest=manifest)
    eraser = private.eraser or record.eraser
    if eraser is None:
        raise UsageError(
            f"{private_folder(path)} is missing: the directions of the earlier request are not"
            " known, and a further request could bring it back. Erase both requests from the"
            " original model."
        )
    return Deletion(model, record.receipt, eraser, key, private.undo, recipe, manifest=manifest)
