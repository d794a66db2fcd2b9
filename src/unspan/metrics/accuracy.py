"""What the outputs say: accuracy with exact intervals, classes apart, calibration, and how far a
class is suppressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unspan.errors import DataError
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Better, Score, mean_interval, share_interval, unmeasured

_CHUNK = 8192  # rows whose probabilities are held at once


@dataclass(frozen=True)
class ClassTable:
    """Top-1 hits a class.

    Attributes:
        n: `[C]` labelled samples of each class.
        hits: `[C]` of them predicted right.
    """

    n: Tensor
    hits: Tensor

    @property
    def accuracy(self) -> Tensor:
        """`[C]` float64 shares; NaN for a class without samples."""
        return self.hits.double() / self.n

    def rows(self) -> list[dict[str, Any]]:
        """JSON rows with 95 % Clopper-Pearson intervals; classes without samples are left out."""
        table = []
        for name in self.n.nonzero().flatten().tolist():
            n, hits = int(self.n[name]), int(self.hits[name])
            low, high = share_interval(hits, n)
            table.append({"class": name, "n": n, "accuracy": hits / n, "low": low, "high": high})
        return table


def forget_accuracy(outputs: Outputs, split: str) -> Score:
    """Top-1 accuracy on the labelled forget rows; lower is more forgotten."""
    return _accuracy(outputs, outputs.forget, "forget accuracy", "lower", split)


def retain_accuracy(outputs: Outputs, split: str) -> Score:
    """Top-1 accuracy on the labelled rows that are not to be forgotten; higher is better."""
    return _accuracy(outputs, ~outputs.forget, "retain accuracy", "higher", split)


def _accuracy(outputs: Outputs, rows: Tensor, name: str, better: Better, split: str) -> Score:
    part = _labelled(outputs, rows)
    n = len(part)
    if n == 0:
        return Score(
            name=name,
            value=None,
            better=better,
            split=split,
            note="not measurable: no labelled sample.",
        )
    hits = int(_right(part).sum())
    low, high = share_interval(hits, n)
    return Score(name=name, value=hits / n, low=low, high=high, better=better, split=split, n=n)


def per_class(outputs: Outputs) -> ClassTable:
    """Hits and samples of every class, over all labelled rows."""
    part = _labelled(outputs, torch.ones_like(outputs.forget))
    c = outputs.classes()
    return ClassTable(
        torch.bincount(part.labels, minlength=c),
        torch.bincount(part.labels[_right(part)], minlength=c),
    )


def macro_accuracy(outputs: Outputs, split: str) -> Score:
    """Mean of the class accuracies over retained rows, every class with samples counting the same;
    higher is better.
    """
    table = per_class(outputs.rows(~outputs.forget))
    seen = table.accuracy[table.n > 0]
    value = float(seen.mean()) if len(seen) else None
    note = "" if len(seen) else "not measurable: no labelled sample."
    return Score(
        name="macro retain accuracy",
        value=value,
        better="higher",
        split=split,
        n=int(table.n.sum()),
        note=note,
        detail={"classes": len(seen)},
    )


def worst_drop(before: Outputs, after: Outputs, split: str) -> Score:
    """Largest loss of accuracy of one retained class, in points; 0 or below: no class lost. Nearer
    to 0 is better.

    The interval holds for the maximum over K classes: exact intervals of the shares lost and won in
    each class, at level `1 - 0.05 / (2 K)`, so it is wide rather than flattering.

    Args:
        before: outputs of the original on retained and forget rows.
        after: outputs of the other model on the same rows.
        split: which samples.

    Raises:
        DataError: the rows do not correspond.
    """
    if not torch.equal(before.labels, after.labels) or not torch.equal(before.forget, after.forget):
        raise DataError(
            "The outputs before and after are not of the same samples in the same order."
        )
    old, new = _labelled(before, ~before.forget), _labelled(after, ~after.forget)
    lost = _right(old) & ~_right(new)
    won = ~_right(old) & _right(new)
    c = before.classes()
    n = torch.bincount(old.labels, minlength=c)
    classes = n.nonzero().flatten().tolist()
    if not classes:
        return Score(
            name="worst class drop",
            value=None,
            unit="points",
            better="lower",
            split=split,
            note="not measurable: no labelled retained sample.",
        )
    level = 1 - 0.05 / (2 * len(classes))
    drops = {}
    for name in classes:
        rows = old.labels == name
        minus = int(lost[rows].sum())
        plus = int(won[rows].sum())
        size = int(n[name])
        (a, b), (p, q) = share_interval(minus, size, level), share_interval(plus, size, level)
        drops[name] = (100 * (minus - plus) / size, 100 * (a - q), 100 * (b - p))
    worst = max(drops, key=lambda name: drops[name][0])
    low, high = max(row[1] for row in drops.values()), max(row[2] for row in drops.values())
    return Score(
        name="worst class drop",
        value=drops[worst][0],
        low=low,
        high=high,
        unit="points",
        better="lower",
        split=split,
        n=int(n[worst]),
        detail={"class": worst},
    )


def calibration_error(outputs: Outputs, split: str, *, bins: int = 15) -> Score:
    """Expected calibration error of the top-1 probability over retained rows, equal-width bins;
    lower is better.

    Upward biased by about `sqrt(bins / n)`: compare models on the same rows. Source: Guo et al.,
    ICML 2017.
    """
    part = _labelled(outputs, ~outputs.forget)
    if len(part) == 0:
        return Score(
            name="calibration error",
            value=None,
            better="lower",
            split=split,
            note="not measurable: no labelled sample.",
        )
    confidence = torch.cat(
        [chunk.double().softmax(1).amax(1) for chunk in _logits(part).split(_CHUNK)]
    )
    which = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.float64).index_add_(
        0, which, confidence - _right(part).double()
    )
    return Score(
        name="calibration error",
        value=float(gap.abs().sum()) / len(part),
        better="lower",
        split=split,
        n=len(part),
        detail={"bins": bins},
    )


_SUPPRESSION: dict[str, tuple[str, Better]] = {
    "mean probability of the class": ("share", "lower"),
    "mean rank of the class": ("1", "higher"),
    "top-5 share of the class": ("share", "lower"),
}


def suppression(outputs: Outputs, split: str) -> list[Score]:
    """How far the true class is pushed down on forget rows: its mean probability, mean rank and
    top-5 share.

    Rank 1 is the top; equal scores share the mean of their ranks. The intervals of the two means
    treat n numbers in [0, 1] as hits of n, which is exact for 0 and 1 and too wide for anything in
    between.
    """
    part = _labelled(outputs, outputs.forget)
    n = len(part)
    c = outputs.classes()
    if n == 0 or c < 2:
        return [
            unmeasured(name, "no labelled forget sample.", unit=unit, better=better, split=split)
            for name, (unit, better) in _SUPPRESSION.items()
        ]
    found = [
        _suppressed(name, shares, c, split)
        for name, shares in zip(_SUPPRESSION, _standing(part, c), strict=True)
    ]
    if c <= 5:
        reason = f"with {c} classes every class is among the top 5."
        found[2] = unmeasured(found[2].name, reason, better="lower", split=split, n=n)
    return found


def _standing(part: Outputs, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the true class of each sample: its probability, its rank from 0 (top) to 1, and whether it
    is among the top 5, each `[n]` float64.
    """
    n = len(part)
    chance = torch.empty(n, dtype=torch.float64)
    rank = torch.empty(n, dtype=torch.float64)
    above = torch.empty(n, dtype=torch.int64)
    for rows in torch.arange(n).split(_CHUNK):
        scores = _logits(part)[rows].double()
        own = part.labels[rows, None]
        mine = scores.gather(1, own)
        chance[rows] = scores.softmax(1).gather(1, own)[:, 0]
        above[rows] = (scores > mine).sum(1)
        rank[rows] = 0.5 * (above[rows] + (scores >= mine).sum(1) + 1).double()
    return chance, (rank - 1) / (classes - 1), (above < 5).double()


