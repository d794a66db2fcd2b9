import contextlib
import hashlib
import importlib.util
import io
import os
import pickle
import string
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unspan.data import images
from unspan.data.images import decode_image, printable
from unspan.data.opening import Source, open_data, read_ids, resolve_class
from unspan.data.preprocess import Preprocess
from unspan.errors import DataError, UsageError

CIFAR10 = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "cifar10"
needs_cifar10 = pytest.mark.skipif(
    not CIFAR10.is_dir(), reason="no shared/data/cifar10 beside the repository"
)


def encoded(
    file_format: str = "PNG",
    size: tuple[int, int] = (8, 6),
    seed: int = 0,
    mode: str = "RGB",
    **options,
) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, file_format, **options)
    return buffer.getvalue()


def write(root: Path, *paths: str) -> Path:
    for seed, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(encoded(seed=seed))
    return root


def one_line(caught: pytest.ExceptionInfo) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


# Folders


def test_class_folders(tmp_path):
    write(tmp_path, "dog/b.png", "cat/a.PNG", "cat/more/c.png", "cat/.hidden.png", ".git/x.png")
    (tmp_path / "empty" / "nested").mkdir(parents=True)
    (tmp_path / "cat" / "notes.txt").write_text("x")
    splits = open_data(str(tmp_path))
    assert list(splits) == ["train"]
    source = splits["train"]
    assert [source.name(i) for i in range(len(source))] == [
        "cat/a.PNG",
        "cat/more/c.png",
        "dog/b.png",
    ]
    assert (source.labels, source.class_names) == ([0, 0, 1], ["cat", "dog"])
    image, label = source[2]
    assert (image.mode, image.size, label) == ("RGB", (8, 6), 1)
    assert source.digest(2) == hashlib.sha256((tmp_path / "dog/b.png").read_bytes()).digest()


def test_split_folders_share_class_indices(tmp_path):
    write(tmp_path, "train/cat/a.png", "train/dog/b.png", "Val/dog/c.png", "test/eel/d.png")
    splits = open_data(str(tmp_path))
    assert {name: source.labels for name, source in splits.items()} == {
        "train": [0, 1],
        "validation": [1],
        "test": [2],
    }
    assert all(source.class_names == ["cat", "dog", "eel"] for source in splits.values())


def test_class_named_like_a_split_is_a_class(tmp_path):
    source = open_data(str(write(tmp_path, "train/a.png", "bus/b.png")))["train"]
    assert source.class_names == ["bus", "train"]


def test_flat_folder_is_unlabelled(tmp_path):
    source = open_data(str(write(tmp_path, "b.png", "a.png")))["train"]
    assert (source.labels, source.class_names, source[0][1]) == (None, None, -1)


def test_images_beside_class_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"stray\.png"):
        open_data(str(write(tmp_path, "cat/a.png", "stray.png")))


def test_no_images_says_what_was_found(tmp_path):
    for folder in ("a/b", "c"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "a" / ".DS_Store").touch()
    (tmp_path / ".hidden.png").touch()
    with pytest.raises(
        DataError, match="found 3 folders, 0 images, 2 hidden files, 0 other files"
    ) as caught:
        open_data(str(tmp_path))
    one_line(caught)


def test_link_inside_the_folder_is_followed(tmp_path):
    write(tmp_path, "cat/a.png")
    (tmp_path / "cat" / "b.png").symlink_to("a.png")
    source = open_data(str(tmp_path))["train"]
    assert len(source) == 2 and source.digest(0) == source.digest(1)


@pytest.mark.parametrize("target", ["outside.png", "data-too/x.png", "missing.png"])
def test_link_out_of_the_folder_is_refused(tmp_path, target):
    write(tmp_path, "data/cat/a.png", "outside.png", "data-too/x.png")
    (tmp_path / "data" / "cat" / "b.png").symlink_to(tmp_path / target)
    with pytest.raises(DataError, match=r"cat/b\.png"):
        open_data(str(tmp_path / "data"))


