"""What pages say of `experiments/search.py`, read from `results/search.json`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from typing import Any

from shown import ROOT

_GALLERIES = {
    "cifar10-allcnn": "cifar10",
    "cifar100-resnet20": "cifar100",
    "faces": "faces",
    "sentences": "sentences",
}
_STORES = {"FAISS flat": "flat", "FAISS HNSW": "faiss", "PostgreSQL HNSW": "postgres"}
_WAYS = {"default": "", "resample, less noise": "_less_noise", "LEACE": "_leace"}


def searched() -> dict[str, str]:
    """Means over the kinds that were erased: search_faces_postgres_rows_kept_erased, and such."""
    cells = json.loads((ROOT / "results" / "search.json").read_text("utf-8"))["cells"]
    found = {}
    for gallery, name in _GALLERIES.items():
        for way, ending in _WAYS.items():
            own = [one for one in cells if (one["gallery"], one["way"]) == (gallery, way)]
            done = [one for one in own if "states" in one]
            if done:
                found |= {f"search_{name}{ending}_{key}": value for key, value in _means(done)}
    return found


def _means(cells: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Values of a gallery by name; shares in percent."""
    first = cells[0]
    yield "erased_kinds", str(len(cells))
    yield "rows", f"{first['rows']:,}"
    for who in ("erased", "others"):
        yield f"queries_of_{who}", f"{sum(one['queries'][who] for one in cells):,}"
    for reference in ("chance", "words alone"):
        if reference in first:
            share = statistics.mean(one[reference] for one in cells)
            yield reference.replace(" ", "_"), f"{100 * share:.1f} %"
    for state, stores in first["states"].items():
        for store, values in stores.items():
            for key in values:
                share = statistics.mean(one["states"][state][store][key]["mean"] for one in cells)
                name = f"{_STORES[store]}_{state}_{key}".replace(" ", "_")
                yield name, f"{100 * share:.1f} %"
