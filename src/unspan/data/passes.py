"""One pass over data: every batch, and what a reading finds in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset

from unspan import cluster
from unspan.data.batch import Batch
from unspan.data.loading import batches, batches_at, order_of
from unspan.data.protocols import MapStyle
from unspan.errors import UsageError
from unspan.run import Engine, Run

_BATCHES = 4  # that a worker reads at a time

Found_co = TypeVar("Found_co", covariant=True)
Found = TypeVar("Found")


class Reading(Protocol[Found_co]):
    """What a pass does with a batch; `rows` are its places in the pass."""

    def __call__(self, rows: slice, batch: Batch) -> Found_co:
        """What is found in the samples of the batch."""


@dataclass(frozen=True)
class Part(Generic[Found]):
    """One batch of a pass.

    Attributes:
        rows: its places in the pass.
        batch: its samples; without their inputs where another process read them.
        found: what the reading gave.
    """

    rows: slice
    batch: Batch
    found: Found


def read_batches(
    data: Any,
    run: Run,
    reading: Reading[Found],
    *,
    shuffle: bool = False,
    shard: bool = True,
    start: int = 0,
    begun: Iterator[Batch] | None = None,
) -> Iterator[Part[Found]]:
    """Read data once, in this process or on the workers of a cluster, with the same result.

    Batches hold the same samples, and come in the same order. The first is read in this process in
    either case: what a reading settles on its first batch goes along to the workers.

    Args:
        data: as in `loading.batches`; for a cluster map-style.
        run: settings.
        reading: is copied to the workers, with the models that it holds.
        shuffle: read in a random order (seeded).
        shard: give each process of torchrun its part.
        start: place of the first sample in the pass.
        begun: batches of these data in this order, where reading them has begun.

    Raises:
        UsageError: data or models that a cluster cannot have.
        DataError: a sample that cannot be read.
        ResourceError: a worker died again and again.
    """
    if run.engine is Engine.LOCAL:
        stream = batches(data, run, shuffle=shuffle, shard=shard) if begun is None else begun
        yield from _numbered(stream, reading, start)
        return
    _check(data)
    order = order_of(data, run, shuffle=shuffle)
    alone = replace(run, progress=None)
    block = _Block(data, order, alone, reading, start)
    ends = [0, *range(run.batch_size, len(order), _BATCHES * run.batch_size), len(order)]
    ranges = [range(*pair) for pair in zip(ends, ends[1:])]
    yield from block(ranges[0])
    for parts in cluster.mapped(block, ranges[1:], run):
        yield from parts


def _numbered(
    stream: Iterator[Batch], reading: Reading[Found], start: int
) -> Iterator[Part[Found]]:
    for batch in stream:
        rows = slice(start, start + len(batch))
        start = rows.stop
        yield Part(rows, batch, reading(rows, batch))


@dataclass(frozen=True)
class _Block(Generic[Found]):
    """A pass, of which a worker reads some rows."""

    data: MapStyle
    order: list[int]
    run: Run
    reading: Reading[Found]
    start: int

    def __call__(self, rows: range) -> list[Part[Found]]:
        stream = batches_at(self.data, self.order[rows.start : rows.stop], self.run)
        with torch.no_grad():
            read = list(_numbered(stream, self.reading, self.start + rows.start))
        return [replace(part, batch=replace(part.batch, inputs=None)) for part in read]


def _check(data: Any) -> None:
    """Refuse data without positions (UsageError)."""
    if isinstance(data, (DataLoader, IterableDataset)) or not isinstance(data, MapStyle):
        raise UsageError(
            f"--engine ray divides samples by their positions, and a {type(data).__name__} has"
            " none. Give a dataset with a length and __getitem__, or leave out --engine ray."
        )