def test_linked_folder_is_refused(tmp_path):
    write(tmp_path, "data/cat/a.png", "elsewhere/b.png")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(DataError, match="dog"):
        open_data(str(tmp_path / "data"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_named_pipe_does_not_hang(tmp_path):
    write(tmp_path, "cat/a.png")
    os.mkfifo(tmp_path / "cat" / "b.png")
    assert len(open_data(str(tmp_path))["train"]) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems forbid such file names")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a\nb.png", r"a\nb.png"),
        (b"a'\".png", "a'\".png"),
        ("🦆.png".encode(), "🦆.png"),
        (b"x" * 251 + b".png", "x" * 251 + ".png"),
        (b"\xff\xfe.png", r"\xff\xfe.png"),
        (b"back\\n.png", r"back\\n.png"),
        ("\u202egnp.png".encode(), r"\u202egnp.png"),
        (b"\x1b[2J.png", r"\x1b[2J.png"),
    ],
)
def test_odd_file_names_work_and_are_shown_on_one_line(tmp_path, name, shown):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / os.fsdecode(name)).write_bytes(encoded())
    source = open_data(str(tmp_path))["train"]
    assert source.name(0) == f"cat/{shown}" and source.name(0).isprintable()
    assert source[0][1] == 0
    assert source.index_of([source.name(0)]) == source.index_of([f"cat/{os.fsdecode(name)}"]) == [0]


def test_printable_names_do_not_collide():
    assert len(set(map(printable, ["a\n", "a\\n", "a\\\\n", "a\udc0a", "a\udcff", "a\\xff"]))) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="other systems forbid such folder names")
@pytest.mark.parametrize("name", ['"><img src=x onerror=1>', "{{7*7}}", "a\nb", "-rf"])
def test_class_names_are_kept_literally(tmp_path, name):
    source = open_data(str(write(tmp_path, f"{name}/a.png", "zzz/b.png")))["train"]
    assert name in source.class_names
    assert resolve_class(name, source.class_names, 2, source.labels) == source.class_names.index(
        name
    )


def test_class_name_that_is_not_utf8_can_be_encoded(tmp_path):
    if sys.platform != "linux":
        pytest.skip("other systems forbid such folder names")
    write(tmp_path, os.fsdecode(b"\xe9t\xe9") + "/a.png")
    assert open_data(str(tmp_path))["train"].class_names == [r"\xe9t\xe9"]


# Damaged and unusual images


def bad_crc() -> bytes:
    data = bytearray(encoded("PNG"))
    at = data.index(b"IDAT")
    data[at - 4 + 8 + int.from_bytes(data[at - 4 : at], "big")] ^= 1
    return bytes(data)


def huge_png(side: int) -> bytes:
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n"
        + b"\0\0\0\x0d"
        + header
        + zlib.crc32(header).to_bytes(4, "big")
        + encoded()[33:]
    )


BROKEN = {
    "truncated.jpg": encoded("JPEG", (64, 64))[:900],
    "crc.png": bad_crc(),
    "header_only.png": encoded()[:20],
    "truncated.gif": encoded("GIF", (64, 64))[:200],
    "truncated.webp": encoded("WEBP", (64, 64))[:80],
    "truncated.tiff": encoded("TIFF", (64, 64))[:100],
    "truncated.bmp": encoded("BMP", (64, 64))[:100],
    "truncated.ppm": encoded("PPM", (64, 64))[:100],
    "empty.png": b"",
    "text.png": b"just text\n",
    "vector.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "other_format.png": encoded("PCX"),
    "bomb.png": huge_png(10_000),
    "bigger_bomb.png": huge_png(20_000),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", BROKEN)
def test_broken_image_is_a_data_error_that_names_the_file(tmp_path, name):
    write(tmp_path, "cat/good.png")
    (tmp_path / "cat" / name).write_bytes(BROKEN[name])
    source = open_data(str(tmp_path))["train"]
    i = source.index_of([name])[0]
    with pytest.raises(DataError) as caught:
        source[i]
    assert one_line(caught).startswith(f"cat/{name}: ")
    assert source.digest(i) == hashlib.sha256(BROKEN[name]).digest()


def test_pixel_limit_is_checked_before_decoding_and_never_raised():
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(DataError, match="100000000 pixels"):
        decode_image(BROKEN["bomb.png"], "x.png")
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.data())
def test_any_damage_is_a_data_error_or_an_image(data):
    original = encoded(data.draw(st.sampled_from(list(images._SUFFIXES))), (12, 9))
    at = data.draw(st.integers(0, len(original) - 1))
    damaged = (
        original[:at]
        + data.draw(st.binary(max_size=4))
        + original[at + data.draw(st.integers(0, 40)) :]
    )
    with contextlib.suppress(DataError):
        assert decode_image(damaged, "x")[0].mode == "RGB"


needs_avif = pytest.mark.skipif(
    "AVIF" not in images._SUFFIXES, reason="this Pillow reads no AVIF: 11.3 or newer does"
)


