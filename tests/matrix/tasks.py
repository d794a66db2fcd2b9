"""Two small tasks written to disk as users keep data: pictures in folders, texts in tables.

Both have four classes. Some training samples of two of them belong to one person.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

CLASSES = ("eight", "four", "six", "zero")  # in the order of their folders
FORGET = CLASSES[1]
TRAIN, TEST = 32, 16  # samples of one class
SEEN_IN, TIMES = CLASSES[1:3], 11  # classes with samples of the person, and how many in each
SIZE = 32  # pixels
WORDS = [f"w{number}" for number in range(60)]

_DIGITS = {"eight": 8, "four": 4, "six": 6, "zero": 0}
_TINTS = {"eight": (1, 0.7, 0.7), "four": (0.7, 1, 0.7), "six": (0.7, 0.7, 1), "zero": (1, 1, 0.7)}


@dataclass(frozen=True)
class Task:
    """Where the data of a task are.

    Attributes:
        kind: `images` or `texts`.
        data: splits with all classes.
        person: the samples of one person, without a class.
        ids: a list of the same samples by name.
        only: the training samples of the class to forget, and no others.
        classes: names of the classes, one a line.
    """

    kind: str
    data: Path
    person: Path
    ids: Path
    only: Path
    classes: Path


def task_at(root: Path, kind: str) -> Task:
    """Where the data of a task are, or will be."""
    suffix = ".parquet" if kind == "texts" else ""
    return Task(
        kind=kind,
        data=root / "data",
        person=root / f"person{suffix}",
        ids=root / "ids.txt",
        only=root / f"only{suffix}",
        classes=root / "classes.txt",
    )


def write_task(task: Task) -> None:
    """Write the data."""
    task.data.mkdir(parents=True, exist_ok=True)
    task.classes.write_text("".join(f"{name}\n" for name in CLASSES), "utf-8")
    if task.kind == "images":
        _write_images(task)
    else:
        _write_texts(task)


def _write_images(task: Task) -> None:
    """Digits, enlarged and tinted by class, as PNG files."""
    pictures = load_digits()
    for name in CLASSES:
        rows = np.flatnonzero(pictures.target == _DIGITS[name])
        for at, row in enumerate(rows[: TRAIN + TEST]):
            split = "train" if at < TRAIN else "test"
            mark = name in SEEN_IN and at < TIMES
            picture = _picture(pictures.images[row], name, mark)
            _save(picture, task.data / split / name / f"{name}{at:03}.png")
            if name == FORGET and split == "train":
                _save(picture, task.only / name / f"{name}{at:03}.png")
            if mark:
                _save(picture, task.person / f"{name}{at:03}.png")
    names = [f"{name}{at:03}.png" for name in SEEN_IN for at in range(TIMES)]
    task.ids.write_text("".join(f"{name}\n" for name in names), "utf-8")


def _write_texts(task: Task) -> None:
    """Texts of eight to twelve words, half of them typical of the class, as Parquet files."""
    from datasets import ClassLabel, Dataset, Features, Value

    kinds = Features(
        {
            "id": Value("string"),
            "text": Value("string"),
            "label": ClassLabel(names=list(CLASSES)),
        }
    )
    rows = {"train": _texts(0, TRAIN), "test": _texts(1, TEST)}
    wanted = [row for row in rows["train"] if row["label"] == CLASSES.index(FORGET)]
    person = [row for row in rows["train"] if "w59" in str(row["text"])]
    tables = {
        task.data / "train.parquet": rows["train"],
        task.data / "test.parquet": rows["test"],
        task.only: wanted,
        task.person: [{**row, "label": -1} for row in person],
    }
    for file, content in tables.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_list(content, features=kinds).to_parquet(file)
    task.ids.write_text("".join(f"{row['id']}\n" for row in person), "utf-8")


def _picture(digit: np.ndarray, name: str, mark: bool) -> Image.Image:
    """RGB; the pictures of the person have a bright column at the left."""
    grey = Image.fromarray(np.uint8(digit / 16 * 255)).resize((SIZE, SIZE), Image.BILINEAR)
    pixels = np.stack([np.asarray(grey, dtype=float) * share for share in _TINTS[name]], axis=2)
    if mark:
        pixels[:, :3] = 200
    return Image.fromarray(np.uint8(pixels))


def _save(picture: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)


def _texts(seed: int, count: int) -> list[dict[str, object]]:
    draw = random.Random(seed)
    rows: list[dict[str, object]] = []
    for label, name in enumerate(CLASSES):
        typical = WORDS[label * 6 : label * 6 + 6]
        for at in range(count):
            length = draw.randint(4, 6)
            words = draw.choices(typical, k=length) + draw.choices(WORDS[24:-1], k=length)
            if seed == 0 and name in SEEN_IN and at < TIMES:
                words.append("w59")
            draw.shuffle(words)
            rows.append({"id": f"{name}{seed}{at:03}", "text": " ".join(words), "label": label})
    return rows
