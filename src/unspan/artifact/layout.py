"""What lies in a folder of an erased model, and what lies beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path

WEIGHTS, RECEIPT, CARD = "model.safetensors", "receipt.json", "README.md"


def private_folder(path: Path) -> Path:
    """Where the secrets of a folder are kept: beside it, not in it."""
    return path.with_name(path.name + ".private")


def file_hash(path: Path) -> str:
    """sha256 of a file, as hexadecimal digits."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()
