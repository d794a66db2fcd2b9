"""How a run reads data: device, batches, progress, and errors that name the sample."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from unspan import dist
from unspan.data.class_names import names_of
from unspan.data.labels import LabelledSubset, is_plain_subset, label_of, labels_from, row_in
from unspan.data.sample_forms import digest_of, split_sample, stacked
from unspan.errors import DataError, ResourceError, UnspanError, UsageError
from unspan.system.user_code import Known


@dataclass(frozen=True, kw_only=True)
class Run:
    """Settings of a run that do not change what is computed, except `seed`.

    Attributes:
        device: where the model runs; None keeps the model's own device.
        batch_size: samples a forward pass, for data that is not a loader already.
        workers: loader processes.
        seed: of every random choice.
        max_samples: stop after this many samples; required for data without a length.
        timeout: seconds after which a silent loader worker or process ends the run.
        progress: called as `progress(stage, done, total)`; total is None when unknown.
    """

    device: str | None = None
    batch_size: int = 64
    workers: int = 0
    seed: int = 0
    max_samples: int | None = None
    timeout: float = 300.0
    progress: Callable[[str, int, int | None], None] | None = None

    def __post_init__(self) -> None:
        for name, low in (("batch_size", 1), ("workers", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
                raise UsageError(f"{name}={value!r}: use a whole number >= {low}.")
            object.__setattr__(self, name, int(value))
        if self.seed >= 2**63:
            raise UsageError(f"seed={self.seed}: use a whole number below 2**63.")
        if self.max_samples is not None and self.max_samples < 1:
            raise UsageError(f"max_samples={self.max_samples}: use a whole number >= 1.")
        if self.device is not None:
            _check_device(self.device)

    def report(self, stage: str, done: int, total: int | None) -> None:
        """Tell the progress listener, if there is one."""
        if self.progress is not None:
            self.progress(stage, done, total)


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise UsageError(
            f"device='{device}' is not a device; use cpu, cuda, cuda:0 or mps."
        ) from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(kind, True):
        raise UsageError(f"device='{device}': no {kind} device on this machine; use --device cpu.")


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


class _Named(Dataset[Any]):
    """Samples with their name, digest and conversion note, made in the loader worker."""

    def __init__(self, dataset: Any, indices: list[int]):
        self.dataset: Any = dataset
        self.indices = indices

    def __reduce__(self) -> tuple[Any, ...]:
        return _named, (Known(), self.dataset, self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Any, int | None, str, bytes, str | None]:
        dataset: Any = self.dataset
        index, expected = self.indices[position], None
        while is_plain_subset(dataset):
            if isinstance(dataset, LabelledSubset):
                expected = dataset.labels[index]
            dataset, index = dataset.dataset, row_in(dataset, index)
        name = (
            dataset.name(index)
            if hasattr(dataset, "name") and callable(dataset.name)
            else f"sample {index}"
        )
        note = None
        try:
            if hasattr(dataset, "fetch"):
                value, raw, note = dataset.fetch(index)
            else:
                value, raw = split_sample(dataset[index])
        except UnspanError:
            raise
        except Exception as error:
            raise DataError(
                f"Sample {index} could not be read: {type(error).__name__}: {error}. Repair or"
                " remove it."
            ) from error
        label = label_of(raw, name, names_of(dataset) if isinstance(raw, str) else None)
        if expected is not None and (-1 if label is None else label) != expected:
            raise DataError(
                f"The label of {name} is {label} when it is read, and was {expected} when the"
                " request was made. Labels must stay the same; check target_transform."
            )
        digest = dataset.digest(index) if hasattr(dataset, "digest") else digest_of(value)
        return value, label, name, digest, note


def _named(_known: None, dataset: Any, indices: list[int]) -> _Named:
    return _Named(dataset, indices)


class _Collate:
    """Stack samples; a short last batch is filled by repeating its last sample, so that every
    sample is computed in a batch of the same shape and its features do not depend on who else was
    in the pass.
    """

    def __init__(self, batch_size: int, collate: Callable[[list[Any]], Any]):
        self.batch_size, self.collate = batch_size, collate

    def __call__(self, samples: list[tuple[Any, int | None, str, bytes, str | None]]) -> Batch:
        values, labels, names, digests, notes = zip(*samples, strict=True)
        padded = list(values) + [values[-1]] * (self.batch_size - len(values))
        known = None if any(label is None for label in labels) else torch.tensor(labels)
        return Batch(
            stacked(padded, names, self.collate), known, list(names), list(digests), list(notes)
        )


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
        total = len(data) if hasattr(data, "__getitem__") and hasattr(data, "__len__") else None
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
    ready = isinstance(data, DataLoader) or not (
        hasattr(data, "__getitem__") and hasattr(data, "__len__")
    )
    if ready and not hasattr(data, "__iter__"):
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
    root = dataset
    while is_plain_subset(root):
        root = root.dataset
    collate = getattr(getattr(root, "transform", None), "collate", None) or default_collate
    loader = DataLoader(
        _Named(dataset, order),
        batch_size=run.batch_size,
        num_workers=run.workers,
        collate_fn=_Collate(run.batch_size, collate),
        timeout=run.timeout if run.workers else 0,
        generator=torch.Generator().manual_seed(run.seed),
    )
    yield from loader


def _given(data: Any, run: Run) -> Iterator[Batch]:
    """Batches of a loader or iterable as they come; in several processes, each takes every
    world-th.
    """
    seen, names = 0, names_of(data)
    for number, raw in enumerate(data):
        if isinstance(raw, (Tensor, Mapping, list, tuple)):
            inputs, labels = split_sample(raw, batched=True)
        else:
            raise UsageError(
                f"Batch {number} is a {type(raw).__name__}; give tensors, (inputs, labels) pairs or"
                " dicts of tensors."
            )
        count = _rows(inputs)
        labels = _batch_labels(labels, names, number, count)
        keep = count if run.max_samples is None else min(count, run.max_samples - seen)
        if keep < count:
            inputs, labels = cut_rows(inputs, keep), None if labels is None else labels[:keep]
        first, seen = seen, seen + keep
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
    if not hasattr(raw, "__len__") or getattr(raw, "ndim", 1) == 0:
        raise DataError(f"Batch {number} has one label, not one a sample; give a list of labels.")
    if isinstance(raw, (list, tuple)) and len(raw) != count and isinstance(raw[0], Tensor):
        raw = torch.stack(list(raw), 1)  # one-hot lists, which a loader stacks entry by entry
    if len(raw) != count:
        raise DataError(f"Batch {number} has {len(raw)} labels for {count} samples; give one each.")
    labels = torch.tensor(labels_from(raw, names))
    return None if bool((labels < 0).any()) else labels


def _rows(inputs: Any) -> int:
    if isinstance(inputs, Tensor):
        return len(inputs)
    values = inputs.values() if isinstance(inputs, dict) else inputs
    return next((len(value) for value in values if isinstance(value, Tensor)), 0)


def cut_rows(inputs: Any, part: int | slice | Tensor) -> Any:
    """The first rows, a slice, or the rows of an index, of a tensor or of a dict or tuple of
    tensors.
    """
    part = slice(part) if isinstance(part, int) else part
    if isinstance(inputs, Tensor):
        return inputs[part]
    if isinstance(inputs, dict):
        return {
            key: value[part] if isinstance(value, Tensor) else value
            for key, value in inputs.items()
        }
    return type(inputs)(value[part] if isinstance(value, Tensor) else value for value in inputs)


def first_rows(inputs: Any, count: int) -> Any:
    """The first samples of a batch's inputs."""
    return cut_rows(inputs, count)


def place(inputs: Any, like: Tensor | None) -> Any:
    """Inputs on the device of a model parameter, floating tensors in its dtype."""
    if like is None:
        return inputs
    if isinstance(inputs, Tensor):
        return inputs.to(
            like.device,
            like.dtype if inputs.is_floating_point() and like.is_floating_point() else None,
        )
    if isinstance(inputs, dict):
        return {key: place(value, like) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return type(inputs)(place(value, like) for value in inputs)
    return inputs


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
