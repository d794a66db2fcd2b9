"""Datasets in folders of image files: Tiny-ImageNet, and sets of faces."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from unspan.benchmark.formats.read import Read
from unspan.data.folders import ImageFiles
from unspan.data.images import printable
from unspan.data.source import Source
from unspan.errors import DataError
from unspan.training.samples import generator

AGES = ["0-6", "7-12", "13-19", "20-30", "31-45", "46-55", "56-66", "67-80"]
EMOTIONS = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]


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
