"""Batches of samples with their names and digests, as loader workers make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from unspan.data.class_names import names_of
from unspan.data.folders import damaged_images
from unspan.data.labels import LabelledSubset, is_plain_subset, label_of, row_in
from unspan.data.protocols import Collates
from unspan.data.sample_forms import digest_of, split_sample, stacked
from unspan.data.source import Source
from unspan.errors import DataError, UnspanError
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

    def __getitems__(self, positions: list[int]) -> list[_Sample] | UnspanError:
        """The samples of a batch, or the error of one that cannot be read.

        The error is handed over, since torch would wrap a raised one in the trace of the worker.
        """
        try:
            return [self[position] for position in positions]
        except UnspanError as error:
            return error

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


class Collate:
    """Make a `Batch` of samples, filled up to the batch size by repeating the last one.

    So every sample is computed in a batch of the same shape, and its features do not depend on who
    else was in the pass.

    Args:
        batch_size: rows of every batch.
        collate: makes the inputs of a batch of a list of samples.
    """

    def __init__(self, batch_size: int, collate: Callable[[list[Any]], Any]):
        self.batch_size = batch_size
        self.collate = collate

    def __call__(self, samples: list[_Sample] | UnspanError) -> Batch | UnspanError:
        if isinstance(samples, UnspanError):
            return samples
        values, labels, names, digests, notes = zip(*samples, strict=True)
        padded = list(values) + [values[-1]] * (self.batch_size - len(values))
        known = None if any(label is None for label in labels) else torch.tensor(labels)
        try:
            inputs = stacked(padded, names, self.collate)
        except UnspanError as error:
            return error
        return Batch(inputs, known, list(names), list(digests), list(notes))


def collate_of(dataset: Any) -> Callable[[list[Any]], Any]:
    """How samples become a batch: as the transform of the dataset says, else as torch does."""
    root = dataset
    while is_plain_subset(root):
        root = root.dataset
    transform = getattr(root, "transform", None)  # a user's dataset may have none
    return transform.collate if isinstance(transform, Collates) else default_collate
