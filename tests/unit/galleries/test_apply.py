"""Stored vectors: what the erased model would give is what the files hold afterwards."""

import io
import json
import math
import pickle
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import unspan
from unspan.artifact.stored_eraser import stored_eraser
from unspan.cli import app
from unspan.errors import DataError, InconclusiveError, UsageError
from unspan.galleries import parquet_file, row_change
from unspan.galleries.applying import RECEIPT
from unspan.galleries.columns import Columns
from unspan.galleries.places import Place

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]
N = 200
TYPES = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}


@pytest.fixture(scope="module")
def inputs(digits):
    return torch.stack([digits["test"][i][0] for i in range(N)])


@pytest.fixture(scope="module")
def deletion(digits_net, digits_request):
    """By the default method, whose eraser is a module."""
    return unspan.erase(digits_net, digits_request, key=b"k" * 32)


@pytest.fixture(scope="module")
def folder(deletion, tmp_path_factory):
    return deletion.save(tmp_path_factory.mktemp("of") / "erased")


@pytest.fixture(scope="module")
def before(digits_net, inputs):
    """Vectors as a search service stored them."""
    return unspan.features(digits_net, inputs)


@pytest.fixture(scope="module")
def after(deletion, inputs):
    return unspan.features(deletion.model, inputs)


def written(path, vectors, kind):
    """A gallery of a kind, with other columns where it has any."""
    held = vectors.numpy()
    if kind == "npy":
        np.save(path, held)
    elif kind == "safetensors":
        save_file({"vectors": vectors, "label": torch.arange(N)}, path, {"made": "here"})
    else:
        table = table_of(held, kind)
        if kind.startswith("arrow"):
            build = pa.ipc.new_stream if "stream" in kind else pa.ipc.new_file
            with build(path, table.schema) as out:
                out.write_table(table, max_chunksize=70)
        else:
            pq.write_table(table, path, row_group_size=60, compression="zstd")
    return path


def table_of(held, kind):
    flat = pa.array(held.reshape(-1))
    dim = held.shape[1]
    if "list" in kind:
        ends = pa.array(range(0, len(flat) + 1, dim), pa.int32())
        column = pa.ListArray.from_arrays(ends, flat)
    else:
        column = pa.FixedSizeListArray.from_arrays(flat, dim)
    names = pa.array([f"image {i}" for i in range(N)])
    columns = {"id": names, "vector": column, "size": pa.array(range(N))}
    return pa.table(columns).replace_schema_metadata({"model": "net-7"})


def read(path, kind):
    if kind == "npy":
        return torch.from_numpy(np.load(path))
    if kind == "safetensors":
        return load_file(path)["vectors"]
    return torch.from_numpy(np.stack(opened(path, kind)["vector"].to_numpy()))


def opened(path, kind):
    if not kind.startswith("arrow"):
        return pq.read_table(path)
    build = pa.ipc.open_stream if "stream" in kind else pa.ipc.open_file
    return build(path).read_all()


KINDS = ("npy", "safetensors", "parquet", "parquet list", "arrow", "arrow stream")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_stored_vectors_become_what_the_erased_model_gives(
    folder, before, after, tmp_path, kind, dtype, monkeypatch
):
    monkeypatch.setattr(row_change, "_BYTES", 30 * before.shape[1] * 4)  # in several parts
    ending = kind.split()[0]
    stored = before.to(TYPES[dtype])
    source = written(tmp_path / f"gallery.{ending}", stored, kind)
    held = source.read_bytes()
    done = unspan.apply(folder, source, tmp_path / f"new.{ending}")
    found = read(tmp_path / f"new.{ending}", kind)
    assert found.dtype == stored.dtype and source.read_bytes() == held
    if dtype == "float32":
        assert torch.allclose(found, after, atol=1e-4)
    assert done.counts.read == N == len(found)
    assert done.counts.changed == int((found != stored).any(1).sum()) > 0
    if kind not in ("npy", "safetensors"):
        old, new = (opened(tmp_path / f"{one}.{ending}", kind) for one in ("gallery", "new"))
        assert old.schema.equals(new.schema, check_metadata=True)
        assert old.drop(["vector"]).equals(new.drop(["vector"]))
    if kind == "safetensors":
        assert torch.equal(load_file(tmp_path / "new.safetensors")["label"], torch.arange(N))


