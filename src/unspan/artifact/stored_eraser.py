"""The eraser of a saved deletion, read without building its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from unspan.artifact.inspection import inspect
from unspan.artifact.layout import KEY, STATE, WEIGHTS, private_digest, private_folder
from unspan.artifact.layout import private_hashes as hashes_of
from unspan.artifact.publish import belongs
from unspan.artifact.read import eraser_in
from unspan.erasers import Eraser, from_buffers
from unspan.errors import ModelError, UsageError
from unspan.models import read_safetensors


def stored_eraser(path: Path) -> tuple[Eraser, dict[str, Any]]:
    """The map on features of all requests of a folder, and its receipt.

    Where the model carries the eraser as a module, this is that module. Where weights took it up,
    it is read from the private folder.

    Raises:
        UsageError: not an unspan folder, a method that changed the weights, or the private folder
            is needed and missing.
        ModelError: a file is damaged.
    """
    account = inspect(path)
    placement = account["placement"]
    if placement["eraser"] is None:
        raise UsageError(
            f"{path} was made by {account['method']['name']}, which changed the weights: there is"
            " no map on features. Embed the samples of the gallery again with the erased model."
        )
    if placement["kind"] == "hook":
        return _aligned(eraser_in(read_safetensors(path / WEIGHTS), placement["eraser"])), account
    return _aligned(_private_eraser(path, placement["eraser"])), account


def _aligned(eraser: Eraser) -> Eraser:
    """The eraser with buffers in memory of their own.

    Those of a file begin at any byte, and matrix products then differ in the last digits.
    """
    for module in eraser.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.clone())  # a buffer again: nn.Module sees to it
    return eraser


def _private_eraser(path: Path, kind: str) -> Eraser:
    """The eraser that weights took up, from the private folder."""
    folder = private_folder(path)
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is missing: the weights of {path} took the eraser up, and only the private"
            " folder still tells it. Bring that folder back, or erase again."
        )
    if not belongs(folder, path):
        raise ModelError(f"{folder} belongs to other weights than {path}. Take both from one run.")
    try:
        state = load_file(folder / STATE)
        key = (folder / KEY).read_bytes()
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder} cannot be read ({error}). Take it from its source.") from error
    if hashes_of(folder).get("digest") != private_digest(state, key):
        raise ModelError(f"{folder} was changed after it was written. Take it from its source.")
    state.pop("undo", None)
    return from_buffers(kind, state)
