"""Datasets in the files their authors publish. Each reader returns its splits, or None when the
folder is not in its format.

Pickles are never read: of CIFAR the binary version is taken, not the Python one.
"""

from __future__ import annotations

import csv
import gzip
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from unspan.data.folders import ImageFiles
from unspan.data.images import printable
from unspan.data.source import MOST_READ, Source
from unspan.errors import DataError
from unspan.training.samples import generator

FASHION = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
AGES = ["0-6", "7-12", "13-19", "20-30", "31-45", "46-55", "56-66", "67-80"]
EMOTIONS = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]


@dataclass(frozen=True)
class Read:
    """What a reader found.

    Attributes:
        train: training samples.
        test: test samples.
        holdout: samples that neither is trained on nor reported, where the benchmark has them.
        forget: positions in `train` of the request that the benchmark defines, if it does.
    """

    train: Source
    test: Source
    holdout: Source | None = None
    forget: tuple[int, ...] | None = None


Reader = Callable[[Path], Read | None]


@dataclass(frozen=True)
class Arrays:
    """Images as one array.

    Attributes:
        name_: of the file they come from.
        images: `[n, h, w]` or `[n, h, w, 3]` uint8.
    """

    name_: str
    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def name(self, i: int) -> str:
        return f"{self.name_} image {i}"

    def raw(self, i: int) -> bytes:
        return self.images[i].tobytes()

    def load(self, i: int) -> tuple[Image.Image, str | None]:
        return Image.fromarray(self.images[i]), None

    def paths(self) -> list[str | None]:
        return [None] * len(self)

    def ids(self) -> None:
        return None

    def contents(self) -> list[bytes] | None:
        few = self.images.nbytes <= MOST_READ
        return [self.raw(i) for i in range(len(self))] if few else None


def cifar(root: Path) -> Read | None:
    """CIFAR-10 or CIFAR-100, binary version: a record is one label byte (two for CIFAR-100: coarse,
    fine) and 3,072 pixels.
    """
    for labels, train, test, names in (
        (1, [f"data_batch_{i}.bin" for i in range(1, 6)], "test_batch.bin", "batches.meta.txt"),
        (2, ["train.bin"], "test.bin", "fine_label_names.txt"),
    ):
        folder = next(
            (one for one in (root, *sorted(root.glob("cifar-*"))) if (one / test).is_file()), None
        )
        if folder is not None:
            classes = (folder / names).read_text("utf-8").split()
            return Read(
                _records(folder, train, labels, classes), _records(folder, [test], labels, classes)
            )
    return None