@pytest.mark.parametrize("form", ["projected", "folded"])
def test_a_map_that_weights_took_up_comes_from_the_private_folder(
    digits_net, digits_request, before, tmp_path, form
):
    made = unspan.erase(digits_net, digits_request, unspan.ESC(rank=3), form=form)
    place = made.save(tmp_path / "erased")
    np.save(tmp_path / "all.npy", before.double().numpy())
    unspan.apply(place, tmp_path / "all.npy", tmp_path / "new.npy")
    found = torch.from_numpy(np.load(tmp_path / "new.npy"))
    digits = 1e-9 if form == "folded" else 1e-5  # a module of the model holds float32
    assert torch.allclose(found, made.eraser(before.double()), atol=digits)
    if form == "folded":
        (tmp_path / "erased.private").rename(tmp_path / "elsewhere")
        with pytest.raises(UsageError, match="private"):
            unspan.apply(place, tmp_path / "all.npy", tmp_path / "again.npy")


def test_after_a_method_that_trains_there_is_no_map_and_the_way_out_is_named(
    digits_net, digits_request, before, tmp_path
):
    made = unspan.erase(
        digits_net,
        digits_request,
        unspan.methods.Finetune(training=unspan.methods.Finetune().training),
        max_drop=None,
        measure=False,
    )
    np.save(tmp_path / "all.npy", before.numpy())
    with pytest.raises(UsageError, match="Embed the samples"):
        unspan.apply(made, tmp_path / "all.npy", tmp_path / "new.npy")


@pytest.mark.parametrize("kind", ["npy", "safetensors", "parquet", "arrow stream"])
def test_rows_of_the_request_are_dropped(deletion, before, tmp_path, kind):
    ending = kind.split()[0]
    source = written(tmp_path / f"all.{ending}", before, kind)
    tabular = kind not in ("npy", "safetensors")
    named = ["image 3", "image 150", "nobody"] if tabular else [3, 150, 10**6]
    done = unspan.apply(
        deletion,
        source,
        tmp_path / f"new.{ending}",
        id_column="id" if tabular else None,
        forget_ids=named,
        rows="drop",
    )
    left = [i for i in range(N) if i not in (3, 150)]
    assert done.counts.dropped == done.counts.of_request == 2
    assert done.receipt["rows_of_request"] == {"named": 3, "become": "drop"}
    found = read(tmp_path / f"new.{ending}", kind)
    assert torch.equal(found, deletion.eraser(before[left]))
    if kind == "safetensors":
        assert load_file(tmp_path / "new.safetensors")["label"].tolist() == left
    assert b"image 150" not in (tmp_path / f"new.{ending}").read_bytes()


def test_rows_of_the_request_are_flagged(deletion, before, tmp_path):
    source = written(tmp_path / "all.parquet", before, "parquet")
    given = {"id_column": "id", "forget_ids": ["image 7"], "rows": "flag"}
    unspan.apply(deletion, source, tmp_path / "new.parquet", **given)
    held = pq.read_table(tmp_path / "new.parquet")["unspan_of_request"].to_pylist()
    assert held.index(True) == 7 and sum(held) == 1


@pytest.mark.parametrize("kind", ["parquet", "parquet list", "arrow"])
def test_rows_without_a_vector_and_numbers_that_are_none_stay(deletion, before, tmp_path, kind):
    ending = kind.split()[0]
    stored = before.clone()
    stored[5, 0] = math.nan
    table = table_of(stored.numpy(), kind)
    rows = table["vector"].to_pylist()
    rows[9] = None
    place = table.schema.get_field_index("vector")
    field = table.schema.field("vector")
    table = table.set_column(place, field, pa.array(rows, field.type))
    source = tmp_path / f"all.{ending}"
    if ending == "arrow":
        with pa.ipc.new_file(source, table.schema) as out:
            out.write_table(table)
    else:
        pq.write_table(table, source)
    done = unspan.apply(deletion, source, tmp_path / f"new.{ending}")
    found = opened(tmp_path / f"new.{ending}", kind)["vector"].to_pylist()
    assert done.counts.empty == 1 and done.counts.not_finite == 1
    assert found[9] is None and math.isnan(found[5][0]) and found[5][1:] == rows[5][1:]
    expected = deletion.eraser(before[10:])
    assert torch.equal(torch.tensor(found[10:]), expected)


@pytest.fixture
def many(before, tmp_path):
    """A folder of three files, one of them deeper."""
    (tmp_path / "all" / "deep").mkdir(parents=True)
    for number, name in enumerate(("a", "b", "deep/c")):
        np.save(tmp_path / "all" / f"{name}.npy", before[number::3].numpy())
    (tmp_path / "all" / "notes.txt").write_text("no vectors")
    return tmp_path / "all"


