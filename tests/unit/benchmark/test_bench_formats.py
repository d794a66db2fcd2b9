"""Datasets in the files their authors publish, a few images each."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset

from unspan.benchmark import formats
from unspan.benchmark.data import Data, opened
from unspan.benchmark.memory import in_memory, pooled
from unspan.benchmark.named_data import NAMED
from unspan.benchmark.requests import requests
from unspan.errors import DataError, UsageError
from unspan.run import Run


def picture(path, value=100, size=32):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(path)


def cifar(root, folder, labels, files, names):
    base = root / folder
    base.mkdir(parents=True)
    classes = 10 if labels == 1 else 100
    (base / names).write_text("\n".join(f"class{i}" for i in range(classes)) + "\n\n")
    for number, file in enumerate(files):
        rows = np.zeros((3, labels + 3072), np.uint8)
        rows[:, labels - 1] = [number, 1, 2]
        rows[:, labels : labels + 1024] = 200  # red, then green and blue
        (base / file).write_bytes(rows.tobytes())


@pytest.mark.parametrize(
    ("name", "folder", "labels", "files", "names"),
    [
        (
            "cifar10",
            "cifar-10-batches-bin",
            1,
            [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"],
            "batches.meta.txt",
        ),
        ("cifar100", "cifar-100-binary", 2, ["train.bin", "test.bin"], "fine_label_names.txt"),
    ],
)
def test_cifar_binary(tmp_path, name, folder, labels, files, names):
    cifar(tmp_path / name, folder, labels, files, names)
    data = opened(name, tmp_path, lambda image: np.asarray(image))
    assert len(data.train) == 3 * (len(files) - 1) and len(data.test) == 3
    image, label = data.train[0]
    assert image.shape == (32, 32, 3) and image[0, 0].tolist() == [200, 0, 0] and label == 0
    assert data.classes[1] == "class1"
    broken = tmp_path / name / folder / files[0]
    broken.write_bytes(broken.read_bytes()[:-1])
    with pytest.raises(DataError, match="not whole records"):
        opened(name, tmp_path, None)


@pytest.mark.parametrize("packed", [False, True])
def test_idx(tmp_path, packed):
    for prefix, n in (("train", 4), ("t10k", 2)):
        for kind, shape, values in (
            ("images-idx3", (n, 28, 28), np.arange(n).repeat(784)),
            ("labels-idx1", (n,), np.arange(n)),
        ):
            content = (
                struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
                + values.astype(np.uint8).tobytes()
            )
            path = tmp_path / "fashion-mnist" / f"{prefix}-{kind}-ubyte{'.gz' if packed else ''}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gzip.compress(content) if packed else content)
    data = opened("fashion-mnist", tmp_path, lambda image: np.asarray(image))
    assert [label for _, label in data.train] == [0, 1, 2, 3] and int(data.train[3][0].max()) == 3
    assert data.classes[4] == "Coat"
    path.write_bytes(b"\0\0\x0d\1" + bytes(8))
    with pytest.raises(DataError, match="IDX|cannot be read"):
        opened("fashion-mnist", tmp_path, None)


def test_tiny_imagenet(tmp_path):
    root = tmp_path / "tiny-imagenet" / "tiny-imagenet-200"
    for name in ("n01", "n02"):
        for i in range(3):
            picture(root / f"train/{name}/images/{name}_{i}.JPEG", size=64)
    for i in range(2):
        picture(root / f"val/images/val_{i}.JPEG", size=64)
    (root / "val/val_annotations.txt").write_text(
        "val_0.JPEG\tn02\t0\t0\t62\t62\nval_1.JPEG\tn01\t0\t0\t62\t62\n"
    )
    data = opened("tiny-imagenet", tmp_path, lambda image: image.size)
    assert [label for _, label in data.train] == [0, 0, 0, 1, 1, 1] and data.test[0] == (
        (64, 64),
        1,
    )
    (root / "val/images/val_1.JPEG").unlink()
    with pytest.raises(DataError, match="val_1.JPEG is listed but not there"):
        opened("tiny-imagenet", tmp_path, None)


def test_lacuna_draws_without_replacement(tmp_path):
    root = tmp_path / "train"
    for person in range(5):
        for i in range(12 if person else 4):
            picture(root / f"n{person:06}" / f"{i:04}_01.jpg", 20 * person + i, 8)
    found = formats.lacuna(tmp_path, identities=3, train=6, test=3)
    paths = [part.name(i) for part in (found.train, found.test) for i in range(len(part))]
    assert len(paths) == 27 == len(set(paths)), "a test image stands in the training images"
    assert not any(path.startswith("n000000") for path in paths), "too few images"
    assert [found.train.labels.count(label) for label in range(3)] == [6, 6, 6]
    again = formats.lacuna(tmp_path, identities=3, train=6, test=3)
    assert paths == [part.name(i) for part in (again.train, again.test) for i in range(len(part))]
    with pytest.raises(DataError, match="4 of 5 identities have at least 9"):
        formats.lacuna(tmp_path, identities=5, train=6, test=3)


def test_mufac(tmp_path):
    root = tmp_path / "mufac" / "custom_korean_family_dataset_resolution_128"
    for split, n in (("train", 5), ("val", 2), ("test", 1)):
        names = [f"F000{i}_AGE_D_18_b{i}.jpg" for i in range(n)]
        for name in names:
            picture(root / f"{split}_images" / name, size=128)
        (root / f"custom_{split}_dataset.csv").write_text(
            "family_id,person_id,image_path,age_class\n"
            + "".join(f"F0001,D,{name},{'abcdefgh'[i]}\n" for i, name in enumerate(names))
        )
    data = opened("mufac", tmp_path, lambda image: image.size)
    assert (
        [label for _, label in data.train] == [0, 1, 2, 3, 4]
        and len(data.test) == 2
        and len(data.holdout) == 1
    )
    assert data.forget == (0, 1, 2, 3, 4), "the first 1,500"
    assert data.classes[1] == "7-12"


def test_mucac(tmp_path):
    root = tmp_path / "mucac" / "CelebAMask-HQ"
    people = {"0.jpg": 3, "1.jpg": 190, "2.jpg": 1249, "3.jpg": 1250, "4.jpg": 1627}
    for name in people:
        picture(root / "CelebA-HQ-img" / name)
    (root / "CelebA-HQ-identity.txt").write_text(
        "".join(f"{name} {identity}\n" for name, identity in people.items())
    )
    (root / "CelebA-HQ-attribute.txt").write_text(
        "5\nBald Male Smiling Young\n"
        + "".join(f"{name}  -1 {1 if i % 2 else -1} 1 -1\n" for i, name in enumerate(people))
    )
    data = opened("mucac-male", tmp_path, None)
    assert [label for _, label in data.train] == [1, 0, 1] and data.forget == (0, 1)
    assert [data.test[0][1], data.holdout[0][1]] == [0, 0]
    assert {label for _, label in opened("mucac-smiling", tmp_path, None).train} == {1}


def test_raf_db(tmp_path):
    root = tmp_path / "raf-db" / "basic"
    names = [*(f"train_{i:05}" for i in range(20)), "test_0001"]
    for name in names:
        picture(root / "Image/aligned" / f"{name}_aligned.jpg", size=100)
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel/list_patition_label.txt").write_text(
        "".join(f"{name}.jpg {1 + i % 7}\n" for i, name in enumerate(names))
    )
    data = opened("raf-db", tmp_path, None)
    assert (len(data.train), len(data.holdout), len(data.test)) == (18, 2, 1)
    assert len(data.forget) == 6 and data.test[0][1] == 6
    (root / "EmoLabel/list_patition_label.txt").write_text("train_00001.jpg 9\n")
    with pytest.raises(DataError, match="not a line like"):
        opened("raf-db", tmp_path, None)


def test_any_image_folder(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            picture(tmp_path / split / name / "1.png")
    data = opened(str(tmp_path), None, None)
    assert data.classes == ["cat", "dog"] and len(data.train) == 2


@pytest.mark.parametrize("name", sorted(NAMED))
def test_missing_data_says_how_to_get_it(name, tmp_path, monkeypatch):
    def offline(*_, **__):
        raise UsageError("the hub was not reached")

    monkeypatch.setattr("unspan.benchmark.data.open_data", offline)
    monkeypatch.setitem(NAMED, name, type(NAMED[name])(**{**vars(NAMED[name]), "places": ()}))
    with pytest.raises(UsageError, match=r"is not here.*Get .*put it into") as found:
        opened(name, tmp_path, None)
    assert str(tmp_path) in str(found.value)


def labelled(n, classes):
    return torch.utils.data.TensorDataset(
        torch.arange(n).float()[:, None], torch.arange(n) % classes
    )


@pytest.mark.parametrize("whole", [True, False])
def test_requests_keep_their_promises(whole):
    data = Data(labelled(1000, 5), labelled(50, 5), list("abcde"), forget=(3, 4))
    one, two, three = requests(data, {"steps": [[1], [2], [0]]}, 400, 0.2, whole_forget=whole)
    seen = {
        int(x) for part in (one.forget, two.forget, three.forget, three.retain) for x, _ in part
    }
    for splits, gone in ((one, {1}), (two, {1, 2}), (three, {0, 1, 2})):
        assert {int(y) for _, y in splits.forget} <= gone and not {
            int(y) for _, y in splits.retain
        } & gone
        assert {int(y) for _, y in splits.test_forget} == gone and not {
            int(y) for _, y in splits.test_retain
        } & gone
        assert {int(x) for x, _ in splits.retain} <= seen, (
            "a retained sample that the original is not trained on"
        )
        assert len(splits.holdout) == 10
        held = {int(x) for x, _ in splits.holdout}
        assert not held & {
            int(x) for part in (splits.test_forget, splits.test_retain) for x, _ in part
        }
        counts = [
            [int(y) for _, y in splits.retain].count(label)
            for label in range(5)
            if label not in gone
        ]
        assert max(counts) < 1.4 * min(counts), "one draw, no class twice as often"
        assert len(splits.forget) == 200 if whole else 70 <= len(splits.forget) <= 130
    assert len(one.retain) == 400 and {int(x) for x, _ in two.retain} < {
        int(x) for x, _ in one.retain
    }
    (share,) = requests(data, {"share": 0.1}, None, 0.0)
    assert (
        len(share.forget) == 100
        and len(share.retain) == 900
        and share.test_forget is None
        and share.kind == "samples"
    )
    (less,) = requests(data, {"share": 0.1}, 450, 0.0, whole_forget=whole)
    assert len(less.retain) == 450 and len(less.forget) == (100 if whole else 50)
    (own,) = requests(data, {"benchmark": True}, None, 0.0)
    assert [int(x) for x, _ in own.forget] == [3, 4]
    with pytest.raises(UsageError, match="Class 7 is not one of the 5"):
        requests(data, {"classes": [7]}, None, 0.0)
    with pytest.raises(UsageError, match="nothing would remain"):
        requests(data, {"classes": [0, 1, 2, 3, 4]}, None, 0.0)


def test_parts_of_one_dataset_are_read_once_in_its_order():
    data = labelled(10, 2)
    pool, (one, none, two) = pooled(
        [Subset(data, [7, 3]), None, Subset(data, [3, 1])], Run(batch_size=2)
    )
    assert [int(x) for x, _ in pool] == [1, 3, 7] and none is None
    assert [int(x) for x, _ in one] == [7, 3] and [int(x) for x, _ in two] == [3, 1]


def test_samples_in_memory_are_the_samples():
    data = labelled(10, 2)
    kept = in_memory(torch.utils.data.Subset(data, [3, 1, 4]), Run(batch_size=2))
    assert kept.tensors[0].flatten().tolist() == [3, 1, 4] and kept.tensors[1].tolist() == [1, 1, 0]
