"""What is read of some samples while a pass goes over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from unspan.auditing.partial import Partial
from unspan.auditing.readers import Reader
from unspan.auditing.subjects import Subject

Told = Mapping[str, Tensor]
"""By model, `[m, d]` of the samples of a batch that are asked for."""


@dataclass(frozen=True)
class Aside:
    """Something else that is read of some samples, and kept as if a pass over them had read it.

    Attributes:
        reader: that would read it in a pass of its own.
        watch: reads it while a model runs; what it yields gives `[n, d]` of that batch.
        forget: these samples, a subset of those of the request, in order.
        retain: likewise, of the others.
    """

    reader: Reader
    watch: Callable[[Subject], AbstractContextManager[Callable[[], Tensor]]]
    forget: Subset[Any]
    retain: Subset[Any]


@dataclass(frozen=True)
class Watch:
    """Reads an aside of the batches of a pass.

    Attributes:
        aside: what is read; None where nothing is.
        rows: of the pass that are asked for, in order.
        names: of the models that are watched.
    """

    aside: Aside | None
    rows: Tensor
    names: frozenset[str]

    @contextmanager
    def during(self, subjects: Sequence[Subject], rows: slice) -> Iterator[Callable[[], Told]]:
        """Within, these models read a batch, and what is yielded tells what was read beside."""
        first, last = _among(self.rows, rows)
        tell: dict[str, Callable[[], Tensor]] = {}
        with ExitStack() as stack:
            for one in subjects:
                if self.aside is not None and first < last and one.name in self.names:
                    tell[one.name] = stack.enter_context(self.aside.watch(one))
            places = self.rows[first:last] - rows.start
            yield lambda: {name: told()[places] for name, told in tell.items()}


class Beside:
    """Writes what an aside reads.

    Args:
        aside: what is read, and of which samples; None where nothing is.
        folders: where the outputs of each model go; those of other models are not written.
        forgotten: samples of the request in the pass, which come first.
    """

    def __init__(self, aside: Aside | None, folders: Mapping[str, Path], forgotten: int):
        rows: list[int] = []
        if aside is not None:
            rows = [*aside.forget.indices, *(forgotten + place for place in aside.retain.indices)]
        self._aside = aside
        self._folders = folders
        self._rows = torch.tensor(rows, dtype=torch.int64)
        self._partial: dict[str, Partial] = {}

    def begin(self, subjects: Sequence[Subject]) -> Watch:
        """Write outputs of these models, where nothing of them was written before.

        Returns:
            What reads them.
        """
        for one in subjects:
            if one.name in self._folders:
                opened = Partial(self._folders[one.name], len(self._rows))
                if opened.done:  # a pass of its own began this, and goes on with it
                    opened.close()
                else:
                    self._partial[one.name] = opened
        return Watch(self._aside, self._rows, frozenset(self._partial))

    def write(self, rows: slice, told: Told, labels: Tensor | None, gone: bool) -> None:
        """Write what was read of those rows of the pass that are asked for.

        Args:
            rows: of the batch, in the pass.
            told: of the models.
            labels: `[n]`, None where there are none.
            gone: whether the samples are of the request.
        """
        first, last = _among(self._rows, rows)
        if first == last:
            return
        own = None if labels is None else labels[self._rows[first:last] - rows.start]
        for name, read in told.items():
            self._partial[name].write(slice(first, last), read, None, own, gone)

    def publish(self) -> None:
        """Everything is written."""
        for one in self._partial.values():
            one.publish()

    def close(self, *, keep: bool) -> None:
        """Let go of the files; what is not finished stays if `keep`."""
        for one in self._partial.values():
            one.close(keep=keep)


def _among(asked: Tensor, rows: slice) -> tuple[int, int]:
    """First and last, exclusive, of the rows asked for that lie within some rows of the pass."""
    first, last = torch.searchsorted(asked, torch.tensor([rows.start, rows.stop])).tolist()
    return first, last
