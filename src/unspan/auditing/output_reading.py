"""What a pass of an audit reads of each batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from unspan.auditing.beside import Told, Watch
from unspan.auditing.readers import Read, Reader
from unspan.auditing.subjects import Subject
from unspan.data.batch import Batch
from unspan.extraction import EqualModules
from unspan.extraction.model_reading import ModelReading


@dataclass(frozen=True)
class Found:
    """What is read of a batch: outputs by model, and what an aside asks for."""

    outputs: dict[str, Read]
    beside: Told


class OutputReading(ModelReading[Found]):
    """Outputs of all models on a batch.

    Args:
        subjects: the models.
        done: rows of the pass that each has behind it.
        reader: what is read of a model.
        watch: what is read beside.
    """

    def __init__(
        self, subjects: Sequence[Subject], done: Mapping[str, int], reader: Reader, watch: Watch
    ) -> None:
        self._subjects = subjects
        self._done = done
        self._reader = reader
        self._watch = watch
        self._together = EqualModules(self.models)

    @property
    def models(self) -> Sequence[nn.Module]:
        """Those of the subjects."""
        return [one.model for one in self._subjects]

    def __call__(self, rows: slice, batch: Batch) -> Found:
        """Of the models that have not read these rows."""
        asked = [one for one in self._subjects if rows.stop > self._done[one.name]]
        if not asked:
            return Found({}, {})
        with self._watch.during(asked, rows) as told:
            outputs = self._reader.read(asked, batch, self._together)
            return Found({one.name: out for one, out in zip(asked, outputs, strict=True)}, told())
