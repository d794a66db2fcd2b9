"""The stored samples of a table: images or texts in a column, read one by one as Arrow."""

import bisect
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from unspan.data.images import decode_image, printable
from unspan.data.source import MOST_READ
from unspan.errors import DataError, UsageError

Parts = list[tuple[int, str]]
"""First row and name of each stored piece of a split, in order."""


@dataclass(frozen=True)
class TableRows:
    """Rows kept in one column of a table; subclasses say what a stored value is.

    Attributes:
        dataset: a `datasets.Dataset` with the "arrow" format; it pickles as the paths of its files.
        column: of the samples.
        id_column: of the ids, None without one.
        parts: the stored pieces of the split.
    """

    dataset: Any
    column: str
    id_column: str | None
    parts: Parts
    # the sample that was read last: its content and its digest are asked for one after the other
    _last: list[tuple[int, Any]] = field(default_factory=list, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, i: int) -> str:
        first, part = self.parts[bisect.bisect_right(self.parts, i, key=lambda part: part[0]) - 1]
        return f"{printable(part)} row {i - first}"

    def ids(self) -> list[str] | None:
        return (
            None
            if self.id_column is None
            else [str(value) for value in column_values(self.dataset, self.id_column)]
        )

    def contents(self) -> list[Any] | None:
        column = self.dataset.select_columns([self.column]).with_format("arrow")[:][self.column]
        column = column.combine_chunks()
        if column.nbytes > MOST_READ:
            return None
        if "bytes" in {field.name for field in _fields(column.type)}:
            column = column.field("bytes")
        codes: list[Any] = column.dictionary_encode().indices.to_pylist()
        return [f"empty {i}" if code is None else code for i, code in enumerate(codes)]

    def _stored(self, i: int) -> Any:
        last = self._last[-1:]
        if not last or last[0][0] != i:
            last = [(i, self.dataset[i][self.column][0].as_py())]
            self._last[:] = last
        return last[0][1]


class ImageRows(TableRows):
    """Encoded images in a column."""

    def raw(self, i: int) -> bytes:
        stored = self._stored(i)
        data, path = (
            (stored["bytes"], stored["path"]) if isinstance(stored, Mapping) else (stored, None)
        )
        if data is None and path is not None and _in_hub_cache(path):
            data = Path(path).read_bytes()
        if data is None:
            raise DataError(
                f"{self.name(i)}: no image bytes in column {self.column!r}; store the images in the"
                " table"
            )
        return bytes(data)

    def load(self, i: int) -> tuple[Image.Image, str | None]:
        return decode_image(self.raw(i), self.name(i))

    def paths(self) -> list[str | None]:
        return [
            value["path"] if isinstance(value, Mapping) else None
            for value in column_values(self.dataset, self.column)
        ]


class TextRows(TableRows):
    """Texts in a column."""

    def raw(self, i: int) -> bytes:
        return self.load(i)[0].encode()

    def load(self, i: int) -> tuple[str, None]:
        text = self._stored(i)
        if text is None:
            raise DataError(f"{self.name(i)}: no text in column {self.column!r}; remove the row")
        return text, None

    def paths(self) -> list[str | None]:
        return [None] * len(self)


def _fields(kind: Any) -> list[Any]:
    """Parts of an Arrow struct type, none of any other type."""
    return [kind.field(at) for at in range(kind.num_fields)]


def column_values(dataset: Any, column: str) -> list[Any]:
    """All values of a column as plain Python values."""
    values: list[Any] = dataset.select_columns([column]).with_format("arrow")[:][column].to_pylist()
    return values


def _in_hub_cache(path: str) -> bool:
    """Say whether `path` is an existing file of the hub's cache: a table must not make us read any
    other file.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    caches = (HF_HUB_CACHE, datasets_library().config.HF_DATASETS_CACHE)
    inside = any(
        os.path.realpath(path).startswith(os.path.realpath(cache) + os.sep) for cache in caches
    )
    return inside and os.path.isfile(path)


def datasets_library() -> ModuleType:
    """The datasets library; UsageError says how to install it where it is missing."""
    try:
        import datasets
    except ImportError:
        raise UsageError(
            "tables and hub ids need the datasets library: pip install 'unspan[data]'"
        ) from None
    module: ModuleType = datasets
    return module
