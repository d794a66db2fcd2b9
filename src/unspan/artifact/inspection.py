"""The receipt of a folder, and whether the receipt and the weights are as they were written."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from unspan.artifact.layout import RECEIPT, WEIGHTS, private_folder, private_hashes
from unspan.errors import ModelError, OtherVersionError, UsageError
from unspan.system import schemas
from unspan.system.digests import file_hash, state_hash

# what every receipt has, and reading a folder needs
_PARTS = {
    "files": (WEIGHTS,),
    "model": ("class", "sha256_after"),
    "placement": ("kind", "eraser", "feature_layer", "where"),
    "request": ("kind", "selector", "classes"),
    "method": ("name", "fit"),
}


class Damage(Enum):
    """Which file of a folder is not as it was written."""

    RECEIPT = "receipt"
    WEIGHTS = "weights"


def inspect(path: str | Path) -> dict[str, Any]:
    """The receipt of a folder, after checking that the weights are the ones it describes.

    Raises:
        UsageError: not an unspan folder.
        OtherVersionError: another version of unspan wrote it.
        ModelError: the receipt is damaged, or of other weights.
    """
    path = Path(path)
    account = _parsed(path)
    weights = path / WEIGHTS
    if not weights.is_file():
        raise ModelError(f"{weights} is missing. Take the folder from its source again.")
    if "sha256:" + file_hash(weights) == account["files"][WEIGHTS]:
        return account
    if _blamed(path, account) is Damage.RECEIPT:
        raise ModelError(
            f"{path / RECEIPT} is damaged: its hash of {WEIGHTS} is wrong, and the weights are as"
            " they were written. Take the receipt from its source again."
        )
    raise ModelError(
        f"{weights} is not the file this receipt describes. Take the folder from its source again."
    )


def damage_of(path: str | Path) -> Damage | None:
    """Which of the receipt and the weights of a folder is damaged; None where neither is known to
    be.

    The private folder tells where it is there: it holds the hashes of both. Without it the two
    hashes of the weights in the receipt are compared with the weights, one of the file and one of
    the tensors. An edit that leaves both right is found with the private folder only.

    Raises:
        UsageError: not an unspan folder.
        OtherVersionError: another version of unspan wrote it.
    """
    path = Path(path)
    try:
        account = _parsed(path)
    except OtherVersionError:
        raise
    except ModelError:
        return Damage.RECEIPT
    return _blamed(path, account)


def _blamed(path: Path, account: dict[str, Any]) -> Damage | None:
    weights = path / WEIGHTS
    if not weights.is_file():
        return Damage.WEIGHTS
    file = "sha256:" + file_hash(weights)
    named = account["files"][WEIGHTS] == file
    written = private_hashes(private_folder(path))
    receipt = written.get("receipt")
    if receipt == "sha256:" + file_hash(path / RECEIPT):
        return None if named else Damage.WEIGHTS
    if receipt is not None and written.get("model") == file:
        return Damage.RECEIPT
    held = account["model"]["sha256_after"] == _hash_of_tensors(weights)
    if named and held:
        return None
    return Damage.RECEIPT if named or held else Damage.WEIGHTS


def _hash_of_tensors(weights: Path) -> str | None:
    try:
        return state_hash(load_file(weights))
    except (SafetensorError, OSError, ValueError):
        return None


def _parsed(path: Path) -> dict[str, Any]:
    """The receipt of a folder with every part that reading needs.

    Raises:
        UsageError: not an unspan folder.
        OtherVersionError: another version of unspan wrote it.
        ModelError: the receipt is damaged.
    """
    file = path / RECEIPT
    if not file.is_file():
        raise UsageError(f"{path} is not an unspan folder: no {RECEIPT} in it.")
    try:
        account: dict[str, Any] = json.loads(file.read_text("utf-8"))
        schema = account["schema"]
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file} is damaged ({error}). Write the folder again.") from error
    if schema != schemas.RECEIPT.schema:
        raise OtherVersionError(
            f"{file} has schema {schema!r}; this version reads {schemas.RECEIPT.schema}."
            " Update unspan for a newer folder; for an older one, erase again from the original"
            " model."
        )
    missing = _missing(account)
    if missing:
        raise ModelError(f"{file} is damaged (it has no {missing}). Write the folder again.")
    return account


def _missing(account: dict[str, Any]) -> str | None:
    """The first part of a receipt that is not there."""
    for part, names in _PARTS.items():
        held = account.get(part)
        for name in names:
            if not isinstance(held, dict) or name not in held:
                return f"{part}.{name}"
    return None if isinstance(account.get("form"), str) else "form"
