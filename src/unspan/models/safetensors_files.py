"""Read safetensors files, where nothing in a file is executed, and refuse files of other kinds."""

from __future__ import annotations

import json
import pickletools
import re
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unspan.errors import ModelError, UnsafeFileError, UsageError

_MAX_HEADER = 2**24  # bytes: about 150,000 tensors
_DTYPES = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64} | {
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or all shards of its `*.index.json`; told apart by content, not by
    name.

    Returns:
        Tensors on the CPU, backed by the file: copy before writing to them.

    Raises:
        UsageError: No such file.
        ModelError: A damaged or ambiguous file, unusable dtypes, or values that are not finite;
            names the tensor.
        UnsafeFileError: Not a regular file, a pickle or archive, or shards outside the folder.
    """
    path = Path(path)
    head = _head(path)
    if not head.startswith(b"{") or b"\0" in head[:8]:
        return _read_one(path, head)
    state: dict[str, Tensor] = {}
    for name in _shard_names(path):
        shard = _read_one(path.parent / name, _head(path.parent / name))
        if twice := state.keys() & shard.keys():
            raise ModelError(
                f"{path.name}: tensor {min(twice)!r} is in more than one shard. Get the files"
                " again."
            )
        state |= shard
    return state


def check_state(state: Mapping[str, Tensor], where: str) -> None:
    """Refuse tensors that are not read from a file again, so that they are not written either.

    Args:
        state: tensors by name.
        where: the file or model, for messages.

    Raises:
        ModelError: names the tensor.
    """
    for name, tensor in state.items():
        if len(name) > 512 or not name.isprintable():
            raise ModelError(
                f"{where}: tensor name {name[:40]!r} is too long or has control characters. Rename"
                " the module it belongs to."
            )
        if tensor.dtype not in _DTYPES:
            raise ModelError(
                f"{where}: tensor {name!r} is {tensor.dtype}, which no file is read with: convert"
                " it (a quantised one: dequantise) first"
            )
        if max(tensor.shape, default=0) >= 2**31:
            raise ModelError(
                f"{where}: tensor {name!r} has shape {list(tensor.shape)}; an axis holds fewer than"
                " 2**31 entries. Get the file again."
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(
                f"{where}: tensor {name!r} has NaN or infinite values. Give finite weights."
            )


def _head(path: Path) -> bytes:
    """Return the first bytes of a regular file."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise UnsafeFileError(f"{path.name} is not a regular file: give a .safetensors file")
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}. Give an existing .safetensors file."
        ) from error


def _is_archive(head: bytes) -> bool:
    """Whether `head` starts a zip, gzip, tar or pickle; pickle opcodes are parsed, never
    executed.
    """
    if head.startswith((b"PK", b"\x1f\x8b")) or head[257:262] == b"ustar":
        return True
    try:
        opcodes = pickletools.genops(head)
        return all(next(opcodes) for _ in range(3))
    except (ValueError, StopIteration):
        return False


def _read_one(path: Path, head: bytes) -> dict[str, Tensor]:
    if head[8:9] != b"{" and _is_archive(head):
        raise unsafe(path, "is an archive or a pickle, which can run code when it is read")
    _check_header(path, int.from_bytes(head[:8], "little"))
    try:
        state = load_file(path)
    except (SafetensorError, KeyError, ValueError, RuntimeError, OverflowError) as error:
        raise ModelError(
            f"{path.name} is not a valid safetensors file: {error}. Get the file again."
        ) from error
    check_state(state, path.name)
    return state


def _check_header(path: Path, length: int) -> None:
    """Refuse what safetensors lets pass, a name given twice, and huge headers before they are
    read.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        name, times = Counter(key for key, _ in pairs).most_common(1)[0] if pairs else ("", 1)
        if times > 1:
            raise ModelError(
                f"{path.name}: {name[:100]!r} is in the header {times} times. Get the file again."
            )
        return dict(pairs)

    if not 2 <= length <= min(_MAX_HEADER, path.stat().st_size - 8):
        raise ModelError(
            f"{path.name} is not a safetensors file, or is cut off: its header would be {length}"
            " bytes. Get the file again."
        )
    with path.open("rb") as file:
        file.seek(8)
        try:
            json.loads(file.read(length).decode("utf-8"), object_pairs_hook=unique)
        except (ValueError, RecursionError) as error:
            raise ModelError(
                f"{path.name}: the safetensors header is not valid JSON: {error}. Get the file"
                " again."
            ) from error


def _shard_names(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _MAX_HEADER:
            raise ValueError("too large")
        names = sorted(set(json.loads(path.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path.name} is not an index of safetensors shards: {error}. Give a .safetensors file"
            " or its .safetensors.index.json."
        ) from error
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
            raise UnsafeFileError(
                f"{path.name} points to {str(name)[:200]!r}: shards must be files of the same"
                " folder"
            )
    return names


def unsafe(path: Path, reason: str) -> UnsafeFileError:
    """Say why a file is refused, and how to convert it."""
    return UnsafeFileError(
        f"{path.name} {reason}. Convert weights you trust once, where you made them:\n"
        f'  state = torch.load("{path.name}", weights_only=True)\n'
        '  safetensors.torch.save_file(state, "model.safetensors")'
    )
