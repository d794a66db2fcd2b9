"""Labels of samples as class indices, however they are stored, and as the samples themselves have
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from unspan.data.class_names import find_name, names_of
from unspan.data.protocols import ArrayLike, MapStyle
from unspan.data.sample_forms import split_sample
from unspan.errors import DataError, UnspanError, UsageError

_READ_ALL = 512  # samples of data that are read whole to find their labels
_CHECKED = 256  # samples of larger data whose labels are compared with the stored ones


def label_of(raw: Any, where: str, names: Sequence[str] | None = None) -> int | None:
    """The class index that a label as stored stands for; None where a sample has none.

    Args:
        raw: a whole number, a vector with one 1 (one-hot), a class name, or None; a negative number
            is no label.
        where: which sample, for messages.
        names: class names by index, for labels that are names.

    Raises:
        DataError: a fraction, several classes at once, or a name that stands for no index.
    """
    if raw is None:
        return None
    if isinstance(raw, Integral):
        return int(raw) if int(raw) >= 0 else None
    if isinstance(raw, str):
        return _named(raw, where, names)
    if isinstance(raw, Real):
        return _whole(float(raw), where)
    try:
        values = np.asarray(raw.detach().cpu() if isinstance(raw, Tensor) else raw)
    except (TypeError, ValueError):
        values = np.empty(0, dtype=object)
    if values.size == 1 and values.dtype.kind in "biufU":
        return label_of(values.reshape(-1)[0].item(), where, names)
    if values.ndim != 1 or values.dtype.kind not in "biuf" or not values.size:
        raise DataError(
            f"The label of {where} is a {_described(raw)}, not a class. Give one whole number a"
            " sample, or inputs alone as the data to forget."
        )
    return _one_hot(values, where)


def _described(raw: Any) -> str:
    kind = type(raw).__name__
    arrays = isinstance(raw, (Tensor, np.ndarray))
    return f"{kind} of shape {list(raw.shape)}" if arrays else kind


def _named(raw: str, where: str, names: Sequence[str] | None) -> int:
    found = None if names is None else find_name(raw, names)
    if found is not None:
        return found
    known = "no class names are known" if names is None else "it is not among the class names"
    raise DataError(
        f"The label of {where} is the name {raw!r}, and {known}. Give class_names=[...] in the"
        " order of the model's outputs (--classes FILE)."
    )


def _whole(value: float, where: str) -> int | None:
    if not value.is_integer():
        raise DataError(
            f"The label of {where} is {value:g}: a class is a whole number. Give class labels, or"
            " inputs alone as the data to forget."
        )
    return int(value) if value >= 0 else None


def _one_hot(values: np.ndarray[Any, Any], where: str) -> int:
    ones = int((values == 1).sum())
    if ones == 1 and int((values == 0).sum()) == len(values) - 1:
        return int(values.argmax())
    what = "shares of classes" if values.dtype.kind == "f" and ones == 0 else f"{ones} classes"
    raise DataError(
        f"The label of {where} is a vector of {what} (multi-hot or soft), and a request is of"
        " classes that a sample has one of. Give the samples to forget, without labels, as the"
        " data to forget."
    )


def labels_from(values: Any, names: Sequence[str] | None = None) -> list[int]:
    """Class indices of stored labels, one a sample, -1 where there is none; arguments as of
    `label_of`.
    """
    plain = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    if isinstance(plain, np.ndarray) and plain.ndim == 1 and plain.dtype.kind in "biu":
        found: list[int] = np.maximum(plain.astype(np.int64), -1).tolist()
        return found
    labels = (
        raw if type(raw) is int else label_of(raw, f"sample {at}", names)
        for at, raw in enumerate(plain)
    )
    return [-1 if label is None or label < 0 else label for label in labels]


class Labelled(Dataset[Any]):
    """A dataset whose samples come with exactly the labels that it holds.

    Attributes:
        labels: one a sample, as in `label_of`; None when nothing is labelled.
        class_names: names by class index; None when classes have no names.
    """

    labels: Sequence[Any] | None = None
    class_names: list[str] | None = None


class LabelledSubset(Subset[Any]):
    """Some samples, with the labels that they had when the request was made; readers compare them.

    Attributes:
        labels: class index of each of its samples.
    """

    def __init__(self, dataset: Dataset[Any], indices: Sequence[int], labels: Sequence[int]):
        super().__init__(dataset, indices)
        self.labels = list(labels)


def is_plain_subset(data: Any) -> TypeGuard[Subset[Any]]:
    """Whether a subset only picks samples; one that changes them is a dataset of its own."""
    own = type(data).__getitem__ if isinstance(data, Subset) else None
    return own is Subset.__getitem__


def rows_in(subset: Subset[Any]) -> list[int]:
    """Positions of a subset's samples in its dataset, whatever form they were given in."""
    indices: Any = subset.indices
    rows = indices.tolist() if isinstance(indices, ArrayLike) else map(int, indices)
    total = _length(subset.dataset)
    return [row + total if row < 0 else row for row in rows]


