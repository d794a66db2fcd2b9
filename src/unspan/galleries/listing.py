"""Which samples of a gallery are to be embedded again, where there is no map on its vectors."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

from unspan.artifact.deletion import Deletion
from unspan.errors import UsageError
from unspan.galleries.columns import Columns
from unspan.galleries.mapping import receipt_of
from unspan.galleries.places import Place
from unspan.galleries.reading import parts_of
from unspan.galleries.row_change import id_text, text_ids
from unspan.galleries.stores import store_of


def list_ids(
    erased: Deletion | str | Path,
    gallery: str | Path,
    out: str | Path,
    *,
    column: str | None = None,
    id_column: str | None = None,
    forget_ids: Collection[Any] = (),
    overwrite: bool = False,
) -> int:
    """Write the ids of all vectors of a gallery, one a line, those of the request left out.

    Args:
        erased: a deletion, or its folder.
        gallery: files of vectors, as for `apply`.
        out: text file to write.
        column: of the vectors.
        id_column: of the ids; None for positions in a gallery of one file.
        forget_ids: ids of the request: their rows are to be deleted, and not embedded again.
        overwrite: replace a file.

    Returns:
        How many ids were written.

    Raises:
        UsageError: the output exists, or ids would not name rows.
        DataError: a file is damaged, or its vectors have another length.
    """
    if store_of(str(gallery)) is not None:
        raise UsageError("The ids of a table are a query: SELECT id FROM items.")
    target = Place.named(out)
    if target.exists() and not overwrite:
        raise UsageError(f"{out} exists; pass --overwrite to replace it.")
    dim = receipt_of(erased)["placement"]["feature_layer"]["dim"]
    parts = parts_of(Place.named(gallery), dim, Columns(column, id_column))
    gone = text_ids(forget_ids)
    count = 0

    def fill(file: BinaryIO) -> None:
        nonlocal count
        for ids, _ in parts:
            kept = [one for one in map(id_text, ids) if one not in gone]
            file.write("".join(f"{one}\n" for one in kept).encode())
            count += len(kept)

    target.write(fill)
    return count
