"""The map-style dataset behind every kind of data: samples, labels, where each sample is stored and
its digest.
"""

import copy
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from unspan.data.labels import Labelled
from unspan.data.selection import match_ids

SPLIT_NAMES = {
    "train": "train",
    "test": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}
"""File and folder names that stand for a split, lower case, and the key `open_data` gives it."""

Transform = Callable[[Any], Any]


class Rows(Protocol):
    """The stored samples of one split."""

    def __len__(self) -> int: ...

    def name(self, i: int) -> str:
        """Return where a person finds sample `i`, printable."""

    def raw(self, i: int) -> bytes:
        """Return the stored bytes of sample `i`, undecoded."""

    def load(self, i: int) -> tuple[Any, str | None]:
        """Return sample `i` decoded, and a note on what was converted."""

    def paths(self) -> Sequence[str | None]:
        """Return the stored path of every sample, None where there is none."""

    def ids(self) -> Sequence[str] | None:
        """Return the values of the id column, None without one."""

    def contents(self) -> Sequence[Any] | None:
        """Return a value per sample, equal where the stored bytes are; None where telling would
        read more than `MOST_READ` bytes.
        """


MOST_READ = 2**29
"""Stored bytes that are read to find copies of samples."""


class Source(Labelled):
    """One split of a dataset; picklable, so that worker processes can read it.

    Attributes:
        labels: class index per sample, -1 where a sample has none; None when nothing is labelled.
        class_names: names by class index, exactly as stored; None when classes have no names.
    """

    labels: list[int] | None

    def __init__(
        self,
        rows: Rows,
        labels: list[int] | None = None,
        class_names: list[str] | None = None,
        transform: Transform | None = None,
    ) -> None:
        self._rows = rows
        self._transform = transform
        self.labels = labels
        self.class_names = class_names

    @property
    def stored(self) -> Rows:
        """The stored samples, which the same data with other labels or transforms share."""
        return self._rows

    @property
    def transform(self) -> Transform | None:
        """What is applied to every sample."""
        return self._transform

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        """Return (transformed input, label or -1).

        Raises:
            DataError: the sample is damaged.
        """
        value, label, _ = self.fetch(i)
        return value, label

    def fetch(self, i: int) -> tuple[Any, int, str | None]:
        """Return (transformed input, label or -1, what was converted on reading, or None).

        Raises:
            DataError: the sample is damaged.
        """
        value, note = self._rows.load(i)
        label = -1 if self.labels is None else self.labels[i]
        return value if self._transform is None else self._transform(value), label, note

    def name(self, i: int) -> str:
        """Return where a person finds sample `i`, printable: ``train/cat/1.jpg`` or ``train.parquet
        row 17``.
        """
        return self._rows.name(i)

    def digest(self, i: int) -> bytes:
        """Return the SHA-256 (32 bytes) of the stored bytes: an encoded image or UTF-8 text, never
        decoded pixels.
        """
        return hashlib.sha256(self._rows.raw(i)).digest()

    def with_transform(self, transform: Transform | None) -> "Source":
        """Return the same samples with another transform."""
        other = copy.copy(self)
        other._transform = transform
        return other

    def with_labels(self, labels: list[int] | None, class_names: list[str] | None) -> "Source":
        """Return the same samples with other labels and class names."""
        other = copy.copy(self)
        other.labels, other.class_names = labels, class_names
        return other

    def contents(self) -> Sequence[Any] | None:
        """Return a value per sample, equal where the stored bytes are; None where telling would
        read too much.
        """
        return self._rows.contents()

    def index_of(self, ids: Sequence[str]) -> list[int]:
        """Find samples by id, in the order given.

        With an id column, an id is a value of that column. Otherwise it is a stored path, a `name`,
        a file name with or without its extension, or an index counted from 0.

        Raises:
            DataError: ids that match no sample, or more than one.
        """
        names = [self.name(i) for i in range(len(self))]
        return match_ids(ids, names=names, paths=self._rows.paths(), column=self._rows.ids())
