"""The request: which samples must go, and which of the data are left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import Subset

from unspan.errors import DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A deletion request over some data.

    Attributes:
        forget: the samples to erase: a `Dataset`, `DataLoader` or iterable of batches.
        retain: the samples to keep, or None when the request holds forget data only.
        test_forget: held-out samples of what is erased, or None.
        test_retain: held-out samples of the rest, or None.
        holdout: labelled samples that no model was trained on, like those to forget, for methods
            that choose by them (`dlfd`, rewinding); not the test data that are reported.
        kind: `class`, `samples` or `data`.
        selector: class names or indices, or a count of samples; stored in the receipt.
        classes: label values that are erased (empty for sample requests).
        num_classes: classes of the data in all, None where that is not known.
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

    def __post_init__(self) -> None:
        _refuse_overlap(self.forget, self.retain)

    @classmethod
    def by_class(
        cls,
        dataset: Any,
        forget: str | int | Sequence[str | int],
        *,
        class_names: Sequence[str] | None = None,
        num_classes: int | None = None,
    ) -> Splits:
        """Forget every sample of one or more classes, given by name or index.

        Raises:
            UsageError: an unknown class, or all classes.
            DataError: a class without samples.
        """
        from unspan.data import resolve_class

        names = (
            list(class_names)
            if class_names is not None
            else getattr(dataset, "class_names", None) or getattr(dataset, "classes", None)
        )
        labels = labels_of(dataset)
        present = sorted(set(labels))
        total = num_classes or (len(names) if names else max(present, default=-1) + 1)
        chosen = [
            resolve_class(one, names, total, present)
            for one in ([forget] if isinstance(forget, (str, int)) else forget)
        ]
        if set(chosen) >= set(range(total)) or set(chosen) >= set(present) and len(present) > 1:
            raise UsageError(f"All {total} classes are to be forgotten: nothing would remain.")
        hit = [i for i, label in enumerate(labels) if label in set(chosen)]
        made = cls._partition(
            dataset, hit, "class", tuple(str(names[c]) if names else str(c) for c in chosen)
        )
        return replace(made, classes=tuple(chosen), num_classes=total)

    @classmethod
    def by_index(cls, dataset: Any, forget: Iterable[int]) -> Splits:
        """Forget the samples at these positions of the data.

        Raises:
            UsageError: a position outside the data, or no positions or all.
        """
        indices = list(dict.fromkeys(forget))
        bad = [
            i
            for i in indices
            if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < len(dataset)
        ]
        if bad:
            raise UsageError(
                f"{len(bad)} sample positions are not in the data, first: {bad[:5]}; use 0 to"
                f" {len(dataset) - 1}."
            )
        if not indices:
            raise DataError("The forget set is empty: no sample positions were given.")
        if len(indices) == len(dataset) and len(dataset) > 1:
            raise UsageError(
                f"All {len(dataset)} samples are to be forgotten: nothing would remain. To erase a"
                " whole set, pass it as the forget data."
            )
        return cls._partition(dataset, sorted(indices), "samples", (f"{len(indices)} samples",))

    @classmethod
    def by_ids(cls, dataset: Any, ids: str | Path | Sequence[str]) -> Splits:
        """Forget the samples whose ids are listed, or stand in a CSV or text file.

        An id is a position, a file name or path, or a value of the data's id column.
        """
        from unspan.data import read_ids

        listed = read_ids(Path(ids)) if isinstance(ids, (str, Path)) else [str(one) for one in ids]
        if not hasattr(dataset, "index_of"):
            try:
                return cls.by_index(dataset, [int(one) for one in listed])
            except ValueError as error:
                raise UsageError(
                    f"This data has no ids, only positions 0 to {len(dataset) - 1}; got"
                    f" {listed[:3]}."
                ) from error
        return cls.by_index(dataset, dataset.index_of(listed))

    @classmethod
    def _partition(
        cls, dataset: Any, hit: list[int], kind: str, selector: tuple[str, ...]
    ) -> Splits:
        chosen = set(hit)
        rest = [i for i in range(len(dataset)) if i not in chosen]
        return cls(
            forget=Subset(dataset, hit),
            retain=Subset(dataset, rest) if rest else None,
            kind=kind,
            selector=selector,
        )

    def with_test(self, dataset: Any) -> Splits:
        """Add a test set, split by the erased classes (all of it counts as retained for a sample
        request).
        """
        labels = labels_of(dataset)
        hit = [i for i, label in enumerate(labels) if label in self.classes]
        rest = [i for i, label in enumerate(labels) if label not in self.classes]
        return replace(
            self,
            test_forget=Subset(dataset, hit) if hit else None,
            test_retain=Subset(dataset, rest) if rest else None,
        )


def as_splits(data: Any) -> Splits:
    """A `Splits`, or any data that as a whole is to be forgotten."""
    return data if isinstance(data, Splits) else Splits(forget=data)


def labels_of(dataset: Any) -> list[int]:
    """Labels of a map-style dataset, from `labels` or `targets` when it has them, else by reading
    every sample.

    Raises:
        UsageError: samples carry no integer label.
    """
    if isinstance(dataset, Subset):
        inner = labels_of(dataset.dataset)
        return [inner[i] for i in dataset.indices]
    for name in ("labels", "targets"):
        found = getattr(dataset, name, None)
        if found is not None:
            return [int(label) for label in found]
    if hasattr(dataset, "tensors") and len(dataset.tensors) > 1:
        return [int(label) for label in dataset.tensors[1]]
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise UsageError(
            f"A {type(dataset).__name__} cannot be searched for a class; pass the forget samples"
            " themselves as the data (with --max-samples when they have no length)."
        )
    try:
        return [int(dataset[i][1]) for i in range(len(dataset))]
    except (TypeError, IndexError, KeyError, ValueError) as error:
        raise UsageError(
            "This data has no labels, so a class cannot be chosen. Give samples that are (input,"
            " label) pairs, or pass the forget data itself."
        ) from error


def _refuse_overlap(forget: Any, retain: Any) -> None:
    """No sample may be in both sets: by position in the same dataset, by stored bytes otherwise."""
    if (
        isinstance(forget, Subset)
        and isinstance(retain, Subset)
        and forget.dataset is retain.dataset
    ):
        shared = [str(i).encode() for i in sorted(set(forget.indices) & set(retain.indices))]
    else:
        shared = sorted(set(digests_of(forget) or ()) & set(digests_of(retain) or ()))
    if shared:
        raise DataError(overlap_message("forget and retain sets", len(shared), shared))


def overlap_message(what: str, count: int, first: Sequence[bytes]) -> str:
    """Text for samples that stand in two sets; ids are shown hashed, since they can be personal."""
    import hashlib

    shown = ", ".join(hashlib.sha256(one).hexdigest()[:12] for one in first[:5])
    return (
        f"The {what} share {count} samples (hashed ids: {shown}). Remove them from one of the two."
    )


def check_overlap(what: str, first: Iterable[Any], second: Iterable[Any], allow: bool) -> list[str]:
    """A warning when data that must be apart share samples (by stored bytes), which is an error
    unless allowed.

    Raises:
        DataError: shared samples, and not allowed.
    """
    one, other = (
        set().union(*(digests_of(part) or () for part in parts)) for parts in (first, second)
    )
    return shared_samples(what, one, other, allow)


def shared_samples(what: str, first: set[bytes], second: set[bytes], allow: bool) -> list[str]:
    """As `check_overlap`, from the digests themselves."""
    shared = sorted(first & second)
    if not shared:
        return []
    message = overlap_message(what, len(shared), shared)
    if not allow:
        raise DataError(message + " Or pass --allow-overlap.")
    return [message + " The figures are not of held-out samples."]


def digests_of(data: Any) -> list[bytes] | None:
    """sha256 of each sample's stored bytes, for data that keeps them; None for other data."""
    if isinstance(data, Subset):
        root, indices = data.dataset, data.indices
    elif hasattr(data, "digest") and hasattr(data, "__len__"):
        root, indices = data, range(len(data))
    else:
        return None
    return [root.digest(i) for i in indices] if hasattr(root, "digest") else None
