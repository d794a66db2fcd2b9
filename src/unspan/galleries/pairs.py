"""Vectors of the same samples: as a gallery stores them, and as the erased model gives them now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from unspan.data.given import as_dataset
from unspan.data.loading import batches
from unspan.data.protocols import MapStyle
from unspan.data.source import Source
from unspan.erasure.reading import features
from unspan.errors import DataError, UsageError
from unspan.galleries.row_change import id_text
from unspan.run import Run

Parts = Iterable[tuple[Sequence[Any], Tensor]]  # ids and vectors of some rows at a time
_FEWEST = 20


@dataclass(frozen=True)
class Pairs:
    """Vectors of m samples.

    Attributes:
        stored: `[m, d]`, as the gallery has them, of its dtype.
        new: `[m, d]`, as the erased model gives them.
    """

    stored: Tensor
    new: Tensor

    def __len__(self) -> int:
        return len(self.stored)


def read_pairs(model: nn.Module, data: Any, gallery: Parts, count: int, run: Run) -> Pairs:
    """Embed some samples again that are also in a gallery.

    A row and a sample belong together by the id of the row: the value of the id column of the data,
    or the path, the name or the position of the sample.

    Args:
        model: erased; it gives vectors `[n, d]`.
        data: samples of the gallery, as the model takes them.
        gallery: its ids and vectors.
        count: of samples, drawn at random.
        run: batch size, seed, progress.

    Raises:
        UsageError: the data have no length.
        DataError: hardly any of the samples are in the gallery.
    """
    data = as_dataset(data)
    if not isinstance(data, MapStyle):
        raise UsageError("check: give data with a length and samples by position (a Dataset).")
    drawn = torch.randperm(len(data), generator=torch.Generator().manual_seed(run.seed))[:count]
    found = _stored(gallery, [_names(data, form, drawn.tolist()) for form in _forms(data)])
    if len(found) < min(_FEWEST, len(drawn)):
        raise DataError(
            f"Of {len(drawn)} samples {len(found)} are in the gallery by their ids. One of them is"
            f" named {_examples(data, int(drawn[0]))}. Name the column that holds such ids with"
            " --id-column."
        )
    new = _embedded(model, Subset(cast("Dataset[Any]", data), list(found)), run)
    return Pairs(torch.stack(list(found.values())), new)


def _embedded(model: nn.Module, data: Any, run: Run) -> Tensor:
    """What the model gives for samples now, `[m, d]`."""
    parts = []
    for batch in batches(data, run, shard=False):
        parts.append(features(model, batch.inputs)[: len(batch)].float().cpu())
        run.report("embedding samples again", sum(map(len, parts)), len(data))
    return torch.cat(parts)


def _stored(gallery: Parts, names: Sequence[dict[str, int]]) -> dict[int, Tensor]:
    """Vectors of the gallery by position in the data, by the form of names that finds most."""
    found: list[dict[int, Tensor]] = [{} for _ in names]
    for ids, vectors in gallery:
        for row, one in enumerate(ids):
            text = id_text(one)
            for known, held in zip(names, found, strict=True):
                if text in known:
                    held[known[text]] = vectors[row].clone()
    return max(found, key=len)


Form = Callable[[Any, int], str]


def _forms(data: Any) -> list[Form]:
    """Ways to name a sample."""
    if not isinstance(data, Source):
        return [_position]
    if data.stored.ids() is not None:
        return [_own_id]
    return [_path, _name, _file, _stem, _position]


def _names(data: Any, form: Form, drawn: Sequence[int]) -> dict[str, int]:
    """Positions of samples by their names."""
    return {form(data, one): one for one in drawn}


def _examples(data: Any, at: int) -> str:
    """What one sample may be called."""
    return " or ".join(dict.fromkeys(repr(form(data, at)) for form in _forms(data)))


def _position(_data: Any, at: int) -> str:
    return str(at)


def _own_id(data: Source, at: int) -> str:
    ids = data.stored.ids()
    assert ids is not None
    return str(ids[at])


def _path(data: Source, at: int) -> str:
    return data.stored.paths()[at] or data.name(at)


def _name(data: Source, at: int) -> str:
    return data.name(at)


def _file(data: Source, at: int) -> str:
    return PurePosixPath(_path(data, at)).name


def _stem(data: Source, at: int) -> str:
    return PurePosixPath(_path(data, at)).stem
