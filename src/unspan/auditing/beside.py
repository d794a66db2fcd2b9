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

Told = Mapping[str, Callable[[], Tensor]]
"""By model, what gives `[n, d]` of the batch that it has read."""


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

    def begin(self, subjects: Sequence[Subject]) -> None:
        """Write outputs of these models, where nothing of them was written before."""
        for one in subjects:
            if one.name in self._folders:
                opened = Partial(self._folders[one.name], len(self._rows))
                if opened.done:  # a pass of its own began this, and goes on with it
                    opened.close()
                else:
                    self._partial[one.name] = opened

    @contextmanager
    def watching(self, subjects: Sequence[Subject]) -> Iterator[Told]:
        """Within, these models read a batch."""
        told = {}
        with ExitStack() as stack:
            for one in subjects:
                if self._aside is not None and one.name in self._partial:
                    told[one.name] = stack.enter_context(self._aside.watch(one))
            yield told

    def write(self, rows: slice, told: Told, labels: Tensor | None, gone: bool) -> None:
        """Write what was read of those rows of the pass that are asked for.

        Args:
            rows: of the batch, in the pass.
            told: by the models.
            labels: `[n]`, None where there are none.
            gone: whether the samples are of the request.
        """
        ends = torch.tensor([rows.start, rows.stop])
        first, last = torch.searchsorted(self._rows, ends).tolist()
        if first == last:
            return
        places = self._rows[first:last] - rows.start
        own = None if labels is None else labels[places]
        for name, tell in told.items():
            self._partial[name].write(slice(first, last), tell()[places], None, own, gone)

    def publish(self) -> None:
        """Everything is written."""
        for one in self._partial.values():
            one.publish()

    def close(self, *, keep: bool) -> None:
        """Let go of the files; what is not finished stays if `keep`."""
        for one in self._partial.values():
            one.close(keep=keep)
