"""Data as people hand them over, made into what the rest of the package reads: a map-style dataset,
a loader, or an iterable of batches.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from unspan.data.class_matching import join
from unspan.data.class_names import names_of
from unspan.data.columns import label_column, names_of_feature
from unspan.data.labels import Labelled, is_plain_subset, label_of, labels_of, rows_in
from unspan.data.protocols import MapStyle
from unspan.data.sample_forms import LABEL_KEYS, split_sample
from unspan.data.source import Source
from unspan.errors import DataError, UsageError

_INDEX_KEYS = {"idx", "index", "id"}


def as_dataset(data: Any) -> Any:
    """Data in a form that can be read.

    Args:
        data: a Dataset, loader or iterable of batches, which come back as they are; a tensor or
            array of inputs; a pair of inputs and labels; or a `datasets.Dataset`.

    Raises:
        UsageError: a path, or splits by name, of which one must be chosen.
    """
    if data is None or isinstance(data, (Dataset, DataLoader, Tensor)):
        return data
    if isinstance(data, (str, bytes, Path)):
        raise UsageError(
            "The data are a text, not samples; open a path with unspan.data.opening.open_data(path)"
            "['train'] first."
        )
    if isinstance(data, Mapping):
        raise UsageError(
            f"The data are a {type(data).__name__} of {', '.join(map(str, list(data)[:5]))}: give"
            " one of its parts, or a pair (inputs, labels)."
        )
    library = sys.modules.get("datasets")
    if library is not None and isinstance(data, library.Dataset):
        return TableView(data)
    if isinstance(data, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(data))
    if _is_pair(data):
        return _paired(*data)
    return data


def _is_pair(data: Any) -> bool:
    """Whether data are inputs and one label for each, and not two samples."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return False
    inputs, labels = data
    if isinstance(inputs, (Tensor, np.ndarray)) and isinstance(labels, Sized):
        count = len(inputs) if inputs.ndim else 0
        shape = tuple(getattr(labels, "shape", (len(labels),)))  # a table has one, a list not
        return (
            inputs.ndim > 1
            and shape[:1] == (count,)
            and len(shape) < 3
            and shape != tuple(inputs.shape)
        )
    return (
        isinstance(data, tuple)
        and isinstance(inputs, list)
        and isinstance(labels, Sized)
        and not isinstance(labels, str)
        and len(inputs) == len(labels)
    )


def _paired(inputs: Any, labels: Any) -> Any:
    if isinstance(inputs, np.ndarray):
        inputs = torch.from_numpy(np.ascontiguousarray(inputs))
    values = labels if isinstance(labels, Tensor) else np.asarray(labels)
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        values = torch.from_numpy(np.ascontiguousarray(values))
    if isinstance(inputs, Tensor) and isinstance(values, Tensor):
        return TensorDataset(inputs, values)
    return list(zip(inputs, labels, strict=True))


class TableView(Labelled):
    """A `datasets.Dataset` as samples: inputs as tensors, the label column as labels.

    Attributes:
        table: the dataset, in torch's format unless it has a transform of its own.
        labels: values of the label column; None without one, or where a transform makes them.
    """

    def __init__(self, table: Any):
        own = table.format["type"]
        self.transformed = own == "custom"
        self.table = table if own in ("torch", "numpy", "custom") else table.with_format("torch")
        self._column = _label_key(table.features)
        names = names_of_feature(table.features.get(self._column))
        self.class_names = list(names) if names else None
        self.labels = None if self._column is None else table.with_format(None)[self._column][:]
        if not self.transformed:
            self._refuse_images(table.features)

    def _refuse_images(self, features: Mapping[str, Any]) -> None:
        images = [name for name, one in features.items() if type(one).__name__ == "Image"]
        if images:
            raise UsageError(
                f"Column {images[0]!r} holds images, and the dataset has no transform that makes"
                " inputs of them. Give it one with dataset.with_transform(...), or save it and open"
                " it with unspan.data.opening.open_data(folder, transform=...)."
            )

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        """Return (input, label as stored)."""
        return self._parts(self.table[int(i)])

    def _parts(self, row: Mapping[str, Any]) -> tuple[Any, Any]:
        if self._column is None or self._column not in row:
            return split_sample(row)
        inputs = {key: value for key, value in row.items() if key not in _INDEX_KEYS}
        label = inputs.pop(self._column)
        return split_sample(inputs)[0], label

    def inputs(self, rows: range) -> list[Any]:
        """Inputs of consecutive samples, read at once."""
        found = self.table[rows.start : rows.stop]
        return [
            self._parts({key: column[at] for key, column in found.items()})[0]
            for at in range(len(rows))
        ]


