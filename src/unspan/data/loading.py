"""Read data batch by batch, with the name and digest of every sample and errors that name it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from unspan import dist
from unspan.data.class_names import names_of
from unspan.data.folders import damaged_images
from unspan.data.inputs import count_rows, cut_rows
from unspan.data.labels import LabelledSubset, is_plain_subset, label_of, labels_from, row_in
from unspan.data.protocols import Collates, MapStyle
from unspan.data.sample_forms import digest_of, split_sample, stacked
from unspan.data.source import Source
from unspan.errors import DataError, ResourceError, UnspanError, UsageError
from unspan.run import Run
from unspan.system.user_code import Known


@dataclass
class Batch:
    """Samples of one forward pass.

    Attributes:
        inputs: tensor, tuple or dict as the model takes it; may hold padding rows behind the first
            `len(names)`.
        labels: `[n]` or None.
        names: where a person finds each sample.
        digests: sha256 of each sample's stored bytes, or of its tensor.
        notes: how each sample was converted, if it was.
    """

    inputs: Any
    labels: Tensor | None
    names: list[str]
    digests: list[bytes]
    notes: list[str | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)


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
        data = DataLoader(data, batch_size=run.batch_size, num_workers=run.workers)
    ready = isinstance(data, DataLoader) or not isinstance(data, MapStyle)
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
    source = _given(data, run) if ready else _loaded(data, run, shuffle, shard)
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


_Sample = tuple[Any, int | None, str, bytes, str | None]
"""Input, label, name, digest and conversion note."""


class NamedSamples(Dataset[Any]):
    """Samples with their label, name, digest and conversion note, made in the loader worker.

    Args:
        dataset: map-style data.
        indices: positions of the samples, in the order of reading.
    """

    def __init__(self, dataset: Any, indices: list[int]):
        self.dataset: Any = dataset
        self.indices = indices

    def __reduce__(self) -> tuple[Any, ...]:
        return _named_samples, (Known(), self.dataset, self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> _Sample:
        """The sample at a position of `indices`.

        Raises:
            DataError: it cannot be read, or its label is not the one of the request.
        """
        dataset, index, expected = self._stored_at(self.indices[position])
        if isinstance(dataset, Source):
            name = dataset.name(index)
            value, raw, note = _fetched(dataset, index)
            digest = dataset.digest(index)
        else:
            name = f"sample {index}"
            value, raw = _read(dataset, index)
            note = None
            digest = digest_of(value)
        label = label_of(raw, name, names_of(dataset) if isinstance(raw, str) else None)
        if expected is not None and (-1 if label is None else label) != expected:
            raise DataError(
                f"The label of {name} is {label} when it is read, and was {expected} when the"
                " request was made. Labels must stay the same; check target_transform."
            )
        return value, label, name, digest, note

    def _stored_at(self, index: int) -> tuple[Any, int, int | None]:
        """The dataset below all subsets, the position in it, and the label of the request."""
        dataset: Any = self.dataset
        expected = None
        while is_plain_subset(dataset):
            if isinstance(dataset, LabelledSubset):
                expected = dataset.labels[index]
            index = row_in(dataset, index)
            dataset = dataset.dataset
        return dataset, index, expected


def _named_samples(_known: None, dataset: Any, indices: list[int]) -> NamedSamples:
    return NamedSamples(dataset, indices)


def _fetched(source: Source, index: int) -> tuple[Any, int, str | None]:
    """As `Source.fetch`; the error of a damaged image names other damaged images too."""
    try:
        with _naming(index):
            return source.fetch(index)
    except DataError as error:
        others = damaged_images(source.stored, index)
        if not others:
            raise
        raise DataError(f"{error}. {others}") from error


def _read(dataset: Any, index: int) -> tuple[Any, Any]:
    with _naming(index):
        return split_sample(dataset[index])


@contextmanager
def _naming(index: int) -> Iterator[None]:
    """Make one error that names the sample of whatever the user's code raises."""
    try:
        yield
    except UnspanError:
        raise
    except Exception as error:
        raise DataError(
            f"Sample {index} could not be read: {type(error).__name__}: {error}. Repair or"
            " remove it."
        ) from error


class _Collate:
    """Stack samples; a short last batch is filled by repeating its last sample, so that every
    sample is computed in a batch of the same shape and its features do not depend on who else was
    in the pass.
    """

    def __init__(self, batch_size: int, collate: Callable[[list[Any]], Any]):
        self.batch_size = batch_size
        self.collate = collate

    def __call__(self, samples: list[_Sample]) -> Batch:
        values, labels, names, digests, notes = zip(*samples, strict=True)
        padded = list(values) + [values[-1]] * (self.batch_size - len(values))
        known = None if any(label is None for label in labels) else torch.tensor(labels)
        return Batch(
            stacked(padded, names, self.collate), known, list(names), list(digests), list(notes)
        )


def _collate_of(dataset: Any) -> Callable[[list[Any]], Any]:
    """How samples become a batch: as the transform of the dataset says, else as torch does."""
    root = dataset
    while is_plain_subset(root):
        root = root.dataset
    transform = getattr(root, "transform", None)  # a user's dataset may have none
    return transform.collate if isinstance(transform, Collates) else default_collate


def _loaded(dataset: Any, run: Run, shuffle: bool, shard: bool) -> Iterator[Batch]:
    count = len(dataset)
    order = (
        torch.randperm(count, generator=torch.Generator().manual_seed(run.seed)).tolist()
        if shuffle
        else list(range(count))
    )
    order = order[: run.max_samples]
    if shard:
        order = order[dist.rank() :: dist.world()]
    loader = DataLoader(
        NamedSamples(dataset, order),
        batch_size=run.batch_size,
        num_workers=run.workers,
        collate_fn=_Collate(run.batch_size, _collate_of(dataset)),
        timeout=run.timeout if run.workers else 0,
        generator=torch.Generator().manual_seed(run.seed),
    )
    yield from loader


def _given(data: Any, run: Run) -> Iterator[Batch]:
    """Batches of a loader or iterable as they come; in several processes, each takes every
    world-th.
    """
    seen = 0
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
        if keep and number % dist.world() == dist.rank():
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
