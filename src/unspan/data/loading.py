"""Read data of any form batch by batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from unspan import dist
from unspan.data.batch import Batch, Collate, NamedSamples, collate_of
from unspan.data.class_names import names_of
from unspan.data.inputs import count_rows, cut_rows
from unspan.data.labels import labels_from
from unspan.data.protocols import MapStyle
from unspan.data.sample_forms import digest_of, split_sample
from unspan.errors import DataError, ResourceError, UnspanError, UsageError
from unspan.run import Run


def size_of(data: Any, run: Run) -> int | None:
    """Samples this process will read, or None when the data has no length."""
    if isinstance(data, DataLoader):
        if isinstance(data.dataset, IterableDataset):
            total = None
        else:
            total = len(cast(Sized, data.sampler)) if data.batch_size is not None else None
            if total is not None and data.drop_last:
                total -= total % (data.batch_size or 1)
    else:
        total = len(data) if isinstance(data, MapStyle) else None
    if total is None or run.max_samples is None:
        return run.max_samples if total is None else total
    return min(total, run.max_samples)


def dropped(data: Any) -> int:
    """Samples that a `DataLoader(drop_last=True)` never gives."""
    if (
        isinstance(data, DataLoader)
        and data.drop_last
        and data.batch_size
        and not isinstance(data.dataset, IterableDataset)
    ):
        return len(cast(Sized, data.sampler)) % data.batch_size
    return 0


def two_of(first: Batch, others: Any, run: Run) -> Batch:
    """The first samples to look at a model with, or others where it is one: of one sample alone
    everything a model does to it looks linear.

    Args:
        first: of the forget set.
        others: samples to keep, None for none.
        run: batch size.
    """
    if len(first) > 1 or not isinstance(others, Sized):  # what is read once is left alone
        return first
    return peek(batches(others, run, shard=False))[0]


def peek(items: Iterable[Batch]) -> tuple[Batch, Iterator[Batch]]:
    """The first batch, and all batches including it.

    Raises:
        DataError: there is none.
    """
    iterator = iter(items)
    first = next(iterator, None)
    if first is None:
        raise DataError("The forget set is empty: no sample was read.")
    return first, itertools.chain([first], iterator)


def first_and_own(data: Any, run: Run, *, shuffle: bool = False) -> tuple[Batch, Iterator[Batch]]:
    """The first batch of the data, which every process sees, and all batches of this process.

    Raises:
        DataError: there is none.
    """
    first, everything = peek(batches(data, run, shuffle=shuffle, shard=False))
    if dist.world() == 1:
        return first, everything
    if _gives_batches(data):
        return first, itertools.islice(everything, dist.rank(), None, dist.world())
    return first, batches(data, run, shuffle=shuffle)


def _gives_batches(data: Any) -> bool:
    """Whether the data come in batches already; else samples are read by their positions."""
    return isinstance(data, (DataLoader, IterableDataset)) or not isinstance(data, MapStyle)


def batches(data: Any, run: Run, *, shuffle: bool = False, shard: bool = True) -> Iterator[Batch]:
    """Batches of any data: a map-style dataset, a `DataLoader`, or an iterable of batches.

    Args:
        data: samples are inputs, `(input, label)` pairs, or dicts (with `label` or `labels`).
        run: settings.
        shuffle: read a map-style dataset in a random order (seeded).
        shard: give each process its part.

    Raises:
        UsageError: data without a length and no `max_samples`.
        DataError: a sample that cannot be read.
        ResourceError: a loader worker died or hangs.
    """
    if isinstance(data, IterableDataset):
        data = DataLoader(data, batch_size=run.batch_size, num_workers=run.loaders)
    ready = _gives_batches(data)
    if ready and not isinstance(data, Iterable):
        raise UsageError(
            f"Data of type {type(data).__name__} is neither a Dataset, a DataLoader nor an iterable"
            " of batches."
        )
    if ready and run.max_samples is None and size_of(data, run) is None:
        raise UsageError(
            "This data has no length and might never end; pass --max-samples N (Run(max_samples=N))"
            " to stop there."
        )
    if ready:
        source = _given(data, run, shard)
    else:
        order = order_of(data, run, shuffle=shuffle)
        source = batches_at(data, order[dist.rank() :: dist.world()] if shard else order, run)
    try:
        yield from source
    except RuntimeError as error:
        text = str(error)
        if "DataLoader worker" in text or "DataLoader timed out" in text:
            raise ResourceError(
                f"A data loader worker died or hung: {text.splitlines()[0]} Try --workers 0 to see"
                " the cause."
            ) from error
        raise


def order_of(data: MapStyle, run: Run, *, shuffle: bool) -> list[int]:
    """Positions of the samples that a pass reads, in the order of reading.

    Args:
        data: map-style.
        run: seed; at most `max_samples` are read.
        shuffle: a random order (seeded).
    """
    count = len(data)
    order = (
        torch.randperm(count, generator=torch.Generator().manual_seed(run.seed)).tolist()
        if shuffle
        else list(range(count))
    )
    return order[: run.max_samples]


def batches_at(data: MapStyle, order: list[int], run: Run) -> Iterator[Batch]:
    """Batches of the samples at these positions.

    Args:
        data: map-style.
        order: of reading.
        run: batch size and loader processes.
    """
    loader = DataLoader(
        NamedSamples(data, order),
        batch_size=run.batch_size,
        num_workers=run.loaders,
        collate_fn=Collate(run.batch_size, collate_of(data)),
        timeout=run.timeout if run.loaders else 0,
        generator=torch.Generator().manual_seed(run.seed),
    )
    for batch in loader:
        if isinstance(batch, UnspanError):
            raise batch
        yield batch


def _given(data: Any, run: Run, shard: bool) -> Iterator[Batch]:
    """Batches of a loader or iterable as they come; with `shard` each process takes every
    world-th.
    """
    seen = 0
    own, among = (dist.rank(), dist.world()) if shard else (0, 1)
    names = names_of(data)
    for number, raw in enumerate(data):
        if isinstance(raw, (Tensor, Mapping, list, tuple)):
            inputs, labels = split_sample(raw, batched=True)
        else:
            raise UsageError(
                f"Batch {number} is a {type(raw).__name__}; give tensors, (inputs, labels) pairs or"
                " dicts of tensors."
            )
        count = count_rows(inputs)
        labels = _batch_labels(labels, names, number, count)
        keep = count if run.max_samples is None else min(count, run.max_samples - seen)
        if keep < count:
            inputs = cut_rows(inputs, keep)
            labels = None if labels is None else labels[:keep]
        first = seen
        seen += keep
        if keep and number % among == own:
            rows = [cut_rows(inputs, slice(i, i + 1)) for i in range(keep)]
            yield Batch(
                inputs,
                labels,
                [f"sample {first + i} (batch {number})" for i in range(keep)],
                [digest_of(row) for row in rows],
                [None] * keep,
            )
        if run.max_samples is not None and seen >= run.max_samples:
            return


def _batch_labels(raw: Any, names: list[str] | None, number: int, count: int) -> Tensor | None:
    if raw is None:
        return None
    if not isinstance(raw, Sized) or (isinstance(raw, (Tensor, np.ndarray)) and raw.ndim == 0):
        raise DataError(f"Batch {number} has one label, not one a sample; give a list of labels.")
    if isinstance(raw, (list, tuple)) and len(raw) != count and isinstance(raw[0], Tensor):
        raw = torch.stack(list(raw), 1)  # one-hot lists, which a loader stacks entry by entry
    if len(raw) != count:
        raise DataError(f"Batch {number} has {len(raw)} labels for {count} samples; give one each.")
    labels = torch.tensor(labels_from(raw, names))
    return None if bool((labels < 0).any()) else labels
