"""Samples that stand in two sets: the same rows of one dataset, or the same content in two."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

from unspan.data.given import Relabelled, TableView, Unlabelled
from unspan.data.labels import is_plain_subset, rows_in
from unspan.data.protocols import MapStyle
from unspan.data.sample_forms import digest_of, split_sample
from unspan.data.source import MOST_READ, Source
from unspan.errors import DataError

Row = tuple[int, int]
"""Identity of a dataset, and the position of a sample in it."""


def rows_of(data: Any) -> tuple[list[Row], dict[int, Any]]:
    """Where every sample stands in the dataset that holds it, through subsets and joined datasets.

    Returns:
        A row per sample, and the datasets that hold them by identity; both empty for data without a
        length.
    """
    if isinstance(data, DataLoader):
        return rows_of(data.dataset) if not data.drop_last else ([], {})
    if not isinstance(data, MapStyle):
        return [], {}
    if isinstance(data, (Relabelled, Unlabelled)):
        return rows_of(data.dataset)
    if is_plain_subset(data):
        inner, roots = rows_of(data.dataset)
        return [inner[row] for row in rows_in(data)], roots
    if type(data) is ConcatDataset:
        rows = []
        roots = dict[int, Any]()
        for part in data.datasets:
            more, held = rows_of(part)
            rows += more
            roots |= held
        return rows, roots
    root = data.stored if isinstance(data, Source) else data
    return [(id(root), row) for row in range(len(data))], {id(root): data}


def digests_of(data: Any) -> list[bytes] | None:
    """sha256 of each sample's stored bytes, for data that keeps them; None for other data."""
    rows, roots = rows_of(data)
    if not roots or not all(isinstance(root, Source) for root in roots.values()):
        return None
    return [roots[root].digest(row) for root, row in rows]


def contents_of(data: Any) -> list[bytes] | None:
    """As `digests_of`; for tensors in memory and tables the sha256 of each input.

    None where there are none, or where telling would read more than `MOST_READ` bytes.
    """
    rows, roots = rows_of(data)
    held: dict[int, list[bytes]] = {}
    wanted: dict[int, set[int]] = {}
    for root, row in rows:
        wanted.setdefault(root, set()).add(row)
    for key, own in wanted.items():
        found = _contents(roots[key], own)
        if found is None:
            return None
        held[key] = found
    return [held[root][row] for root, row in rows] if rows else None


def _contents(root: Any, rows: set[int]) -> Any:
    """sha256 by row of a dataset, of the wanted rows at least."""
    if isinstance(root, Source):
        return {row: root.digest(row) for row in rows}
    if isinstance(root, TableView):
        return _table_contents(root)
    in_memory = isinstance(root, (Tensor, list)) or (
        isinstance(root, TensorDataset) and type(root).__getitem__ is TensorDataset.__getitem__
    )
    if not in_memory or not rows:
        return None
    first = split_sample(root[min(rows)])[0]
    if not isinstance(first, Tensor) or first.numel() * first.element_size() * len(rows) > (
        MOST_READ
    ):
        return None
    return {row: digest_of(split_sample(root[row])[0]) for row in rows}


def _table_contents(view: TableView) -> list[bytes] | None:
    if view.transformed or view.table.data.nbytes > MOST_READ // 8:
        return None
    found: list[bytes] = []
    for start in range(0, len(view), 1000):
        part = range(start, min(start + 1000, len(view)))
        found += [digest_of(value) for value in view.inputs(part)]
    return found


def refuse_shared(forget: Any, retain: Any, what: str = "forget and retain sets") -> None:
    """No sample may be in both sets: no row of the same dataset, nor the same content in another.

    Args:
        forget: one set, None for none.
        retain: the other.
        what: both, for the message.

    Raises:
        DataError: shared samples; says how many.
    """
    if forget is None or retain is None:
        return
    one, held = rows_of(forget)
    other, more = rows_of(retain)
    shared = [f"{row}".encode() for _, row in sorted(set(one) & set(other))]
    if not shared and set(held) != set(more):
        shared = _same_content(forget, retain)
    if shared:
        raise DataError(overlap_message(what, len(shared), shared))