@needs_avif
def test_avif_is_read_by_suffix_and_by_content(tmp_path):
    write(tmp_path, "cat/b.png")
    (tmp_path / "cat/a.avif").write_bytes(encoded("AVIF", (12, 9)))
    source = open_data(str(tmp_path))["train"]
    assert source[0][0].size == (12, 9)
    assert decode_image(encoded("AVIF", (12, 9)), "a.png")[1] == "AVIF file named .png"
    with pytest.raises(DataError, match=r"cat/a\.avif"):
        decode_image(encoded("AVIF", (12, 9))[:100], "cat/a.avif")


def test_an_old_pillow_says_what_avif_needs(monkeypatch):
    monkeypatch.delitem(images._SUFFIXES, "AVIF", raising=False)
    header = b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B"
    with pytest.raises(DataError, match=r"a\.avif: an AVIF image needs Pillow 11\.3"):
        decode_image(header + bytes(64), "a.avif")


def exif_rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 3
    return encoded("JPEG", exif=exif)


def animated() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def sixteen_bit() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), 51400, dtype=np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "note"),
    [
        ("grey.png", encoded(mode="L"), "L->RGB"),
        ("alpha.png", encoded(mode="RGBA"), "RGBA->RGB"),
        ("print.jpg", encoded("JPEG", mode="CMYK"), "CMYK->RGB"),
        ("deep.png", sixteen_bit(), f"{Image.open(io.BytesIO(sixteen_bit())).mode}->RGB"),
        ("palette.png", encoded(mode="P"), "P->RGB"),
        ("phone.jpeg", exif_rotated(), "EXIF rotated"),
        ("film.gif", animated(), "first frame only, P->RGB"),
        ("wrong.jpg", encoded("GIF"), "GIF file named .jpg, P->RGB"),
        ("plain.jpg", encoded("JPEG"), None),
    ],
)
def test_unusual_images_work_with_a_note(tmp_path, name, data, note):
    (tmp_path / name).write_bytes(data)
    source = open_data(str(tmp_path), transform=Preprocess(resize=(5, 5)))["train"]
    pixels, label, actual = source.fetch(0)
    assert (pixels.shape, label, actual) == ((3, 5, 5), -1, note)
    if name == "film.gif":
        assert pixels[:, 0, 0].tolist() == [1.0, 0.0, 0.0]
    if name == "deep.png":
        assert (pixels * 255).round().unique().tolist() == [200]


def test_file_removed_after_opening(tmp_path):
    source = open_data(str(write(tmp_path, "cat/a.png")))["train"]
    (tmp_path / "cat" / "a.png").unlink()
    with pytest.raises(DataError, match=r"cat/a\.png"):
        source[0]


# Tables


def table(rows: int = 4, **columns):
    datasets = pytest.importorskip("datasets")
    images = [{"bytes": encoded(seed=i), "path": f"dir{i % 2}/{i:03}.png"} for i in range(rows)]
    features = {"img": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])}
    data = {"img": images, "label": [i % 2 for i in range(rows)]}
    dataset = datasets.Dataset.from_dict(data, features=datasets.Features(features))
    for name, values in columns.items():
        dataset = dataset.add_column(name, values)
    return dataset


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    if importlib.util.find_spec("datasets"):
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def test_parquet_shards_and_splits(tmp_path):
    for i in range(2):
        table(3).to_parquet(tmp_path / f"train-0000{i}-of-00002.parquet")
    table(2).to_parquet(tmp_path / "test.parquet")
    splits = open_data(str(tmp_path))
    assert {name: len(source) for name, source in splits.items()} == {"train": 6, "test": 2}
    train = splits["train"]
    assert train.name(4) == "train-00001-of-00002.parquet row 1"
    assert (train.labels, train.class_names) == ([0, 1, 0, 0, 1, 0], ["ant", "bee"])
    assert train[4][0].tobytes() == Image.open(io.BytesIO(encoded(seed=1))).tobytes()
    assert train.digest(4) == hashlib.sha256(encoded(seed=1)).digest()
    assert train.index_of([train.name(i) for i in (5, 0)]) == [5, 0]


def test_one_parquet_file_of_any_name_is_train(tmp_path):
    file = tmp_path / "odd [1] *name.parquet"
    table().to_parquet(file)
    assert list(open_data(str(file))) == ["train"]


