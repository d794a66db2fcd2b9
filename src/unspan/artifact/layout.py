"""What lies in a folder of an erased model, and what lies beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from unspan.sealing.manifest import MANIFEST
from unspan.system.digests import state_hash

WEIGHTS, RECEIPT, CARD = "model.safetensors", "receipt.json", "README.md"
STATE, KEY = "state.safetensors", "key"
SEALED = (WEIGHTS, RECEIPT, CARD)  # what the manifest of a folder covers
PUBLIC = (*SEALED, MANIFEST)
PRIVATE = (STATE, KEY, MANIFEST)


def private_folder(path: Path) -> Path:
    """Where the secrets of a folder are kept: beside it, not in it."""
    return path.with_name(path.name + ".private")


def private_hashes(secret: Path) -> dict[str, str]:
    """Hashes that a private folder was written with; empty where it cannot be read.

    Returns:
        `model` and `receipt`: of the two public files; `digest`: of its own content.
    """
    try:
        with safe_open(secret / STATE, "pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError, ValueError):
        return {}


def private_digest(state: Mapping[str, Tensor], key: bytes) -> str:
    """Hash of the private state and the key, so that damage to either is noticed."""
    return hashlib.sha256(state_hash(state).encode() + hashlib.sha256(key).digest()).hexdigest()