def test_a_folder_goes_on_where_it_was_stopped(folder, many, tmp_path, monkeypatch):
    from unspan.galleries import npy_file

    true_rewrite, calls = npy_file.rewrite, []

    def stops(*given):
        calls.append(1)
        if len(calls) == 2:
            given[1].write(b"half")
            raise KeyboardInterrupt
        true_rewrite(*given)

    monkeypatch.setattr(npy_file, "rewrite", stops)
    with pytest.raises(KeyboardInterrupt):
        unspan.apply(folder, many, tmp_path / "new")
    assert not json.loads((tmp_path / "new" / RECEIPT).read_text())["complete"]
    assert sorted(one.name for one in (tmp_path / "new").iterdir()) == ["a.npy", RECEIPT]
    done = unspan.apply(folder, many, tmp_path / "new")
    assert done.resumed == 1 and len(calls) == 4 and done.receipt["complete"]
    assert done.counts.read == N
    # what changed since is written anew, and only that
    np.save(many / "b.npy", np.load(many / "b.npy")[:5])
    (tmp_path / "new" / "deep" / "c.npy").write_bytes(b"damaged")
    again = unspan.apply(folder, many, tmp_path / "new")
    assert again.resumed == 1 and len(np.load(tmp_path / "new" / "b.npy")) == 5
    assert len(np.load(tmp_path / "new" / "deep" / "c.npy")) == len(np.load(many / "deep/c.npy"))


def test_another_deletion_replaces_nothing_without_being_asked(
    folder, many, tmp_path, digits_net, digits_request
):
    unspan.apply(folder, many, tmp_path / "new")
    other = unspan.erase(digits_net, digits_request, unspan.ESC(rank=2), max_drop=None)
    with pytest.raises(UsageError, match="--overwrite"):
        unspan.apply(other, many, tmp_path / "new")
    held = np.load(tmp_path / "new" / "a.npy")
    unspan.apply(other, many, tmp_path / "new", overwrite=True)
    assert not np.array_equal(held, np.load(tmp_path / "new" / "a.npy"))


def test_object_stores_are_read_and_written(folder, before, after, tmp_path):
    import fsspec

    system = fsspec.filesystem("memory")
    with system.open("/bucket/gallery/a.npy", "wb") as file:
        np.save(file, before.numpy())
    done = unspan.apply(folder, "memory://bucket/gallery", "memory://bucket/new")
    with system.open("/bucket/new/a.npy", "rb") as file:
        found = torch.from_numpy(np.load(file))
    assert torch.allclose(found, after, atol=1e-4)
    assert done.receipt["complete"] and system.exists(f"/bucket/new/{RECEIPT}")
    assert not [one for one in system.find("/bucket") if "part" in one]


def damaged_npy(path, before):
    np.save(path / "x.npy", before.numpy())
    held = (path / "x.npy").read_bytes()
    (path / "x.npy").write_bytes(held[:-100])
    return "x.npy"


def noise(name):
    def make(path, before):
        (path / name).write_bytes(b"\x93NUMPY nothing of the kind" * 9)
        return name

    return make


def narrow(path, before):
    np.save(path / "x.npy", before[:, :7].numpy())
    return "x.npy"


def whole_numbers(path, before):
    np.save(path / "x.npy", before.long().numpy())
    return "x.npy"


def fortran(path, before):
    np.save(path / "x.npy", np.asfortranarray(before.numpy()))
    return "x.npy"


def ragged(path, before):
    table = pa.table({"vector": pa.array([[1.0, 2.0], [3.0]])})
    pq.write_table(table, path / "x.parquet")
    return "x.parquet"


def two_columns(path, before):
    rows = pa.array(before[:2].tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table({"a": rows, "b": rows}), path / "x.parquet")
    return "x.parquet"


def no_column(path, before):
    pq.write_table(pa.table({"a": [1, 2]}), path / "x.parquet")
    return "x.parquet"


def strange_header(path, before):
    head = json.dumps({"a": {"dtype": "F32", "shape": [9, 9], "data_offsets": [0, 4]}}).encode()
    (path / "x.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b"1234")
    return "x.safetensors"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (damaged_npy, "cut short"),
        (noise("x.npy"), "npy"),
        (noise("x.parquet"), "Parquet"),
        (noise("x.arrow"), "Arrow"),
        (noise("x.safetensors"), "safetensors"),
        (narrow, "7 numbers"),
        (whole_numbers, "float16"),
        (fortran, "ascontiguousarray"),
        (ragged, "numbers"),
        (two_columns, "--column"),
        (no_column, "no column"),
        (strange_header, "does not lie"),
    ],
)
def test_files_that_do_not_fit_are_named_and_leave_nothing(deletion, before, tmp_path, make, said):
    name = make(tmp_path, before)
    with pytest.raises((DataError, UsageError), match=said) as caught:
        unspan.apply(deletion, tmp_path / name, tmp_path / f"new-{name}")
    assert name in str(caught.value)
    assert sorted(one.name for one in tmp_path.iterdir()) == [name]