def test_saved_dataset(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict(train=table(3), validation=table(2)).save_to_disk(tmp_path / "both")
    table(2).select([1]).save_to_disk(tmp_path / "one")
    assert {name: len(s) for name, s in open_data(str(tmp_path / "both")).items()} == {
        "train": 3,
        "validation": 2,
    }
    one = open_data(str(tmp_path / "one"))["train"]
    assert (one.name(0), one.labels) == ("train row 0", [1])


def test_text_and_word_labels_share_names_across_splits(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"y": ["no", "yes"], "t": ["a", "é"]}).to_parquet(
        tmp_path / "train.parquet"
    )
    datasets.Dataset.from_dict({"y": ["yes", None], "t": ["c", None]}).to_parquet(
        tmp_path / "test.parquet"
    )
    splits = open_data(str(tmp_path), label_column="y")
    assert splits["train"][1] == ("é", 1)
    assert splits["train"].digest(1) == hashlib.sha256("é".encode()).digest()
    assert (splits["test"].labels, splits["test"].class_names) == ([1, -1], ["no", "yes"])
    with pytest.raises(DataError, match=r"test\.parquet row 1"):
        splits["test"][1]


def test_integer_labels_have_no_names(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [3, 1]}).to_parquet(
        tmp_path / "x.parquet"
    )
    source = open_data(str(tmp_path))["train"]
    assert (source.labels, source.class_names) == ([3, 1], None)


@pytest.mark.parametrize("first", ["id", "text"])
def test_an_id_of_letters_is_not_taken_for_the_text(tmp_path, first):
    datasets = pytest.importorskip("datasets")
    columns = {"id": ["k1", "k2"], "text": ["good", "bad"], "label": [1, 0]}
    ordered = {first: columns[first]} | columns
    datasets.Dataset.from_dict(ordered).to_parquet(tmp_path / "train.parquet")
    assert open_data(str(tmp_path))["train"][0] == ("good", 1)


def test_two_columns_of_text_are_a_choice(tmp_path):
    datasets = pytest.importorskip("datasets")
    columns = {"question": ["a"], "answer": ["b"], "label": [1]}
    datasets.Dataset.from_dict(columns).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(UsageError, match="question, answer"):
        open_data(str(tmp_path))
    chosen = open_data(str(tmp_path), text_column="answer")["train"]
    assert chosen[0] == ("b", 1)


def test_struct_and_binary_columns_hold_images(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"s": [{"bytes": encoded(), "path": None}], "b": [encoded("JPEG")]}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "x.parquet")
    assert open_data(str(tmp_path))["train"][0][0].size == (8, 6)
    chosen = open_data(str(tmp_path), image_column="b")["train"]
    assert chosen.digest(0) == hashlib.sha256(encoded("JPEG")).digest()


def test_table_cannot_make_us_read_another_file(tmp_path):
    secret = write(tmp_path / "home", "private.png") / "private.png"
    datasets = pytest.importorskip("datasets")
    (tmp_path / "data").mkdir()
    rows = {"img": [{"bytes": None, "path": str(secret)}]}
    kinds = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    datasets.Dataset.from_dict(rows, features=datasets.Features({"img": kinds})).to_parquet(
        tmp_path / "data/x.parquet"
    )
    source = open_data(str(tmp_path / "data"))["train"]
    for read in (source.fetch, source.digest):
        with pytest.raises(DataError, match=r"x\.parquet row 0: no image bytes"):
            read(0)


def test_broken_image_in_a_table(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"img": [{"bytes": b"no", "path": "a.png"}]}).to_parquet(
        tmp_path / "train.parquet"
    )
    with pytest.raises(DataError, match=r"^train\.parquet row 0: "):
        open_data(str(tmp_path))["train"][0]


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"image_column": "nope"}, "img, label, other, words"),
        ({"image_column": "label"}, "no encoded images"),
        ({"text_column": "label"}, "no text"),
        ({"label_column": "img", "image_column": "img"}, "no labels"),
        ({"image_column": "img", "text_column": "words"}, "not both"),
        ({}, "img, other"),
    ],
)
def test_wrong_or_ambiguous_columns_are_listed(tmp_path, columns, match):
    both = table(2, other=[{"bytes": encoded(), "path": ""}] * 2, words=["a", "b"])
    both.to_parquet(tmp_path / "train.parquet")
    with pytest.raises(UsageError, match=match):
        open_data(str(tmp_path), **columns)


