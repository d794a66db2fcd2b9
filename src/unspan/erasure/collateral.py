"""The samples on which the guard measures a deletion, and what both models make of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from unspan.data.indexed import is_indexed
from unspan.data.loading import batches
from unspan.data.request import Request, labels_of
from unspan.erasure.evaluation import Answers, Measure, answers
from unspan.erasure.predictions import Pair, predictions
from unspan.errors import UnspanError
from unspan.extraction import arranged, eval_mode, read
from unspan.run import Run
from unspan.training.samples import generator

RETAINED = {"class": 1000}  # samples to keep that are measured, by the kind of the request
_RETAINED = 2000  # of any other kind
FORGET = 500  # samples to forget
FEWEST = 20  # of each class, where there are so many
_ONE_OF = 10  # the share that is held out of a training
_AGAIN, _SUSPECTS = 40, 10  # more samples of the classes that look worst, where there are many
_ALONE = -1  # label of samples without one: one person or group


@dataclass(frozen=True)
class Kept:
    """Samples to keep, on which damage is measured.

    Attributes:
        first: read in any case.
        more: further samples of each class, where there are too many classes to read enough of all.
        unseen: the method is given none of the samples in `first`.
    """

    first: Any
    more: dict[int, Any] = field(default_factory=dict)
    unseen: bool = False


def set_apart(request: Request, run: Run, learns: bool) -> tuple[Request, Kept | None]:
    """The request as the method gets it, and the samples to keep that are measured.

    Args:
        request: as it was asked.
        run: its seed draws the samples.
        learns: the method trains on the samples to keep: at most a tenth of each class is held out
            for the measurement, and none where there are fewer than ten. Where a tenth is too few
            to show a loss, samples that the method trains on are measured as well: a loss of those
            is a loss.
    """
    data = request.retain
    if data is None:
        return request, None
    most = RETAINED.get(request.kind, _RETAINED)
    if not is_indexed(data):
        return request, Kept(data)
    labels = _labels(data)
    first, more = draw(labels, most, run.seed, _ONE_OF if learns else 1)
    held_out = {*first, *(row for rows in more.values() for row in rows)} if learns else set()
    few = len(first) < FEWEST * len(set(labels)) and not more
    if few:
        first = sorted({*first, *_up_to(FEWEST, labels, most, run.seed)})
    parts = {one: Subset(data, rows) for one, rows in more.items()}
    kept = Kept(Subset(data, first), parts, unseen=learns and held_out.issuperset(first))
    if not held_out:
        return request, kept
    rest = [row for row in range(len(data)) if row not in held_out]
    return replace(request, retain=Subset(data, rest)), kept


def _up_to(each: int, labels: Sequence[int], most: int, seed: int) -> list[int]:
    """The first samples of each class in the order of `draw`, at most `each`."""
    seen: Counter[int] = Counter()
    rows = []
    for row in _order(labels, seed):
        seen[labels[row]] += 1
        if seen[labels[row]] <= each:
            rows.append(row)
    return rows[:most]


def draw(
    labels: Sequence[int], most: int, seed: int, one_of: int
) -> tuple[list[int], dict[int, list[int]]]:
    """Positions of the samples that are measured, as many of every class as there are, and further
    ones by class.

    With at most `most / 20` classes there are at least 20 of each, and nothing further. With more
    classes there are at least two of each, and 40 further ones.

    Args:
        labels: of all samples, negative where there is none. Samples without one are drawn only
            where none has one.
        most: samples in all, about.
        seed: of the draw.
        one_of: at most one of so many samples of a class is drawn.
    """
    by_class: dict[int, list[int]] = {}
    some = any(label >= 0 for label in labels)
    for row in _order(labels, seed):
        if labels[row] >= 0 or not some:
            by_class.setdefault(labels[row], []).append(row)
    many = len(by_class) > most // FEWEST
    each = max(2, most // max(len(by_class), 1)) if many else -(-most // max(len(by_class), 1))
    chosen = list(by_class)[: most // 2]
    first: list[int] = []
    more: dict[int, list[int]] = {}
    for label in chosen:
        rows = by_class[label]
        rows = rows[: len(rows) // one_of]
        first += rows[:each]
        if many:
            more[label] = sorted(rows[each : each + _AGAIN])
    return sorted(first), {label: rows for label, rows in more.items() if rows}


def _order(labels: Sequence[int], seed: int) -> list[int]:
    return torch.randperm(len(labels), generator=generator(seed, "guard", len(labels))).tolist()


def forgotten(pair: Pair, request: Request, kept: Kept | None, run: Run) -> Answers | None:
    """Answers on samples to forget; without labels, whether the original's answer is still given.

    None where nothing can be counted.
    """
    data = request.forget
    if is_indexed(data):
        data = Subset(data, draw(_labels(data), FORGET, run.seed, 1)[0])
    if pair.embeds:
        gallery = [] if kept is None else [kept.first]
        return _identified(pair, data, gallery, replace(run, max_samples=FORGET))
    found = predictions(pair, data, "samples to forget", replace(run, max_samples=FORGET))
    labels = found.labels
    if found.outputs < 2:
        return None
    if labels is None and len(request.classes) == 1:
        labels = torch.full_like(found.before, request.classes[0])
    if labels is None or int(labels.max()) >= found.outputs:
        return answers(found, found.before, Measure.SAME)
    return answers(found, labels)


def retained(pair: Pair, data: Any, run: Run, gallery: Sequence[Any] = ()) -> Answers | None:
    """Answers on samples to keep; None where they have no labels, or there are none."""
    if not is_indexed(data):
        run = replace(run, max_samples=_RETAINED)
    if pair.embeds:
        found = _identified(pair, data, gallery, run)
        return None if found is None or bool((found.labels < 0).any()) else found
    named = predictions(pair, data, "samples to keep", run)
    if named.labels is None or named.outputs < 2 or int(named.labels.max()) >= named.outputs:
        return None
    return answers(named, named.labels)


def suspects(pair: Pair, kept: Kept, first: Answers, run: Run) -> Answers | None:
    """Answers on fresh samples of the classes that lost most in `first`; None where every class was
    read in full.
    """
    loss: Counter[int] = Counter()
    for label in first.labels[first.before & ~first.after].tolist():
        loss[label] += 1
    for label in first.labels[first.after & ~first.before].tolist():
        loss[label] -= 1
    chosen = [label for label, count in loss.most_common() if count > 0 and label in kept.more]
    parts = [kept.more[label] for label in chosen[:_SUSPECTS]]
    if not parts:
        return None
    found = [retained(pair, part, run, [kept.first]) for part in parts]
    known = [one for one in found if one is not None]
    if not known:
        return None
    return Answers(
        torch.cat([one.labels for one in known]),
        torch.cat([one.before for one in known]),
        torch.cat([one.after for one in known]),
        first.measure,
        first.outputs,
    )


def _identified(pair: Pair, data: Any, gallery: Sequence[Any], run: Run) -> Answers | None:
    """Whether the nearest other sample, by cosine, is of the same class; `gallery` is searched
    beside `data` itself.
    """
    embedded = [_embedded(pair, part, run) for part in (data, *gallery)]
    parts = [one for one in embedded if one is not None]
    if embedded[0] is None or not parts:
        return None
    labels = torch.cat([one[0] for one in parts])
    n = len(embedded[0][0])
    hits = []
    for side in (1, 2):
        vectors = torch.cat([one[side] for one in parts])
        hits.append(labels[_nearest(vectors, n)] == labels[:n])
    return Answers(labels[:n], hits[0], hits[1], Measure.RANK1)


def _embedded(pair: Pair, data: Any, run: Run) -> tuple[Tensor, Tensor, Tensor] | None:
    """Labels `[n]`, and the embeddings `[n, d]` of both models."""
    rows = list(_pairs_of_embeddings(pair, data, run))
    if not rows:
        return None
    labels, before, after = zip(*rows, strict=True)
    return torch.cat(labels), torch.cat(before), torch.cat(after)


def _pairs_of_embeddings(
    pair: Pair, data: Any, run: Run
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    with eval_mode(pair.original), eval_mode(pair.erased):
        for batch in batches(data, run, shard=False):
            found = []
            for model, feature_layer in pair.sides:
                assert feature_layer is not None
                with arranged(model, batch.inputs) as inputs:
                    features = read(model, feature_layer, inputs)[0][: len(batch)]
                found.append(features.flatten(1).float().cpu())
            alone = torch.full((len(batch),), _ALONE)
            yield alone if batch.labels is None else batch.labels, found[0], found[1]


def _nearest(vectors: Tensor, n: int) -> Tensor:
    """Position of the nearest other vector of each of the first `n` of `[m, d]`, by cosine."""
    unit = nn.functional.normalize(vectors, dim=1)
    found = []
    for rows in torch.arange(n).split(1024):
        near = unit[rows] @ unit.mT
        near[torch.arange(len(rows)), rows] = -torch.inf
        found.append(near.argmax(1))
    return torch.cat(found)


def _labels(data: Any) -> list[int]:
    try:
        return labels_of(data)
    except UnspanError:
        return [_ALONE] * len(data)
