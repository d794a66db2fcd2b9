"""Formats of galleries, by the ending of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any, BinaryIO, cast

from torch import Tensor

from unspan.errors import UsageError
from unspan.galleries.columns import Columns
from unspan.galleries.row_change import RowChange

Ids = Sequence[Any] | range
Rewrite = Callable[[BinaryIO, BinaryIO, RowChange, Columns], None]
Read = Callable[[BinaryIO, int, Columns], Iterator[tuple[Ids, Tensor]]]
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
    return cast(Rewrite, _home(name).rewrite)


def reader(name: str) -> Read:
    """What reads ids and vectors `[n, d]` of a file of this name in parts, from the file, d and the
    columns; rows without a vector are left out.

    Raises:
        UsageError: the ending is of no format, or its library is missing.
    """
    return cast(Read, _home(name).read)


def _home(name: str) -> ModuleType:
    """The module of a format."""
    home = _HOMES.get(PurePosixPath(name).suffix.lower())
    if home is None:
        raise UsageError(f"{name}: a gallery ends in {', '.join(ENDINGS)}.")
    try:
        return import_module(f"unspan.galleries.{home}")
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(home, "all")
        raise UsageError(f"{name} needs {error.name}: pip install 'unspan[{extra}]'.") from error