def _suppressed(name: str, shares: Tensor, classes: int, split: str) -> Score:
    """The mean of numbers in [0, 1] as a score; in ranks 1 to C where its unit is 1."""
    unit, better = _SUPPRESSION[name]
    value = float(shares.mean())
    low, high = mean_interval(shares)
    if unit == "1":
        value, low, high = (1 + (classes - 1) * x for x in (value, low, high))
    return Score(
        name=name,
        value=value,
        low=low,
        high=high,
        unit=unit,
        better=better,
        split=split,
        n=len(shares),
        detail={"classes": classes},
    )


def _labelled(outputs: Outputs, rows: Tensor) -> Outputs:
    if outputs.logits is None:
        raise DataError("Accuracy needs class scores; these outputs are of an embedding model.")
    part = outputs.rows(rows & (outputs.labels >= 0))
    if len(part) and int(part.labels.max()) >= outputs.classes():
        raise DataError(
            f"A label is {int(part.labels.max())}, but the model has {outputs.classes()} classes (0"
            f" to {outputs.classes() - 1})."
        )
    if bool(_logits(part).isnan().any()):
        raise DataError("The class scores contain NaN; accuracy would be a guess.")
    return part


def _logits(outputs: Outputs) -> Tensor:
    return outputs.logits if outputs.logits is not None else torch.empty(len(outputs), 0)


def _right(part: Outputs) -> Tensor:
    return _logits(part).argmax(1) == part.labels