def _same_content(forget: Any, retain: Any) -> list[bytes]:
    """Content that stands in one dataset on one side, and in another on the other side."""
    gone: dict[bytes, set[int]] = {}
    for (root, _), content in zip(rows_of(forget)[0], contents_of(forget) or (), strict=False):
        gone.setdefault(content, set()).add(root)
    if not gone:
        return []
    kept = zip(rows_of(retain)[0], contents_of(retain) or (), strict=False)
    return sorted({content for (root, _), content in kept if gone.get(content, {root}) - {root}})


def copies_kept(forget: Any, retain: Any) -> int:
    """How many retained samples are exact copies of forget samples in the same dataset; 0 where
    that is not known.
    """
    one, held = rows_of(forget)
    other, more = rows_of(retain)
    count = 0
    for key in set(held) & set(more):
        root = held[key]
        mine, theirs = ([row for own, row in rows if own == key] for rows in (one, other))
        found: Any = (
            root.contents() if isinstance(root, Source) else _contents(root, {*mine, *theirs})
        )
        if found is not None:
            gone = {found[row] for row in mine}
            count += sum(found[row] in gone for row in theirs)
    return count


def overlap_message(what: str, count: int, first: Sequence[bytes]) -> str:
    """Text for samples that stand in two sets; ids are shown hashed, since they can be personal."""
    shown = ", ".join(hashed_ids(first))
    return (
        f"The {what} share {count} samples (hashed ids: {shown}). Remove them from one of the two."
    )


def hashed_ids(samples: Sequence[bytes]) -> list[str]:
    """The first samples, as hashes of their digests."""
    return [hashlib.sha256(one).hexdigest()[:12] for one in samples[:5]]


def check_overlap(what: str, first: Iterable[Any], second: Iterable[Any], allow: bool) -> list[str]:
    """A warning when data that must be apart share samples (by content), which is an error unless
    allowed.

    Raises:
        DataError: shared samples, and not allowed.
    """
    one, other = (
        set().union(*(contents_of(part) or () for part in parts)) for parts in (first, second)
    )
    shared = shared_samples(what, one, other, allow)
    if not shared:
        return []
    message = overlap_message(what, len(shared), shared)
    return [message + " The figures are not of held-out samples."]


def shared_samples(what: str, first: set[bytes], second: set[bytes], allow: bool) -> list[bytes]:
    """Digests that stand in both of two sets of samples.

    Raises:
        DataError: there are some, and that is not allowed.
    """
    shared = sorted(first & second)
    if shared and not allow:
        message = overlap_message(what, len(shared), shared)
        raise DataError(message + " Or pass --allow-overlap.")
    return shared


def shared_rows(first: Iterable[Any], second: Iterable[Any]) -> int:
    """How many samples of two groups of data are the same rows of one dataset."""
    return len(_rows_of_all(first) & _rows_of_all(second))


def _rows_of_all(parts: Iterable[Any]) -> set[Row]:
    found: set[Row] = set()
    for part in parts:
        if part is not None:
            found.update(rows_of(part)[0])
    return found


def tested_on_training(forget: Any, retain: Any, test_forget: Any, test_retain: Any) -> list[str]:
    """Warnings where test samples are rows of the request, or copies of forget samples.

    Copies are looked for where the content of the data is known without a long reading.
    """
    count = shared_rows((forget, retain), (test_forget, test_retain))
    if count:
        return [
            f"{count} test samples stand in the forget or retain set: figures on them are not of"
            " held-out samples"
        ]
    given = [part for part in (test_forget, test_retain) if part is not None]
    tests = [content for part in given for content in contents_of(part) or ()]
    gone = set(contents_of(forget) or ()) if tests else set()
    copies = sum(content in gone for content in tests)
    if not copies:
        return []
    return [
        f"{copies} test samples are exact copies of forget samples: figures on them are not of"
        " held-out samples"
    ]
