"""Read a gallery: its files, and the ids and vectors in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from unspan.errors import DataError, UsageError
from unspan.galleries.columns import Columns
from unspan.galleries.formats import is_gallery, reader, rewriter
from unspan.galleries.places import Place


def gallery_files(source: Place) -> list[str]:
    """Names of the files in a folder; "" stands for a gallery of one file.

    Raises:
        UsageError: there are none, or the library of a format is missing.
    """
    if not source.is_folder():
        rewriter(source.name)
        return [""]
    found = [one for one in source.files() if is_gallery(one)]
    if not found:
        raise UsageError(f"{source.path} holds no file of vectors.")
    for one in found:
        rewriter(one)
    return found


def parts_of(source: Place, dim: int, columns: Columns) -> Iterator[tuple[Sequence[Any], Tensor]]:
    """Ids and vectors `[n, d]` of a gallery, some rows at a time.

    Raises:
        UsageError: it does not exist, or positions in several files would have to name rows.
        DataError: a file is damaged, or its vectors have another length.
    """
    if not source.exists():
        raise UsageError(f"{source.path} does not exist.")
    names = gallery_files(source)
    if len(names) > 1 and columns.ids is None and not all(map(_has_ids, names)):
        raise UsageError(
            "The rows of several files are named by their positions, which repeat. Say which column"
            " holds ids, with --id-column."
        )
    for name in names:
        place = source / name if name else source
        with place.open() as file:
            try:
                yield from reader(place.name)(file, dim, columns)
            except (DataError, UsageError) as error:
                raise type(error)(f"{place.path}: {error}") from error


def _has_ids(name: str) -> bool:
    """Whether the format itself has ids."""
    return name.lower().endswith((".faiss", ".index"))
