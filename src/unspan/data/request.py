"""The request: which samples must go, and which of the data are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import Subset

from unspan.data.class_names import names_of
from unspan.data.given import as_dataset, with_class_names
from unspan.data.indexed import is_indexed
from unspan.data.labels import LabelledSubset, chosen_rows, labels_of
from unspan.data.overlap import (
    check_overlap,
    digests_of,
    hashed_ids,
    overlap_message,
    refuse_shared,
    shared_samples,
)
from unspan.data.selection import listed, positions, read_ids, resolve_class
from unspan.errors import DataError, UnspanError, UsageError

__all__ = [
    "Request",
    "Splits",
    "as_request",
    "check_overlap",
    "digests_of",
    "labels_of",
    "overlap_message",
    "hashed_ids",
    "shared_samples",
]

_PARTS = ("forget", "retain", "test_forget", "test_retain", "holdout")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A deletion request over some data.

    Attributes:
        forget: the samples to erase: a `Dataset`, `DataLoader` or iterable of batches, a tensor or
            array of inputs, a pair of inputs and labels, or a `datasets.Dataset`.
        retain: the samples to keep, or None when the request holds forget data only.
        test_forget: held-out samples of what is erased, or None.
        test_retain: held-out samples of the rest, or None.
        holdout: labelled samples that no model was trained on, like those to forget, for methods
            that choose by them (`dlfd`, rewinding); not the test data that are reported.
        kind: `class`, `samples` or `data`.
        selector: class names or indices, or a count of samples; stored in the receipt.
        classes: label values that are erased (empty for sample requests).
        num_classes: classes of the data in all, None where that is not known.
        class_names: names by label, where the data have them.
    """

    forget: Any
    retain: Any = None
    test_forget: Any = None
    test_retain: Any = None
    holdout: Any = None
    kind: str = "data"
    selector: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in _PARTS:
            object.__setattr__(self, part, as_dataset(getattr(self, part)))
        refuse_shared(self.forget, self.retain)

    @classmethod
    def by_class(
        cls,
        dataset: Any,
        forget: Any,
        *,
        class_names: Sequence[str] | None = None,
        num_classes: int | None = None,
        whole: bool = False,
    ) -> Request:
        """Forget every sample of one or more classes.

        Args:
            dataset: map-style data with labels.
            forget: a class name or index, or several in a list, set, range, array or tensor.
            class_names: names of the model's outputs in order; the classes of the data are joined
                to them by name. Not needed where labels are numbers and mean the outputs.
            num_classes: outputs of the model.
            whole: all of the data may go, since what is kept is described elsewhere (statistics).

        Raises:
            UsageError: an unknown class, names that do not fit the model's, or all classes.
            DataError: a class without samples, or a label that is no class.
        """
        dataset = with_class_names(as_dataset(dataset), class_names, num_classes)
        names = names_of(dataset) or (list(class_names) if class_names is not None else None)
        labels = labels_of(dataset, names)
        if not labels:
            raise DataError("The data have no samples, so no class can be chosen.")
        present = sorted(set(labels))
        total = num_classes or (len(names) if names else max(present) + 1)
        chosen = list(
            dict.fromkeys(resolve_class(one, names, total, present) for one in listed(forget))
        )
        if not chosen:
            raise UsageError("No class is to be forgotten: give a name or an index.")
        everything = set(chosen) >= set(present) and len(present) > 1
        of_model = total > 1 and set(chosen) >= set(range(total))
        if of_model or (everything and not whole):
            raise UsageError(f"All {total} classes are to be forgotten: nothing would remain.")
        hit, rest = chosen_rows(labels, chosen)
        return cls(
            forget=LabelledSubset(dataset, hit, [labels[row] for row in hit]),
            retain=LabelledSubset(dataset, rest, [labels[row] for row in rest]) if rest else None,
            kind="class",
            selector=tuple(str(names[one]) if names else str(one) for one in chosen),
            classes=tuple(chosen),
            num_classes=total,
            class_names=tuple(names or ()),
        )

    @classmethod
    def by_index(cls, dataset: Any, forget: Any, *, whole: bool = False) -> Request:
        """Forget the samples at these positions of the data.

        Args:
            dataset: map-style data.
            forget: positions in a list, set, range, array or tensor, or a mask of booleans with one
                entry a sample.
            whole: as in `by_class`.

        Raises:
            UsageError: a position outside the data, or no positions or all.
        """
        dataset = as_dataset(dataset)
        rows = sorted(positions(forget, len(dataset)))
        if not rows:
            raise DataError("The forget set is empty: no sample positions were given.")
        if len(rows) == len(dataset) and len(dataset) > 1 and not whole:
            raise UsageError(
                f"All {len(dataset)} samples are to be forgotten: nothing would remain. To erase a"
                " whole set, pass it as the forget data."
            )
        chosen = set(rows)
        rest = [row for row in range(len(dataset)) if row not in chosen]
        return cls(
            forget=Subset(dataset, rows),
            retain=Subset(dataset, rest) if rest else None,
            kind="samples",
            selector=(f"{len(rows)} samples",),
        )

    @classmethod
    def by_ids(cls, dataset: Any, ids: Any, *, whole: bool = False) -> Request:
        """Forget the samples whose ids are listed, or stand in a CSV or text file.

        Args:
            dataset: map-style data.
            ids: a path, or ids in a list, array or tensor. An id is a position, a file name or
                path, or a value of the data's id column.
            whole: as in `by_class`.
        """
        dataset = as_dataset(dataset)
        listed_ids = (
            read_ids(Path(ids))
            if isinstance(ids, (str, Path))
            else [str(one) for one in listed(ids)]
        )
        if hasattr(dataset, "index_of"):
            return cls.by_index(dataset, dataset.index_of(listed_ids), whole=whole)
        try:
            rows = [int(one) for one in listed_ids]
        except ValueError as error:
            raise UsageError(
                f"This data has no ids, only positions 0 to {len(dataset) - 1}; got"
                f" {listed_ids[:3]}."
            ) from error
        return cls.by_index(dataset, rows, whole=whole)

    def with_test(self, dataset: Any) -> Request:
        """Add a test set, split by the erased classes (all of it counts as retained for a sample
        request). Its classes are joined by name to those of the request.
        """
        dataset = as_dataset(dataset)
        if not self.classes:
            return replace(self, test_forget=None, test_retain=dataset)
        dataset = with_class_names(dataset, self.class_names or None)
        labels = labels_of(dataset, self.class_names or None)
        parts = (
            LabelledSubset(dataset, rows, [labels[row] for row in rows]) if rows else None
            for rows in chosen_rows(labels, self.classes)
        )
        gone, kept = parts
        return replace(self, test_forget=gone, test_retain=kept)


Splits = Request  # the former name


def as_request(data: Any) -> Request:
    """A `Request`, or any data that as a whole is to be forgotten."""
    return data if isinstance(data, Request) else Request(forget=data)


def classes_in(request: Request) -> int | None:
    """How many classes the labels of the data tell apart; None where they have none."""
    try:
        parts = [part for part in (request.forget, request.retain) if part is not None]
        highest = max(max(labels_of(part), default=-1) for part in parts if is_indexed(part))
    except (UnspanError, ValueError):  # no labels, or no part that can be read twice
        return None
    return highest + 1 if highest >= 0 else None
