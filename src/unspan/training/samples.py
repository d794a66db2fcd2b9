"""Samples that a method may draw in any order, in memory when they fit; and named streams of
randomness.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from unspan.data.batch import Batch
from unspan.data.indexed import is_indexed
from unspan.data.inputs import first_rows
from unspan.data.loading import batches, peek
from unspan.errors import DataError
from unspan.extraction.stream import Seen
from unspan.run import Run

NO_LABEL = -1  # of a sample without one, where a method reads no labels
MEMORY = 2 * 2**30  # bytes of inputs that are kept; larger data are read anew in every epoch


def generator(seed: int, *names: Any) -> torch.Generator:
    """A stream of randomness of its own for every name, so that the order of calls changes nothing.

    >>> a, b = (torch.rand(1, generator=generator(0, name)).item() for name in ("order", "noise"))
    >>> a != b and a == torch.rand(1, generator=generator(0, "order")).item()
    True
    """
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class Minibatch:
    """Samples of one step.

    Attributes:
        x: inputs as the model takes them.
        y: `[n]` labels.
        index: `[n]` positions in the samples.
        forget: `[n]` bool, those that belong to the request.
    """

    x: Any
    y: Tensor
    index: Tensor
    forget: Tensor

    def __len__(self) -> int:
        return len(self.y)


class Samples:
    """Labelled samples of one or more parts of the data, one after the other.

    Kept in memory when all inputs are tensors that fit and reading one twice gives the same tensor
    (no random augmentation); else read anew whenever they are drawn.

    Attributes:
        y: `[n]` labels, `NO_LABEL` where there is none.
        forget: `[n]` bool, the rows of the request.
        seen: digests and conversions of what was read.
    """

    def __init__(
        self,
        parts: Sequence[tuple[Any, bool]],
        run: Run,
        *,
        what: str = "samples",
        limit: int = MEMORY,
        labelled: bool = True,
        check: Callable[[Batch], None] | None = None,
    ):
        """Read the parts once.

        Args:
            parts: data, and whether they are of the request.
            run: batch size, workers, progress.
            what: for messages and progress.
            limit: most bytes of inputs in memory.
            labelled: every sample must have a label; else those without one have `NO_LABEL`.
            check: of every batch that is read, which may refuse it.

        Raises:
            DataError: no sample, a sample without a label, or data that cannot be read twice.
        """
        for data, _ in parts:
            if not is_indexed(data):
                raise DataError(
                    f"Training reads the {what} more than once: give a dataset, not a stream or a"
                    " loader."
                )
        self._data = ConcatDataset([data for data, _ in parts]) if len(parts) > 1 else parts[0][0]
        self._run = replace(run, max_samples=None)
        self.seen, self._rows = Seen(), None
        labels, total = [], sum(len(data) for data, _ in parts)
        kept: list[Tensor] | None = [] if all(_steady(data, run) for data, _ in parts) else None
        done = size = 0
        for data, _ in parts:
            for batch in batches(data, self._run, shard=False):
                if check is not None:
                    check(batch)
                found = batch.labels
                if found is None and not labelled:
                    found = torch.full((len(batch),), NO_LABEL)
                if found is None:
                    raise DataError(
                        f"{batch.names[0]} of the {what} has no label, and this method trains with"
                        " labels."
                    )
                self.seen.digests += b"".join(batch.digests)
                self.seen.conversions.update(note for note in batch.notes if note)
                labels.append(found)
                done += len(batch)
                if kept is not None:
                    rows = batch.inputs[: len(batch)].clone()
                    kept.append(rows)
                    size += rows.numel() * rows.element_size()
                    kept = kept if size <= limit else None
                run.report(f"reading {what}", done, total)
        if not labels:
            raise DataError(f"There are no {what}.")
        self.y = torch.cat(labels)
        self.forget = torch.cat([torch.full((len(data),), mark) for data, mark in parts])
        if kept is not None:
            self._rows = torch.cat(kept)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> Minibatch:
        """The samples at these positions."""
        if self._rows is not None:
            return Minibatch(self._rows[index], self.y[index], index, self.forget[index])
        return next(self.minibatches(len(index), order=index))

    def minibatches(self, size: int, *, order: Tensor | None = None) -> Iterator[Minibatch]:
        """All samples, or those of `order` in its order, `size` at a time; the last may be
        smaller.
        """
        order = torch.arange(len(self)) if order is None else order
        if self._rows is not None:
            yield from (self.take(index) for index in order.split(size))
            return
        given = batches(
            Subset(self._data, order.tolist()),
            replace(self._run, batch_size=size, progress=None),
            shard=False,
        )
        for index, batch in zip(order.split(size), given, strict=True):
            yield Minibatch(
                first_rows(batch.inputs, len(batch)), self.y[index], index, self.forget[index]
            )

    def shuffled(self, size: int, stream: torch.Generator) -> Iterator[Minibatch]:
        """All samples once, in a random order; a last minibatch of one is left out, since BatchNorm
        cannot train on it.
        """
        order = torch.randperm(len(self), generator=stream)
        return self.minibatches(
            size, order=order[:-1] if len(order) > size > 1 and len(order) % size == 1 else order
        )

    def endless(self, size: int, stream: torch.Generator) -> Iterator[Minibatch]:
        """Minibatches of full size without end, shuffled anew whenever all were drawn."""
        size = min(size, len(self))
        while True:
            order = torch.randperm(len(self), generator=stream)
            yield from self.minibatches(size, order=order[: len(order) // size * size])

    def some(self, count: int, stream: torch.Generator) -> Tensor:
        """Positions of at most `count` samples, drawn without replacement, in order."""
        return torch.randperm(len(self), generator=stream)[:count].sort().values


def _steady(data: Any, run: Run) -> bool:
    """Whether samples are tensors and come out the same twice."""
    if len(data) == 0:
        return False
    few = Subset(data, list(range(min(4, len(data)))))
    once, again = (
        peek(batches(few, replace(run, progress=None, workers=0), shard=False))[0].inputs
        for _ in range(2)
    )
    return isinstance(once, Tensor) and torch.equal(once, again)
