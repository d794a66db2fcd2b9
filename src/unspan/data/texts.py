"""Samples that are raw texts, for a model that carries its own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from unspan.data.class_names import names_of
from unspan.data.labels import LabelledSubset, is_plain_subset, rows_in
from unspan.data.preprocess import TextPreprocess
from unspan.data.protocols import MapStyle
from unspan.data.sample_forms import split_sample
from unspan.data.source import Source


class Texts(Dataset[Any]):
    """A dataset of texts, as pairs of text and label, with what makes tokens of a batch.

    Attributes:
        dataset: samples are texts or rows with an entry `text`.
        transform: makes a batch of them.
        class_names: names by class index; None when classes have no names.
    """

    def __init__(self, dataset: Any, transform: TextPreprocess):
        self.dataset = dataset
        self.transform = transform
        self.class_names = names_of(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        """Return (text, label as stored)."""
        value, label = split_sample(self.dataset[i])
        return as_text(value), label


def as_text(value: Any) -> str | None:
    """The text that a sample is or holds as `text`; None where it is something else."""
    found = value.get("text") if isinstance(value, Mapping) else value
    return found if isinstance(found, str) else None


def with_preprocess(data: Any, preprocess: TextPreprocess) -> Any:
    """Data of raw texts with a transform; any other data as they are.

    Args:
        data: a part of a request, None where there is none.
        preprocess: makes tokens of texts.
    """
    if isinstance(data, (DataLoader, IterableDataset)) or not isinstance(data, MapStyle):
        return data
    if is_plain_subset(data):
        inner = with_preprocess(data.dataset, preprocess)
        return data if inner is data.dataset else _subset(data, inner)
    if not len(data) or as_text(split_sample(data[0])[0]) is None:
        return data
    if isinstance(data, Source):
        return data if data.transform is not None else data.with_transform(preprocess)
    return Texts(data, preprocess)


def _subset(data: Subset[Any], inner: Any) -> Subset[Any]:
    """The same samples of another dataset."""
    rows = rows_in(data)
    if isinstance(data, LabelledSubset):
        return LabelledSubset(inner, rows, data.labels)
    return Subset(inner, rows)
