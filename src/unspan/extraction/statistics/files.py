"""The file format of statistics: one safetensors file of tensors, with a digest in its metadata."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unspan.errors import ModelError, OutputError, UsageError
from unspan.system.digests import state_hash
from unspan.system.output_paths import check_file
from unspan.system.schemas import STATISTICS

_FAMILY, _, _ = STATISTICS.schema.rpartition("/")  # of every version
_DIGESTED = ("schema", "length", "model")  # metadata that every file has
_DIGESTED_IF_THERE = ("classes",)


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a file that only its owner can read; it replaces an earlier one when it is complete.

    Args:
        path: of the file.
        tensors: by name.
        metadata: without the schema, which is added.

    Raises:
        UsageError: another kind of file is there.
        OutputError: the file cannot be written.
    """
    check_file(path, is_file_of_statistics, what="a file of statistics", overwrite=True)
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    metadata = {"schema": STATISTICS.schema} | metadata
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    try:
        save_file(whole, part, metadata=metadata | {"digest": digest(tensors, metadata)})
        os.chmod(part, 0o600)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise OutputError(f"{path} cannot be written: {reason}.") from error


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name and metadata of a file of this version, its digest checked.

    Raises:
        UsageError: no such file.
        ModelError: not a file of statistics, of another version, or damaged.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no file of statistics; write one with unspan stats.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from error
    if metadata.get("schema") != STATISTICS.schema:
        raise ModelError(
            f"{path} has schema {metadata.get('schema')!r}, and this version reads"
            f" {STATISTICS.schema}. Files of other versions cannot be converted: write it again"
            " with unspan stats."
        )
    if metadata.get("digest") != digest(tensors, metadata):
        raise ModelError(
            f"{path} was changed after it was written: its content does not match its digest."
            " Write it again with unspan stats."
        )
    return tensors, metadata


def damaged(path: Path, error: Exception) -> ModelError:
    """The error for a file that cannot be read, or lacks a part."""
    return ModelError(
        f"{path} is damaged or no file of statistics ({error}). Write it again with unspan stats."
    )


def is_file_of_statistics(path: Path) -> bool:
    """Whether a file holds statistics, of this version or another."""
    try:
        with safe_open(path, "pt") as file:
            return str((file.metadata() or {}).get("schema")).startswith(f"{_FAMILY}/")
    except (SafetensorError, OSError):
        return False


def digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Hash of all that a file holds; it catches damage, not whoever writes a new file."""
    keys = [*_DIGESTED, *(key for key in _DIGESTED_IF_THERE if key in metadata)]
    said = {f"{key}={metadata.get(key)}": torch.empty(0) for key in keys}
    return state_hash(tensors | said)
