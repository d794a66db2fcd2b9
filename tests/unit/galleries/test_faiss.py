"""Indexes of FAISS: the same kind of index over the mapped vectors, with the same ids."""

import numpy as np
import pytest
import torch

import unspan
from unspan.errors import DataError, UsageError

faiss = pytest.importorskip("faiss")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]
WHOLE = ("Flat", "HNSW16,Flat", "IDMap,Flat", "IDMap2,Flat", "IDMap2,HNSW8,Flat", "IVF6,Flat")


@pytest.fixture(scope="module")
def deletion(digits_net, digits_request):
    return unspan.erase(digits_net, digits_request, key=b"k" * 32)


@pytest.fixture(scope="module")
def vectors(digits_net, digits):
    x = torch.stack([digits["test"][i][0] for i in range(300)])
    return unspan.features(digits_net, x)


def index_of(kind, vectors, metric=faiss.METRIC_L2):
    made = faiss.index_factory(vectors.shape[1], kind, metric)
    held = vectors.numpy()
    made.train(held)
    if "IDMap" in kind or "IVF" in kind:
        made.add_with_ids(held, ids(len(held)))
    else:
        made.add(held)
    return made


def ids(n):
    return np.arange(n) * 7 + 1000


def exact(index, queries, k=5):
    """Ids of the nearest by an exhaustive search of the index."""
    if isinstance(faiss.downcast_index(index), faiss.IndexIVFFlat):
        faiss.downcast_index(index).nprobe = 6
    return index.search(queries, k)


@pytest.mark.parametrize("metric", [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT])
@pytest.mark.parametrize("kind", WHOLE)
def test_the_index_finds_what_one_over_the_mapped_vectors_finds(
    deletion, vectors, tmp_path, kind, metric
):
    faiss.write_index(index_of(kind, vectors, metric), str(tmp_path / "old.faiss"))
    done = unspan.apply(deletion, tmp_path / "old.faiss", tmp_path / "new.faiss")
    new = faiss.read_index(str(tmp_path / "new.faiss"))
    wanted = deletion.eraser(vectors)
    assert type(faiss.downcast_index(new)) is type(
        faiss.downcast_index(faiss.read_index(str(tmp_path / "old.faiss")))
    )
    assert new.ntotal == done.counts.read == 300 and new.metric_type == metric
    assert done.counts.changed == int((wanted != vectors).any(1).sum()) > 0
    far, found = exact(new, wanted[:50].numpy())
    far_wanted, expected = exact(index_of(kind, wanted, metric), wanted[:50].numpy())
    if "HNSW" not in kind:
        assert np.allclose(far, far_wanted, rtol=1e-3, atol=1e-2)
    assert (found == expected).mean() > 0.95


def test_settings_of_the_index_stay(deletion, vectors, tmp_path):
    graph, lists = index_of("HNSW12,Flat", vectors), index_of("IVF6,Flat", vectors)
    graph.hnsw.efConstruction, graph.hnsw.efSearch, lists.nprobe = 77, 33, 4
    for name, one in (("graph", graph), ("lists", lists)):
        faiss.write_index(one, str(tmp_path / f"{name}.index"))
        unspan.apply(deletion, tmp_path / f"{name}.index", tmp_path / f"{name}-new.index")
    made = faiss.read_index(str(tmp_path / "graph-new.index"))
    assert (made.hnsw.efConstruction, made.hnsw.efSearch) == (77, 33)
    assert made.hnsw.nb_neighbors(1) == graph.hnsw.nb_neighbors(1)
    made = faiss.read_index(str(tmp_path / "lists-new.index"))
    assert (made.nlist, made.nprobe) == (6, 4)


@pytest.mark.parametrize("kind", ["IDMap2,Flat", "IDMap,HNSW8,Flat", "IVF6,Flat"])
def test_rows_are_dropped_by_their_id(deletion, vectors, tmp_path, kind):
    faiss.write_index(index_of(kind, vectors), str(tmp_path / "old.faiss"))
    gone = ids(300)[[4, 200]]
    given = {"forget_ids": [*gone, 3], "rows": "drop"}
    done = unspan.apply(deletion, tmp_path / "old.faiss", tmp_path / "new.faiss", **given)
    new = faiss.read_index(str(tmp_path / "new.faiss"))
    assert new.ntotal == 298 and done.counts.dropped == 2
    found = exact(new, deletion.eraser(vectors).numpy(), 20)[1]
    assert not np.isin(found, gone).any() and np.isin(ids(300)[[3, 5, 201]], found).all()


@pytest.mark.parametrize("kind", ["Flat", "HNSW16,Flat"])
def test_rows_that_are_positions_are_not_dropped(deletion, vectors, tmp_path, kind):
    faiss.write_index(index_of(kind, vectors), str(tmp_path / "old.faiss"))
    with pytest.raises(UsageError, match="rename"):
        unspan.apply(
            deletion, tmp_path / "old.faiss", tmp_path / "n.faiss", forget_ids=[4], rows="drop"
        )


@pytest.mark.parametrize("kind", ["PQ4x4", "SQ8", "IVF6,PQ4x4"])
def test_an_index_without_whole_vectors_says_what_to_do(deletion, vectors, tmp_path, kind):
    faiss.write_index(index_of(kind, vectors), str(tmp_path / "old.faiss"))
    with pytest.raises(UsageError, match="build them again"):
        unspan.apply(deletion, tmp_path / "old.faiss", tmp_path / "new.faiss")


def test_a_damaged_index_is_named(deletion, vectors, tmp_path):
    faiss.write_index(index_of("Flat", vectors), str(tmp_path / "old.faiss"))
    held = (tmp_path / "old.faiss").read_bytes()
    (tmp_path / "old.faiss").write_bytes(held[: len(held) // 2])
    with pytest.raises(DataError, match=r"old\.faiss.*FAISS"):
        unspan.apply(deletion, tmp_path / "old.faiss", tmp_path / "new.faiss")
