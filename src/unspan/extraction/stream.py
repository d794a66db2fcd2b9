"""One pass over data: features, labels, and what the receipt needs to know of the samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from unspan import dist
from unspan.data.batch import Batch
from unspan.data.inputs import first_rows, place
from unspan.data.passes import Part
from unspan.erasers import Eraser, placed
from unspan.errors import DataError
from unspan.extraction import input_like
from unspan.extraction.model_reading import FeatureReading
from unspan.run import Run
from unspan.system.digests import state_hash

DIGEST = 32  # bytes of the sha256 of a sample
_LARGEST = 1e15  # activations beyond this are an overflow in the making, not features


@dataclass
class Seen:
    """What one pass met: sample digests (for the commitment), conversions, and hits of the model's
    own head.
    """

    digests: bytearray = field(default_factory=bytearray)  # memory hardly grows with n
    conversions: Counter[str] = field(default_factory=Counter)
    hits: int = 0
    labelled: int = 0

    @property
    def samples(self) -> int:
        """How many samples were read."""
        return len(self.digests) // DIGEST


class FeatureStream(ABC):
    """Batches of features `(features [n, d], labels [n] | None)`, in the order of the data.

    Attributes:
        dim: d.
        total: samples that will be read, None when unknown.
    """

    dim: int
    total: int | None

    @property
    @abstractmethod
    def digests(self) -> bytes | bytearray:
        """sha256 of every sample that was read so far, 32 bytes each, in the order of reading."""

    @property
    def samples_read(self) -> int:
        """Samples that were read so far."""
        return len(self.digests) // DIGEST

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Read the data once."""


class TensorFeatures(FeatureStream):
    """Features in memory as a stream of batches.

    Args:
        features: `[n, d]`.
        labels: `[n]`, None where there are none.
        batch_size: samples that are handed out at a time.
    """

    def __init__(self, features: Tensor, labels: Tensor | None = None, batch_size: int = 64):
        self.dim = features.shape[1]
        self.total = len(features)
        self._features = features
        self._labels = labels
        self._batch_size = batch_size
        self._digests = bytearray()

    @property
    def digests(self) -> bytearray:
        """sha256 of the features of every sample that was read so far."""
        return self._digests

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Hand out the tensors batch by batch."""
        self._digests.clear()
        for start in range(0, len(self._features), self._batch_size):
            rows = slice(start, start + self._batch_size)
            features = self._features[rows]
            for row in features.detach().cpu().contiguous():
                self._digests += sha256(row.view(torch.uint8).numpy()).digest()
            yield features, None if self._labels is None else self._labels[rows]


class ModelFeatures(FeatureStream):
    """Features that a model gives for batches of data, read once.

    Args:
        reading: of the model.
        parts: what it finds in the batches.
        run: progress.

    Attributes:
        dim: d.
        total: samples this process will read, None when unknown.
        head: float64 head `(weight [C, d], bias [C])` or None, to count what it recognises.
        earlier_eraser: eraser of earlier requests that the features go through.
        says: what progress calls this pass.
        seen: filled while iterating.
    """

    def __init__(
        self,
        reading: FeatureReading,
        parts: Iterator[Part[Tensor]],
        run: Run,
        *,
        total: int | None,
        head: tuple[Tensor, Tensor] | None,
        earlier_eraser: Eraser | None = None,
        says: str = "reading forget data",
    ):
        self.dim = reading.feature_layer.dim
        self.total = total
        self.head = head
        self.earlier_eraser = earlier_eraser
        self.says = says
        self.seen = Seen()
        self._model = reading.model
        self._parts = parts
        self._run = run

    @property
    def digests(self) -> bytearray:
        """sha256 of every sample that this process read so far."""
        return self.seen.digests

    def model_digest(self) -> str:
        """Hash of the weights that are read, without an eraser."""
        return state_hash(self._model.state_dict())

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        for number, part in enumerate(self._parts):
            features, batch = part.found, part.batch
            _check_finite(features, batch, number, self.says.removeprefix("reading "))
            self._note(features, batch)
            self._run.report(self.says, part.rows.stop, self.total)
            if self.earlier_eraser is not None:
                features = placed(self.earlier_eraser, "last", features)(features)
            yield features, batch.labels

    def _note(self, features: Tensor, batch: Batch) -> None:
        self.seen.digests += b"".join(batch.digests)
        self.seen.conversions.update(note for note in batch.notes if note)
        if self.head is not None and batch.labels is not None:
            weight, bias = self.head
            scores = features.double() @ weight.mT + bias
            predicted = scores.argmax(1) if len(weight) > 1 else (scores[:, 0] > 0).long()
            self.seen.hits += int((predicted == batch.labels).sum())
            self.seen.labelled += len(predicted)


def seen_by_all(stream: ModelFeatures) -> Seen:
    """What all processes read, added up."""
    total = Seen()
    for part in dist.gather(stream.seen):
        total.digests += part.digests
        total.conversions.update(part.conversions)
        total.hits += part.hits
        total.labelled += part.labelled
    return total


def _check_finite(features: Tensor, batch: Batch, number: int, part: str) -> None:
    good = torch.isfinite(features).all(1) & (features.abs().amax(1) < _LARGEST)
    if not bool(good.all()):
        row = int((~good).nonzero()[0])
        raise DataError(
            f"Features are NaN, infinite or beyond {_LARGEST:g} in batch {number}, row {row}"
            f" ({batch.names[row]}) of the {part}. Check that sample, or leave it out; for a"
            " half-precision model extract in float32 (model.float())."
        )


def example(batch: Batch, model: nn.Module) -> Any:
    """Two samples as the model takes them, to find the feature layer with."""
    return place(first_rows(batch.inputs, 2), input_like(model, batch.inputs))