def test_outputs_that_cannot_be_meant_are_refused(folder, before, tmp_path):
    np.save(tmp_path / "all.npy", before.numpy())
    (tmp_path / "mine.npy").write_bytes(b"mine")
    for out, said in (
        (tmp_path / "all.npy", "also an input"),
        (tmp_path / "mine.npy", "never overwritten"),
        (folder, "also an input"),
        (tmp_path / "nowhere" / "new.npy", "does not exist"),
    ):
        with pytest.raises(unspan.UnspanError, match=said):
            unspan.apply(folder, tmp_path / "all.npy", out)
    assert (tmp_path / "mine.npy").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rows": "drop"}, "forget_ids"),
        ({"forget_ids": [1]}, "dropped or flagged"),
        ({"rows": "flag", "forget_ids": [1]}, "Parquet"),
        ({"column": "vector"}, "no columns"),
    ],
)
def test_options_that_contradict_are_refused(deletion, before, tmp_path, given, said):
    np.save(tmp_path / "all.npy", before.numpy())
    with pytest.raises(UsageError, match=said):
        unspan.apply(deletion, tmp_path / "all.npy", tmp_path / "new.npy", **given)
    assert not (tmp_path / "new.npy").exists()


def test_the_command_says_what_it_did_and_what_is_not_covered(folder, before, tmp_path):
    source = written(tmp_path / "all.parquet", before, "parquet")
    (tmp_path / "ids.txt").write_text("image 1\nimage 2\n")
    given = ["apply", folder, source, "--out", tmp_path / "new.parquet", "--id-column", "id"]
    given += ["--forget-ids", tmp_path / "ids.txt", "--rows", "drop"]
    done = CliRunner().invoke(app, list(map(str, given)))
    assert done.exit_code == 0, done.output
    assert "200 read" in done.output and "2 ids, 2 rows: drop" in done.output
    assert "Replicas" in done.output
    account = json.loads((tmp_path / "new.parquet.unspan-apply.json").read_text())
    assert account["complete"] and account["rows"]["dropped"] == 2
    assert "image 1" not in json.dumps(account)


class Source(io.BytesIO):
    """A file that counts what is read of it."""

    count = 0

    def read(self, size=-1):
        held = super().read(size)
        self.count += len(held)
        return held


class Target(io.BytesIO):
    """A file that notes how much of a source was read before the first vectors are written."""

    before = None

    def __init__(self, source):
        super().__init__()
        self.source = source

    def write(self, part):
        if self.before is None and len(part) > 10_000:
            self.before = self.source.count
        return super().write(part)


def test_a_large_row_group_is_not_read_at_once(deletion, before, monkeypatch):
    monkeypatch.setattr(row_change, "_BYTES", 1 << 20)
    numbers = pa.array(before.repeat(400, 1).numpy().ravel())
    held = io.BytesIO()
    pq.write_table(
        pa.table({"v": pa.FixedSizeListArray.from_arrays(numbers, before.shape[1])}),
        held,
        compression="none",
        use_dictionary=False,
    )
    source = Source(held.getvalue())
    target = Target(source)
    change = row_change.RowChange(deletion.eraser, before.shape[1])
    parquet_file.rewrite(source, target, change, Columns())
    assert change.counts.read == 400 * N
    assert target.before < len(held.getvalue()) / 3


def test_stored_vectors_of_others_are_not_computed_and_come_out_the_same(deletion, before):
    eraser = deletion.eraser
    moved = (eraser(before) != before).any(1)
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        plain = type(eraser).map_features
        patch.setattr(
            type(eraser), "map_features", lambda own, z: asked.append(len(z)) or plain(own, z)
        )
        found = eraser.map_stored(before)
    assert 0 < int(moved.sum()) < len(before)
    assert sum(asked) == int(moved.sum())
    assert torch.equal(found[~moved], before[~moved])
    assert torch.allclose(found, eraser(before), atol=1e-5)