def _records(folder: Path, files: Sequence[str], labels: int, classes: list[str]) -> Source:
    parts = []
    for name in files:
        data = _bytes(folder / name)
        if not data or len(data) % (labels + 3072):
            raise DataError(
                f"{folder / name}: {len(data)} bytes are not whole records of {labels + 3072}; get"
                " the file again."
            )
        parts.append(np.frombuffer(data, np.uint8).reshape(-1, labels + 3072))
    if len({len(part) for part in parts}) > 1:
        raise DataError(
            f"{folder}: the batches {', '.join(files)} hold"
            f" {', '.join(str(len(part)) for part in parts)} images, and all should hold as many;"
            " get them again."
        )
    table = np.concatenate(parts)
    images = np.ascontiguousarray(table[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return Source(Arrays(folder.name, images), table[:, labels - 1].tolist(), classes)


def idx(root: Path) -> Read | None:
    """MNIST's format, as Fashion-MNIST is published: `train-images-idx3-ubyte`, plain or
    gzipped.
    """
    found = []
    for prefix in ("train", "t10k"):
        files = [
            next(
                (
                    path
                    for path in (
                        root / f"{prefix}-{kind}-ubyte",
                        root / f"{prefix}-{kind}-ubyte.gz",
                    )
                    if path.is_file()
                ),
                None,
            )
            for kind in ("images-idx3", "labels-idx1")
        ]
        if None in files:
            return None
        images, labels = (_idx(path) for path in files if path is not None)
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise DataError(
                f"{root}: {prefix} has {len(images)} images and {len(labels)} labels; get the files"
                " again."
            )
        found.append(Source(Arrays(f"{prefix} images", images), labels.tolist(), FASHION))
    train, test = found
    return Read(train, test)


def _idx(path: Path) -> np.ndarray:
    data = _bytes(path)
    try:
        zeros, kind, axes = struct.unpack(">HBB", data[:4])
        shape = struct.unpack(f">{axes}I", data[4 : 4 + 4 * axes])
        if (zeros, kind) != (0, 8):
            raise ValueError("not unsigned bytes")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (struct.error, ValueError) as error:
        raise DataError(
            f"{path} is not a whole IDX file of bytes ({error}); get it again."
        ) from error


def tiny_imagenet(root: Path) -> Read | None:
    """`tiny-imagenet-200`: the validation images, with `val_annotations.txt`, are the test set,
    since test labels are not published.
    """
    folder = next(
        (
            one
            for one in (root, root / "tiny-imagenet-200")
            if (one / "val/val_annotations.txt").is_file()
        ),
        None,
    )
    if folder is None:
        return None
    classes = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    place = {name: i for i, name in enumerate(classes)}
    train = [
        (f"train/{name}/images/{path.name}", place[name])
        for name in classes
        for path in sorted((folder / "train" / name / "images").glob("*.JPEG"))
    ]
    test = []
    for line in (folder / "val/val_annotations.txt").read_text("utf-8").splitlines():
        file, name = line.split("\t")[:2]
        if name not in place:
            raise DataError(
                f"{folder}/val/val_annotations.txt: {file} is of class {printable(name)}, which has"
                " no training folder."
            )
        test.append((f"val/images/{file}", place[name]))
    return Read(_listed(folder, train, classes), _listed(folder, test, classes))


def lacuna(
    root: Path, *, identities: int = 10, train: int = 400, test: int = 100, seed: int = 0
) -> Read | None:
    """Lacuna-10 from a VGGFace2 folder (`n000001/*.jpg`, `train/n000001/*.jpg`): ten identities
    with at least 500 images each.

    400 images of each are for training, 100 for test, drawn *without* replacement; the published
    builder draws with replacement and then splits, so that its test images leak into training.
    """
    folder = root / "train" if (root / "train").is_dir() else root
    people = sorted(path for path in folder.glob("n[0-9]*") if path.is_dir())
    if not people:
        return None
    images = {path.name: sorted(path.glob("*.jpg")) for path in people}
    rich = [name for name in images if len(images[name]) >= train + test]
    if len(rich) < identities:
        raise DataError(
            f"{folder}: {len(rich)} of {len(people)} identities have at least {train + test}"
            f" images, and {identities} are needed. Is the folder complete?"
        )
    chosen = sorted(
        rich[i]
        for i in torch.randperm(len(rich), generator=generator(seed, "identities"))[:identities]
    )
    parts: tuple[list[tuple[str, int]], list[tuple[str, int]]] = ([], [])
    for label, name in enumerate(chosen):
        order = torch.randperm(len(images[name]), generator=generator(seed, "images", name))[
            : train + test
        ].tolist()
        for place, i in enumerate(order):
            parts[place >= train].append((images[name][i].relative_to(folder).as_posix(), label))
    return Read(_listed(folder, parts[0], chosen), _listed(folder, parts[1], chosen))


def mufac(root: Path) -> Read | None:
    """MUFAC: Korean faces in 8 age groups; the first 1,500 training images are to be forgotten.
    Files as in its release.

    Its "val" files are the test set, its "test" files unseen images for the attack and for
    choosing, as in the benchmark's notebooks.
    """
    folder = next((path.parent for path in sorted(root.glob("**/custom_train_dataset.csv"))), None)
    if folder is None:
        return None
    parts = []
    for split in ("train", "val", "test"):
        rows = list(
            csv.DictReader((folder / f"custom_{split}_dataset.csv").read_text("utf-8").splitlines())
        )
        if not rows or not {"image_path", "age_class"} <= set(rows[0]):
            raise DataError(
                f"{folder}/custom_{split}_dataset.csv: columns image_path and age_class are needed."
            )
        parts.append(
            _listed(
                folder,
                [
                    (f"{split}_images/{row['image_path']}", "abcdefgh".index(row["age_class"]))
                    for row in rows
                ],
                AGES,
            )
        )
    train, test, holdout = parts
    return Read(train, test, holdout, tuple(range(min(1500, len(train)))))


def mucac(root: Path, attribute: str = "Male") -> Read | None:
    """MUCAC: CelebA-HQ with identities, one attribute as a binary task (`Male`, `Smiling`,
    `Young`).

    Identities below 190 are the test set, 190 to 1,249 are to be forgotten, to 1,626 kept, and from
    1,627 unseen, as in the benchmark.
    """
    folder = next((path.parent for path in sorted(root.glob("**/CelebA-HQ-identity.txt"))), None)
    if folder is None:
        return None
    lines = (folder / "CelebA-HQ-attribute.txt").read_text("utf-8").splitlines()
    column = lines[1].split().index(attribute)
    value = {
        line.split()[0]: int(line.split()[1 + column] == "1") for line in lines[2:] if line.strip()
    }
    parts: dict[str, list[tuple[str, int]]] = {"test": [], "train": [], "unseen": []}
    forget = []
    for line in (folder / "CelebA-HQ-identity.txt").read_text("utf-8").splitlines():
        if not line.strip():
            continue
        file, identity = line.split()[0], int(line.split()[1])
        part = "test" if identity < 190 else "train" if identity < 1627 else "unseen"
        if part == "train" and identity < 1250:
            forget.append(len(parts["train"]))
        parts[part].append((f"CelebA-HQ-img/{file}", value[file]))
    names = [f"not {attribute}", attribute]
    return Read(
        _listed(folder, parts["train"], names),
        _listed(folder, parts["test"], names),
        _listed(folder, parts["unseen"], names),
        tuple(forget),
    )


def raf_db(root: Path, *, forget: float = 0.27, holdout: float = 0.1, seed: int = 0) -> Read | None:
    """RAF-DB, basic emotions: `EmoLabel/list_patition_label.txt` (spelt so) and
    `Image/aligned/NAME_aligned.jpg`.

    A tenth of the training images is held out and 27 % are to be forgotten (1,227 and 3,314 of
    12,271), drawn at random.
    """
    listing = next(iter(sorted(root.glob("**/list_patition_label.txt"))), None)
    if listing is None:
        return None
    folder = next((path for path in sorted(root.glob("**/aligned")) if path.is_dir()), root)
    parts: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for line in listing.read_text("utf-8").splitlines():
        found = re.fullmatch(r"((train|test)_\d+)\.jpg ([1-7])", line.strip())
        if found is None:
            raise DataError(
                f"{listing}: '{printable(line)}' is not a line like 'train_00001.jpg 5'."
            )
        parts[found[2]].append((f"{found[1]}_aligned.jpg", int(found[3]) - 1))
    order = torch.randperm(len(parts["train"]), generator=generator(seed, "raf-db")).tolist()
    held = set(order[: int(holdout * len(order))])
    kept = [i for i in range(len(order)) if i not in held]
    gone = set(order[len(held) : len(held) + int(forget * len(order)) + 1])
    return Read(
        _listed(folder, [parts["train"][i] for i in kept], EMOTIONS),
        _listed(folder, parts["test"], EMOTIONS),
        _listed(folder, [parts["train"][i] for i in sorted(held)], EMOTIONS),
        tuple(place for place, i in enumerate(kept) if i in gone),
    )


def _listed(root: Path, rows: Sequence[tuple[str, int]], classes: list[str]) -> Source:
    missing = next((file for file, _ in rows if not (root / file).is_file()), None)
    if missing is not None or not rows:
        what = "no image is listed"
        if missing is not None:
            what = f"{printable(missing)} is listed but not there"
        raise DataError(f"{root}: {what}. Is the folder complete?")
    return Source(
        ImageFiles(root, [file for file, _ in rows]), [label for _, label in rows], list(classes)
    )


def _bytes(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({error}); get it again.") from error
