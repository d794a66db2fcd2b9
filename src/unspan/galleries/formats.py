"""Formats of galleries, by the ending of a file."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from unspan.errors import UsageError
from unspan.galleries.columns import Columns
from unspan.galleries.row_change import RowChange

Rewrite = Callable[[BinaryIO, BinaryIO, RowChange, Columns], None]
_HOMES = {
    ".npy": "npy_file",
    ".safetensors": "safetensors_file",
    ".parquet": "parquet_file",
    ".arrow": "arrow_file",
    ".feather": "arrow_file",
    ".faiss": "faiss_file",
    ".index": "faiss_file",
}
_EXTRAS = {"parquet_file": "galleries", "arrow_file": "galleries", "faiss_file": "faiss"}
ENDINGS = tuple(_HOMES)


def is_gallery(name: str) -> bool:
    """Whether a file has a format of galleries, by its ending."""
    return PurePosixPath(name).suffix.lower() in _HOMES


def rewriter(name: str) -> Rewrite:
    """What writes a file of this name anew.

    Raises:
        UsageError: the ending is of no format, or its library is missing.
    """
    home = _HOMES.get(PurePosixPath(name).suffix.lower())
    if home is None:
        raise UsageError(f"{name}: a gallery ends in {', '.join(ENDINGS)}.")
    try:
        found = import_module(f"unspan.galleries.{home}")
    except ModuleNotFoundError as error:
        raise UsageError(f"{name} needs {error.name}: pip install 'unspan[galleries]'.") from error
    return cast(Rewrite, found.rewrite)