def _label_key(features: Mapping[str, Any]) -> str | None:
    """The column of the labels: of classes, or of one of the usual names."""
    try:
        found = label_column(features)
    except UsageError as error:
        raise UsageError(
            f"{error}; keep it as 'label' (dataset.rename_column, dataset.remove_columns)"
        ) from None
    return found or next((key for key in LABEL_KEYS if key in features), None)


class Relabelled(Labelled):
    """A dataset whose classes were joined to those of a model.

    Attributes:
        labels: class index in the model, one a sample.
        class_names: names of the model's classes.
    """

    def __init__(
        self, dataset: Any, own: Sequence[str], index: Sequence[int], class_names: Sequence[str]
    ):
        self.dataset = dataset
        self._own = list(own)
        self._index = list(index)
        self.class_names = list(class_names)
        self.labels = [self._joined(label) for label in labels_of(dataset, own)]

    def _joined(self, label: int) -> int:
        if label >= len(self._index):
            raise DataError(
                f"A sample has label {label}, and the data have {len(self._index)} class names."
                " Give a name for every label."
            )
        return self._index[label] if label >= 0 else -1

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        """Return (input, label)."""
        value, raw = split_sample(self.dataset[i])
        label = label_of(raw, f"sample {i}", self._own)
        return value, -1 if label is None else self._joined(label)


class Unlabelled(Labelled):
    """A dataset whose labels mean nothing to the model, without them."""

    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> tuple[Any]:
        """Return (input,)."""
        return (split_sample(self.dataset[i])[0],)


def with_class_names(data: Any, known: Sequence[str] | None, outputs: int | None = None) -> Any:
    """Data whose labels are outputs of the model, joined as `class_matching.join` does.

    Args:
        data: a map-style dataset; labels that are numbers in data without class names are taken for
            outputs already.
        known: names of the model's outputs.
        outputs: how many it has.

    Raises:
        UsageError: a class that cannot be joined.
    """
    if is_plain_subset(data) and type(data) is Subset:
        inner = with_class_names(data.dataset, known, outputs)
        return data if inner is data.dataset else Subset(inner, rows_in(data))
    own = names_of(data)
    if isinstance(data, (IterableDataset, DataLoader)) or not isinstance(data, MapStyle):
        return data
    if own is None:
        if known is None or isinstance(data, Source) or not _named_labels(data):
            return data
        return Relabelled(data, known, range(len(known)), known)
    joined = join(own, known, outputs)
    names = _names_by_label(own, known, outputs, joined.how)
    if joined.index == list(range(len(own))) and names == own:
        return data
    if isinstance(data, Source):
        labels = data.labels
        moved = None if labels is None else [joined.index[at] if at >= 0 else -1 for at in labels]
        return data.with_labels(moved, names)
    return Relabelled(data, own, joined.index, names)


def _names_by_label(
    own: list[str], known: Sequence[str] | None, outputs: int | None, how: str
) -> list[str]:
    if how == "position":
        return own
    if known is not None:
        return list(known)
    return [str(at) for at in range(max(outputs or 0, len(own)))]


def _named_labels(data: Any) -> bool:
    """Whether the labels of data without class names are names."""
    return len(data) > 0 and isinstance(split_sample(data[0])[1], str)
