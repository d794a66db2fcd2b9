"""Samples embedded again: they prove a map on stored vectors, or a map is fitted to them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import unspan
from unspan.cli import app
from unspan.erasers import LinearMap
from unspan.errors import DataError, InconclusiveError, UsageError
from unspan.galleries import Check, list_ids
from unspan.galleries.mapping import fitted_map
from unspan.galleries.pairs import Pairs

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def images(digits):
    return torch.stack([one for one, _ in digits["train"]])


@pytest.fixture(scope="module")
def before(digits_net, images):
    return unspan.features(digits_net, images)


@pytest.fixture(scope="module")
def deletion(digits_net, digits_request):
    return unspan.erase(digits_net, digits_request, key=b"k" * 32)


@pytest.fixture(scope="module")
def trained(digits_net, digits_request):
    """By a method that changed the weights."""
    return unspan.erase(
        digits_net, digits_request, unspan.methods.Finetune(), max_drop=None, measure=False
    )


def stored(path, vectors, order=None):
    """A Parquet file whose ids are positions of the samples, in an order."""
    order = torch.arange(len(vectors)) if order is None else order
    numbers = pa.array(vectors[order].numpy().ravel())
    column = pa.FixedSizeListArray.from_arrays(numbers, vectors.shape[1])
    pq.write_table(pa.table({"id": order.numpy(), "v": column}), path)
    return path


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_stored_vectors_of_samples_become_what_the_erased_model_gives(
    deletion, images, before, tmp_path, dtype
):
    order = torch.randperm(len(before), generator=torch.Generator().manual_seed(1))
    path = stored(tmp_path / "all.parquet", before.to(dtype), order)
    out = tmp_path / "new.parquet"
    check = Check(images, samples=200)
    made = unspan.apply(deletion, path, out, id_column="id", check=check)
    held = made.receipt["map"]["check"]
    assert held["samples"] == 200
    assert held["largest_difference"] < 2e-3
    assert pq.read_table(out).num_rows == len(before)


def normalised(vectors):
    return torch.nn.functional.normalize(vectors, dim=1)


def shuffled(vectors):
    return vectors.roll(1, 0)


@pytest.mark.parametrize(
    ("wrong", "said"), [(normalised, "normalised"), (shuffled, "another model, layer")]
)
def test_vectors_that_are_not_of_the_model_are_refused_before_anything_is_written(
    deletion, images, before, tmp_path, wrong, said
):
    path = stored(tmp_path / "all.parquet", wrong(before))
    with pytest.raises(DataError, match=said):
        unspan.apply(
            deletion, path, tmp_path / "new.parquet", id_column="id", check=Check(images, 100)
        )
    assert sorted(one.name for one in tmp_path.iterdir()) == ["all.parquet"]


def test_a_gallery_without_the_samples_is_refused(deletion, images, before, tmp_path):
    path = stored(tmp_path / "all.parquet", before)
    table = pq.read_table(path)
    ids = pa.array([f"photo-{one}" for one in range(len(table))])
    pq.write_table(table.set_column(0, "id", ids), path)
    with pytest.raises(DataError, match="--id-column"):
        unspan.apply(deletion, path, tmp_path / "n.parquet", id_column="id", check=Check(images))


def test_positions_in_several_files_name_no_sample(deletion, images, before, tmp_path):
    (tmp_path / "all").mkdir()
    for part in ("a", "b"):
        np.save(tmp_path / "all" / f"{part}.npy", before.numpy())
    with pytest.raises(UsageError, match="repeat"):
        unspan.apply(deletion, tmp_path / "all", tmp_path / "new", check=Check(images))


@pytest.mark.parametrize("kind", ["npy", "safetensors", "arrow", "faiss"])
def test_every_format_is_read(deletion, images, before, tmp_path, kind):
    path = tmp_path / f"all.{kind}"
    if kind == "npy":
        np.save(path, before.numpy())
    elif kind == "safetensors":
        from safetensors.torch import save_file

        save_file({"vectors": before}, path)
    elif kind == "arrow":
        column = pa.array(before.numpy().tolist(), pa.list_(pa.float32()))
        table = pa.table({"v": column})
        with pa.ipc.new_file(path, table.schema) as out:
            out.write_table(table)
    else:
        faiss = pytest.importorskip("faiss")
        index = faiss.IndexFlatL2(before.shape[1])
        index.add(before.numpy())
        faiss.write_index(index, str(path))
    made = unspan.apply(deletion, path, tmp_path / f"new.{kind}", check=Check(images, 50))
    assert made.receipt["map"]["check"]["samples"] == 50


def test_a_map_is_fitted_to_a_method_that_changed_the_weights(trained, images, before, tmp_path):
    path = stored(tmp_path / "all.parquet", before)
    out = tmp_path / "new.parquet"
    with pytest.raises(UsageError, match="--fit-map"):
        unspan.apply(trained, path, out, id_column="id", check=Check(images))
    made = unspan.apply(trained, path, out, id_column="id", check=Check(images, 1_000, 0.2))
    held = made.receipt["map"]["fit"]
    assert held["fitted_on"] + held["tested_on"] == 1_000
    new = torch.tensor(np.stack(pq.read_table(out)["v"].to_numpy()))
    right = unspan.features(trained.model, images)
    missed = (new - right).square().sum() / (right - right.mean(0)).square().sum()
    assert held["variance_missed"] < 0.2
    assert float(missed) == pytest.approx(held["variance_missed"], rel=0.5)


def test_a_map_that_misses_too_much_is_refused(trained, images, before, tmp_path):
    path = stored(tmp_path / "all.parquet", before)
    with pytest.raises(InconclusiveError, match="allow it: --fit-map"):
        unspan.apply(
            trained,
            path,
            tmp_path / "new.parquet",
            id_column="id",
            check=Check(images, 500, 1e-6),
        )
    assert not (tmp_path / "new.parquet").exists()


def test_a_fitted_map_is_the_affine_map_that_made_the_pairs(deletion):
    g = torch.Generator().manual_seed(0)
    stored = torch.randn(400, 12, generator=g)
    true = LinearMap(torch.randn(12, 12, generator=g), offset=torch.randn(12, generator=g))
    found = fitted_map(deletion, Pairs(stored, true(stored)), 0.001)
    assert torch.allclose(found.eraser.map, true.map, atol=1e-3)
    assert torch.allclose(found.eraser.offset, true.offset, atol=1e-3)
    assert found.held["fit"]["recall_of_10_neighbours"] > 0.99
    noise = Pairs(stored, torch.randn(400, 12, generator=g))
    with pytest.raises(InconclusiveError):
        fitted_map(deletion, noise, 0.5)


def test_ids_to_embed_again_leave_out_the_request(trained, before, tmp_path):
    path = stored(tmp_path / "all.parquet", before)
    out = tmp_path / "ids.txt"
    count = list_ids(trained, path, out, id_column="id", forget_ids=[0, 5])
    ids = out.read_text().split()
    assert count == len(ids) == len(before) - 2
    assert set(ids) == {str(one) for one in range(len(before))} - {"0", "5"}
    with pytest.raises(UsageError, match="--overwrite"):
        list_ids(trained, path, out, id_column="id")


def test_the_command_checks_a_folder_of_images_by_their_names(tmp_path):
    """With a real folder: names of files are the ids of rows."""
    g = torch.Generator().manual_seed(0)
    for label in range(3):
        (tmp_path / "data" / f"c{label}").mkdir(parents=True)
        for one in range(40):
            pixels = (torch.rand(8, 8, 3, generator=g) * 120).byte()
            pixels[:, :, label] += 120
            place = tmp_path / "data" / f"c{label}" / f"{label}-{one}.png"
            Image.fromarray(pixels.numpy()).save(place)
    call = CliRunner().invoke
    model = tmp_path / "net.py"
    model.write_text(
        "import torch\nfrom torch import nn\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),\n"
        "                         nn.Flatten(), nn.Linear(16, 3))\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        arguments = ["erase", "--model", "python:net:net", "--data", str(tmp_path / "data")]
        arguments += ["--forget", "c1", "--method", "esc", "--set", "rank=2", "--max-drop", "none"]
        arguments += ["--no-check-labels"]
        arguments += ["--size", "8", "--out", str(tmp_path / "erased")]
        done = call(app, arguments)
        assert done.exit_code == 0, done.output
        opened = unspan.load(tmp_path / "erased", trust_code=True)
        net = __import__("net").net().eval()
        from unspan.data.opening import open_data
        from unspan.data.preprocess import Preprocess

        receipt = unspan.inspect(tmp_path / "erased")
        preprocess = Preprocess.from_dict(receipt["model"]["preprocess"])
        source = open_data(str(tmp_path / "data"), transform=preprocess)["train"]
        inputs = torch.stack([source[i][0] for i in range(len(source))])
        vectors = unspan.features(net, inputs)
        assert not torch.equal(vectors, unspan.features(opened, inputs))
        ids = [source.name(i).rpartition("/")[2] for i in range(len(source))]
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.numpy().ravel()), 16)
        pq.write_table(pa.table({"name": ids, "v": column}), tmp_path / "all.parquet")
        arguments = ["apply", str(tmp_path / "erased"), str(tmp_path / "all.parquet")]
        arguments += ["--out", str(tmp_path / "new.parquet"), "--id-column", "name"]
        arguments += ["--check", str(tmp_path / "data"), "--check-samples", "60", "--trust-code"]
        done = call(app, arguments)
    assert done.exit_code == 0, done.output
    assert "60 samples embedded again" in done.output


def test_a_check_needs_data_that_can_be_asked_for_one_sample(deletion, before, tmp_path):
    path = stored(tmp_path / "all.parquet", before)
    stream = iter([torch.zeros(2, 1, 8, 8)])
    with pytest.raises(UsageError, match="with a length"):
        unspan.apply(deletion, path, tmp_path / "n.parquet", id_column="id", check=Check(stream))


def test_rounding_of_half_precision_may_lead_to_another_draw(deletion, images, before, tmp_path):
    path = stored(tmp_path / "all.parquet", before.half())
    made = unspan.apply(
        deletion, path, tmp_path / "n.parquet", id_column="id", check=Check(images, len(images))
    )
    held = made.receipt["map"]["check"]
    assert held["samples"] == len(images)
    assert held.get("other_draws", 0) < 0.2 * len(images)