def _length(dataset: Any) -> int:
    return len(dataset)


def row_in(subset: Subset[Any], at: int) -> int:
    """Position in its dataset of one sample of a subset."""
    row = int(subset.indices[at])
    return row + _length(subset.dataset) if row < 0 else row


def labels_of(dataset: Any, names: Sequence[str] | None = None) -> list[int]:
    """Class index of every sample of a map-style dataset, -1 where it has none.

    They are those that the samples come with. An attribute `targets` or `labels` is used where it
    agrees with a part of the samples, else every sample is read.

    Args:
        dataset: with a length.
        names: class names by index, for labels that are names; by default those of the dataset.

    Raises:
        UsageError: no labels, or data without a length.
        DataError: a label that is no class.
    """
    if isinstance(dataset, DataLoader) or not isinstance(dataset, MapStyle):
        raise UsageError(
            f"A {type(dataset).__name__} cannot be searched for a class; pass the forget samples"
            " themselves as the data (with --max-samples when they have no length)."
        )
    names = names if names is not None else names_of(dataset)
    return _labels_at(dataset, range(len(dataset)), names)


def _labels_at(dataset: Any, rows: Sequence[int], names: Sequence[str] | None) -> list[int]:
    if isinstance(dataset, LabelledSubset):
        return [dataset.labels[row] for row in rows]
    if is_plain_subset(dataset):
        inner = rows_in(dataset)
        return _labels_at(dataset.dataset, [inner[row] for row in rows], names)
    if type(dataset) is ConcatDataset:
        own = [label for part in dataset.datasets for label in labels_of(part, names)]
        return [own[row] for row in rows]
    stored = _known(dataset, names)
    if stored is not None:
        return [stored[row] for row in rows]
    return _checked(dataset, rows, names)


def _known(dataset: Any, names: Sequence[str] | None) -> list[int] | None:
    """Labels of datasets that cannot give other ones when a sample is read."""
    if isinstance(dataset, Labelled):
        if dataset.labels is None:
            raise UsageError(_NO_LABELS)
        return labels_from(dataset.labels, names)
    if isinstance(dataset, TensorDataset) and type(dataset).__getitem__ is (
        TensorDataset.__getitem__
    ):
        if not len(dataset):
            return []
        _, label = split_sample(dataset[0])
        if label is None:
            raise UsageError(_NO_LABELS)
        return labels_from(dataset.tensors[-1], names)
    return None


_NO_LABELS = (
    "This data has no labels, so a class cannot be chosen. Give samples that are (input, label)"
    " pairs, or pass the forget data itself."
)


def _checked(dataset: Any, rows: Sequence[int], names: Sequence[str] | None) -> list[int]:
    """Stored labels where samples agree with them, else those of all samples."""
    stored = None if len(rows) <= _READ_ALL else _stored(dataset, names)
    if stored is None:
        return [_read(dataset, row, names) for row in rows]
    first: dict[int, int] = {}
    for row in rows:
        first.setdefault(stored[row], row)
    step = max(1, len(rows) // _CHECKED)
    tried = [*list(first.values())[:_CHECKED], *rows[::step]]
    if any(_read(dataset, row, names) != stored[row] for row in tried):
        return [_read(dataset, row, names) for row in rows]
    return [stored[row] for row in rows]


def _stored(dataset: Any, names: Sequence[str] | None) -> list[int] | None:
    for name in ("targets", "labels"):
        found = getattr(dataset, name, None)  # where datasets of torchvision keep them
        if isinstance(found, (Sequence, np.ndarray, Tensor)) and len(found) == len(dataset):
            try:
                return labels_from(found, names)
            except DataError:  # names of something else, or raw values that are made labels later
                continue
    return None


def _read(dataset: Any, row: int, names: Sequence[str] | None) -> int:
    try:
        sample = dataset[row]
    except UnspanError:
        raise
    except Exception as error:
        raise DataError(
            f"Sample {row} could not be read: {type(error).__name__}: {error}. Repair or remove it."
        ) from error
    if sample is None:
        raise DataError(f"Sample {row} is None. Repair or remove it.")
    _, raw = split_sample(sample)
    if raw is None:
        raise UsageError(_NO_LABELS)
    label = label_of(raw, f"sample {row}", names)
    return -1 if label is None else label


def chosen_rows(labels: Iterable[int], classes: Iterable[int]) -> tuple[list[int], list[int]]:
    """Positions of the samples of some classes, and of all others."""
    wanted = set(classes)
    split: tuple[list[int], list[int]] = ([], [])
    for row, label in enumerate(labels):
        split[label not in wanted].append(row)
    return split
