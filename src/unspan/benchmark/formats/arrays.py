"""Datasets in files of all images at once: CIFAR, and MNIST's format."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from unspan.benchmark.formats.read import Read
from unspan.data.source import MOST_READ, Source
from unspan.errors import DataError

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
_IDX_KINDS = ("images-idx3", "labels-idx1")


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
        files = [_plain_or_zipped(root, f"{prefix}-{kind}-ubyte") for kind in _IDX_KINDS]
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


def _plain_or_zipped(root: Path, name: str) -> Path | None:
    files = (root / name, root / f"{name}.gz")
    return next((path for path in files if path.is_file()), None)


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


def _bytes(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({error}); get it again.") from error