def test_several_label_columns_are_listed(tmp_path):
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["a", "b"])
    features = datasets.Features({"t": datasets.Value("string"), "fine": names, "coarse": names})
    datasets.Dataset.from_dict(
        {"t": ["x"], "fine": [0], "coarse": [1]}, features=features
    ).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="fine, coarse"):
        open_data(str(tmp_path))
    assert open_data(str(tmp_path), label_column="coarse")["train"].labels == [1]


def test_damaged_parquet(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError) as caught:
        open_data(str(tmp_path))
    one_line(caught)


@needs_cifar10
def test_cifar10_parquet_is_picklable():
    splits = open_data(str(CIFAR10), transform=Preprocess())
    train = splits["train"]
    assert {name: len(source) for name, source in splits.items()} == {
        "train": 50_000,
        "test": 10_000,
    }
    assert (
        train.class_names[train.labels[0]] == "automobile"
        and train.name(17) == "train.parquet row 17"
    )
    copied = pickle.loads(pickle.dumps(train))
    assert torch.equal(copied[7][0], train[7][0]) and len(pickle.dumps(train)) < 1_000_000


# Specifications


def test_missing_path_names_close_ones(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UsageError, match=r"did you mean .*pictures"):
        open_data(str(tmp_path / "pitcures"))


@pytest.mark.parametrize(
    "spec", ["./nowhere", "nowhere/a/b", "nowhere.parquet", "~/nowhere-at-all", "a b", ""]
)
def test_missing_path_never_asks_the_hub(tmp_path, monkeypatch, spec):
    datasets = pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: pytest.fail("asked the hub"))
    with pytest.raises(UsageError, match="no such file or folder"):
        open_data(spec)


def test_hub_failure_is_one_line(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def offline(name, revision):
        raise ConnectionError(f"cannot reach {name} at {revision}\nmany lines")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(UsageError, match="cannot reach owner/name at v1 many lines") as caught:
        open_data("owner/name", revision="v1")
    one_line(caught)


def test_hub_dataset(monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name, revision: datasets.DatasetDict(test=table(2))
    )
    source = open_data("owner/name")["test"]
    assert (source.name(1), source[1][1], source.index_of(["001.png"])) == ("test row 1", 1, [1])


def test_without_the_datasets_library(tmp_path, monkeypatch):
    (tmp_path / "x.parquet").touch()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'unspan\[data\]'"):
        open_data(str(tmp_path))


def test_local_file_that_is_not_parquet(tmp_path):
    (tmp_path / "x.csv").write_text("a")
    with pytest.raises(UsageError, match="not a Parquet file"):
        open_data(str(tmp_path / "x.csv"))


@pytest.mark.parametrize("extra", [{"label_column": "y"}, {"revision": "main"}])
def test_arguments_that_do_not_fit_a_folder(tmp_path, extra):
    with pytest.raises(UsageError, match="leave out"):
        open_data(str(write(tmp_path, "cat/a.png")), **extra)


def test_python_factory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_factories.py").write_text(
        "pair = [(1, 0)]\ndef one(): return pair\ndef two(): return {'test': pair}\nbad = 3\n"
    )
    assert open_data("python:my_factories:one") == {"train": [(1, 0)]}
    assert open_data("python:my_factories:two") == {"test": [(1, 0)]}
    for spec in (
        "my_factories:bad",
        "my_factories:none",
        "my_factories",
        "no_such_module:x",
        "my_factories:",
    ):
        with pytest.raises(UsageError):
            open_data(f"python:{spec}")


def test_python_factory_that_returns_something_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_streams.py").write_text("def stream(): return iter([1])\n")
    with pytest.raises(UsageError, match="list_iterator"):
        open_data("python:my_streams:stream")


def test_workers_and_transform(tmp_path):
    source = open_data(str(write(tmp_path, "a/1.png", "b/2.png")))["train"]
    transformed = source.with_transform(Preprocess())
    assert isinstance(transformed, Source) and isinstance(source[0][0], Image.Image)
    loader = torch.utils.data.DataLoader(
        transformed, batch_size=2, num_workers=1, multiprocessing_context="spawn"
    )
    pixels, labels = next(iter(loader))
    assert pixels.shape == (2, 3, 6, 8) and labels.tolist() == [0, 1]


# Ids


def test_ids_by_path_name_stem_and_index(tmp_path):
    source = open_data(str(write(tmp_path, "cat/a.png", "cat/b.png", "dog/c.png")))["train"]
    assert source.index_of(["dog/c.png", "b.png", "a", "2", "0"]) == [2, 1, 0, 2, 0]


