"""Galleries in indexes of FAISS (`.faiss`, `.index`): flat, IVF and HNSW with whole vectors.

The index is built anew with the same settings: lists and links of the old one were chosen by the
old vectors, and would tell of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import faiss
import numpy as np
import torch
from torch import Tensor

from unspan.errors import DataError, UsageError
from unspan.galleries.columns import Columns
from unspan.galleries.row_change import RowChange, Rows, check_dim

_FLOAT = 4  # bytes of a number


def rewrite(source: BinaryIO, target: BinaryIO, change: RowChange, columns: Columns) -> None:
    """Write an index of the same kind over the mapped vectors, with the same ids.

    Raises:
        DataError: the file is no index, or its vectors have another length.
        UsageError: the index keeps its vectors in a compressed form, columns were named, or rows
            are to go whose ids are their positions.
    """
    _refuse_columns(columns)
    if change.rows is Rows.FLAG:
        raise UsageError("An index cannot flag rows: drop them.")
    held = _opened(source)
    change.check_dim(held.d, "The index")
    ids, vectors, own_ids = _content(held)
    dropped = change.dropped(ids.tolist()).numpy()
    if dropped.any() and not own_ids:
        raise UsageError(
            "Rows of this index are named by their position, and dropping some would rename the"
            " rows after them. Build it with an IndexIDMap or an IVF index and ids."
        )
    new = _mapped(vectors[~dropped], change)
    made = _like(held, new, ids[~dropped])
    writer = faiss.PyCallbackIOWriter(target.write)  # type: ignore[attr-defined]
    faiss.write_index(made, writer)


def read(source: BinaryIO, dim: int, columns: Columns) -> Iterator[tuple[list[int], Tensor]]:
    """Ids and vectors `[n, d]`, all at once (errors as in `rewrite`)."""
    _refuse_columns(columns)
    held = _opened(source)
    check_dim(held.d, dim, "The index")
    ids, vectors, _ = _content(held)
    yield ids.tolist(), torch.from_numpy(vectors)


def _refuse_columns(columns: Columns) -> None:
    if columns.vector is not None or columns.ids is not None:
        raise UsageError("An index has no columns: leave out --column and --id-column.")


def _opened(source: BinaryIO) -> Any:
    """The index in a file."""
    try:
        return faiss.read_index(faiss.PyCallbackIOReader(source.read))  # type: ignore[attr-defined]
    except RuntimeError as error:
        text = " ".join(str(error).split())[-150:]
        raise DataError(f"The file cannot be read as an index of FAISS: {text}") from error


def _content(held: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    """Ids `[n]`, vectors `[n, d]`, and whether the ids are more than positions."""
    kind = faiss.downcast_index(held)
    if isinstance(kind, (faiss.IndexIDMap, faiss.IndexIDMap2)):
        _, vectors, _ = _content(kind.index)
        return faiss.vector_to_array(kind.id_map), vectors, True
    if isinstance(kind, faiss.IndexIVFFlat):
        return *_of_lists(kind), True
    if isinstance(kind, (faiss.IndexFlat, faiss.IndexHNSWFlat)):
        return np.arange(kind.ntotal), kind.reconstruct_n(0, kind.ntotal), False
    raise UsageError(
        f"The index is a {type(kind).__name__}. Flat, IVFFlat and HNSWFlat indexes, with ids or"
        " without, hold whole vectors; for others, apply the deletion to the vectors they were"
        " built from, and build them again."
    )


def _of_lists(kind: Any) -> tuple[np.ndarray, np.ndarray]:
    """Ids and vectors of an IVF index, in the order of the ids."""
    lists = kind.invlists
    ids, vectors = [np.zeros(0, np.int64)], [np.zeros((0, kind.d), np.float32)]
    for number in range(kind.nlist):
        size = lists.list_size(number)
        if size:
            codes = faiss.rev_swig_ptr(lists.get_codes(number), size * kind.d * _FLOAT)
            ids.append(faiss.rev_swig_ptr(lists.get_ids(number), size).copy())
            vectors.append(codes.view(np.float32).reshape(size, kind.d).copy())
    found = np.concatenate(ids)
    order = found.argsort(kind="stable")
    return found[order], np.concatenate(vectors)[order]


def _mapped(vectors: np.ndarray, change: RowChange) -> np.ndarray:
    """The new vectors, in parts."""
    step = change.rows_at_a_time(_FLOAT)
    for start in range(0, len(vectors), step):
        part = torch.from_numpy(vectors[start : start + step])
        vectors[start : start + step] = change.mapped(part, "The index").numpy()
    return vectors


def _like(held: Any, vectors: np.ndarray, ids: np.ndarray) -> Any:
    """An index of the same kind and settings over other vectors."""
    kind = faiss.downcast_index(held)
    if isinstance(kind, (faiss.IndexIDMap, faiss.IndexIDMap2)):
        made = type(kind)(_empty(kind.index, vectors))
        made.add_with_ids(vectors, ids)
        return made
    made = _empty(kind, vectors)
    if isinstance(kind, faiss.IndexIVFFlat):
        made.add_with_ids(vectors, ids)
    else:
        made.add(vectors)
    return made


def _empty(held: Any, vectors: np.ndarray) -> Any:
    """An index of the same kind and settings without vectors, trained on these."""
    kind = faiss.downcast_index(held)
    builders: list[tuple[type, Callable[[], Any]]] = [
        (faiss.IndexIVFFlat, lambda: _ivf(kind, vectors)),
        (faiss.IndexHNSWFlat, lambda: _hnsw(kind)),
        (faiss.IndexFlat, lambda: faiss.IndexFlat(kind.d, kind.metric_type)),
    ]
    return next(build() for one, build in builders if isinstance(kind, one))


def _ivf(kind: Any, vectors: np.ndarray) -> Any:
    if len(vectors) < kind.nlist:
        raise UsageError(
            f"{len(vectors)} vectors are left for {kind.nlist} lists. Build an index with fewer"
            " lists from them."
        )
    quantizer = _empty(kind.quantizer, vectors)
    made = faiss.IndexIVFFlat(quantizer, kind.d, kind.nlist, kind.metric_type)
    made.cp.spherical = kind.cp.spherical
    made.nprobe = kind.nprobe
    made.train(vectors)
    return made


def _hnsw(kind: Any) -> Any:
    made = faiss.IndexHNSWFlat(kind.d, kind.hnsw.nb_neighbors(1), kind.metric_type)
    made.hnsw.efConstruction = kind.hnsw.efConstruction
    made.hnsw.efSearch = kind.hnsw.efSearch
    return made