def test_a_run_that_was_killed_in_its_first_file_goes_on(folder, many, tmp_path, monkeypatch):
    out = tmp_path / "new"
    true_write = Place.write_json

    def killed(self, content):
        if content["files"]:  # the first file is there, and its entry is not
            raise KeyboardInterrupt
        true_write(self, content)

    monkeypatch.setattr(Place, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        unspan.apply(folder, many, out)
    monkeypatch.undo()
    assert len(list(out.glob("*.npy"))) + len(list(out.glob("*.parquet"))) >= 1
    done = unspan.apply(folder, many, out)
    assert done.receipt["complete"]


def test_ids_that_name_no_row_are_told_with_the_output_written(deletion, before, tmp_path):
    np.save(tmp_path / "all.npy", before.numpy())
    with pytest.raises(InconclusiveError, match="None of the 1 ids"):
        unspan.apply(
            deletion,
            tmp_path / "all.npy",
            tmp_path / "new.npy",
            forget_ids=["photo 3"],
            rows="drop",
        )
    assert len(np.load(tmp_path / "new.npy")) == N


@pytest.mark.parametrize(
    ("ids", "asked"),
    [
        (pa.array([b"k%d" % one for one in range(N)]), "k3"),
        (pa.array([float(one) for one in range(N)]), "3"),
        (pa.array([f" {one} " for one in range(N)]), "3"),
        (
            pa.array([uuid.UUID(int=2**127 + one).bytes for one in range(N)], pa.binary(16)),
            str(uuid.UUID(int=2**127 + 3)),
        ),
    ],
    ids=["bytes", "floats", "spaces", "uuid"],
)
def test_ids_of_any_kind_name_rows(deletion, before, tmp_path, ids, asked):
    numbers = pa.array(before.numpy().ravel())
    column = pa.FixedSizeListArray.from_arrays(numbers, before.shape[1])
    pq.write_table(pa.table({"key": ids, "v": column}), tmp_path / "all.parquet")
    done = unspan.apply(
        deletion,
        tmp_path / "all.parquet",
        tmp_path / "new.parquet",
        id_column="key",
        forget_ids=[asked],
        rows="drop",
    )
    assert done.counts.dropped == 1


def test_vectors_that_were_mapped_are_refused_and_other_columns_of_them_are_named(
    deletion, before, tmp_path
):
    numbers = pa.array(before.numpy().ravel())
    column = pa.FixedSizeListArray.from_arrays(numbers, before.shape[1])
    pq.write_table(pa.table({"v": column, "w": column}), tmp_path / "all.parquet")
    first, second = tmp_path / "one.parquet", tmp_path / "two.parquet"
    done = unspan.apply(deletion, tmp_path / "all.parquet", first, column="v")
    assert "stay as they are: w" in done.receipt["not_covered"][0]
    with pytest.raises(UsageError, match="already"):
        unspan.apply(deletion, first, second, column="v")
    unspan.apply(deletion, first, second, column="w")
    found = pq.read_table(second)
    assert found["v"].equals(found["w"])


def test_files_that_left_the_gallery_leave_the_output(folder, many, tmp_path):
    out = tmp_path / "new"
    unspan.apply(folder, many, out)
    (many / "b.npy").unlink()
    (out / "mine.txt").write_text("mine")
    unspan.apply(folder, many, out)
    assert not (out / "b.npy").exists()
    assert (out / "a.npy").exists() and (out / "mine.txt").exists()


def test_an_output_of_another_kind_and_two_columns_of_one_name_are_refused(
    deletion, before, tmp_path
):
    np.save(tmp_path / "all.npy", before.numpy())
    with pytest.raises(UsageError, match="of the kind of the gallery"):
        unspan.apply(deletion, tmp_path / "all.npy", tmp_path / "new.parquet")
    numbers = pa.array(before.numpy().ravel())
    column = pa.FixedSizeListArray.from_arrays(numbers, before.shape[1])
    twice = pa.Table.from_arrays([column, pa.array(range(N)), pa.array(range(N))], ["v", "a", "a"])
    pq.write_table(twice, tmp_path / "all.parquet")
    with pytest.raises(DataError, match="several columns named a"):
        unspan.apply(deletion, tmp_path / "all.parquet", tmp_path / "new.parquet")


def test_a_stored_map_gives_the_bits_of_one_in_memory(deletion, folder, before, tmp_path):
    np.save(tmp_path / "all.npy", before.numpy())
    unspan.apply(folder, tmp_path / "all.npy", tmp_path / "new.npy")
    held = pickle.loads(pickle.dumps(stored_eraser(folder)[0]))  # as a worker gets it
    with torch.no_grad():
        assert torch.equal(torch.from_numpy(np.load(tmp_path / "new.npy")), held.map_stored(before))