def test_unknown_and_ambiguous_ids(tmp_path):
    source = open_data(str(write(tmp_path, "cat/a.png", "cat/1.png", "dog/a.png")))["train"]
    unknown = [f"u{i}" for i in range(7)]
    with pytest.raises(
        DataError, match=r"7 of 8 ids match no sample.*'u0', 'u1', 'u2', 'u3', 'u4';"
    ) as caught:
        source.index_of(["cat/a.png", *unknown])
    assert "u5" not in one_line(caught)
    for ambiguous in (
        "a",
        "a.png",
        "1",
    ):  # "1" is the second index and the stem of cat/1.png, the first
        with pytest.raises(DataError, match="match several samples"):
            source.index_of([ambiguous])


def test_id_column_alone_decides(tmp_path):
    table(3, key=["2", "x", "x"]).to_parquet(tmp_path / "train.parquet")
    source = open_data(str(tmp_path), id_column="key")["train"]
    assert source.index_of(["2"]) == [0]
    for wrong in ("000.png", "1", "x"):
        with pytest.raises(DataError):
            source.index_of([wrong])


def test_ids_are_shown_on_one_short_line(tmp_path):
    source = open_data(str(write(tmp_path, "cat/a.png")))["train"]
    with pytest.raises(DataError) as caught:
        source.index_of(["evil\nline" + "x" * 10_000])
    assert len(one_line(caught)) < 400


@given(
    st.lists(
        st.text(string.ascii_letters + string.digits + " .,\"'/é🦆", min_size=1)
        .map(str.strip)
        .filter(bool),
        min_size=1,
    )
)
def test_csv_ids_round_trip(tmp_path_factory, ids):
    quoted = "".join('"' + one.replace('"', '""') + '",x\r\n' for one in ids)
    path = tmp_path_factory.mktemp("ids") / "ids.csv"
    path.write_bytes(b"\xef\xbb\xbfPath,other\r\n" + quoted.encode())
    assert read_ids(path) == ids


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"\xef\xbb\xbf7\r\n\r\n # note\n#x\n cat/a b.png \n8", ["7", "cat/a b.png", "8"]),
        ("a.csv", b"label,index\ncat,3\n\n,4\n", ["3", "4"]),
        ("a.csv", b"sample,label\nx,cat\n", ["x"]),
        ("a.csv", b"5\n6\n", ["5", "6"]),
        ("a.CSV", b"a.JPG,cat\nb.jpg,dog\n", ["a.JPG", "b.jpg"]),
    ],
)
def test_id_files(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    assert read_ids(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b""),
        ("a.txt", b"# only a comment\n\n"),
        ("a.csv", b"id\n"),
        ("a.csv", b"label,id\ncat,1\ndog\n"),
        ("a.csv", b'id\n"open quote\n'),
        ("a.txt", b"1\n\x00\x01"),
        ("a.txt", b"\xff\xfe1\x00"),
        ("a.csv", encoded()),
    ],
)
def test_id_files_without_usable_ids(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_ids(tmp_path / name)


def test_missing_id_file(tmp_path):
    with pytest.raises(UsageError, match=r"none\.txt"):
        read_ids(tmp_path / "none.txt")


# Classes

NAMES = ["cat", "dog", "3", "owl"]


@pytest.mark.parametrize(
    ("selector", "expected"), [("cat", 0), (1, 1), ("1", 1), ("3", 2), (3, 3), ("owl", 3)]
)
def test_class_by_name_or_index(selector, expected):
    assert resolve_class(selector, NAMES, 4, {0, 1, 2, 3}) == expected


@pytest.mark.parametrize(
    ("selector", "names", "match"),
    [
        ("ctas", ["cats", "dogs"], "did you mean cats"),
        ("fish", NAMES, "cat, dog, 3, owl"),
        ("cat", None, "no class names.*0 to 3"),
        (4, NAMES, "0 to 3"),
        ("-1", NAMES, "0 to 3"),
        ("1.5", NAMES, "unknown class"),
        (True, NAMES, "unknown class"),
        ("eel", [*NAMES, "eel"], "outside the model's classes"),
        ("x\ny", NAMES, "unknown class"),
    ],
)
def test_class_that_does_not_exist(selector, names, match):
    with pytest.raises(UsageError, match=match) as caught:
        resolve_class(selector, names, 4, {0, 1, 2, 3})
    one_line(caught)


def test_class_without_samples():
    with pytest.raises(DataError, match="0 samples match class 'dog'; classes present: cat, 3"):
        resolve_class("dog", NAMES, 4, [2, 0, 0, -1])
